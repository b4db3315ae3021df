// A file of builders/: what a language looks like and which lines build it. Data only; detect.hpp asks a project.
//
//   name, title     node, Node.js
//   detect          any: patterns (a list inside is "all of these"), none: patterns that speak against it;
//                   otherwise: true is asked only when no other builder fits
//   ignore          what is never copied, besides .dockerignore
//   values          name → sources, tried in order; the first that gives a text wins. A source:
//                     {file: PATTERN}                  the first path that fits ("**" crosses folders); with
//                                                      `containing: REGEX` and `lacking: REGEX` the first that has a
//                                                      line which fits, and none
//                     {json: FILE, at: a.b.0}          a text or number; "yes" for true and for a list or object that
//                     {toml: FILE, at: a.b.0}          is not empty. With `matching: REGEX` the text, or the first
//                     {yaml: FILE, at: a.b.0}          element of a list or name in an object, that fits
//                     {text: PATTERN, matching: REGEX} the first line that fits
//                     {procfile: NAME}                 a command of the Procfile
//                     {value: NAME}                    what another value gave; with `matching`, if it fits
//                     {range: NAME, allows: VERSION}   "yes" where that value is no version range, or one that allows
//                                                      VERSION (version_range.hpp)
//                   Where a regular expression has a group, its first is what counts.
//                   Each with `write: TEMPLATE` ({} is what was found), `when:` and `unless:` (names of values, all of
//                   them); with `matching` also `each: TEMPLATE`: everything that fits, one after the other.
//                   A template: {name} is a value; {name|json} the same as a JSON text; {name|command} as the argument
//                   of CMD, through a shell only where the text needs one; {name|stem} and {name|folder} parts of a
//                   path. Known from the start: only_debian and only_registry, what `wick serve --bases` says.
//   needs           name → what to say when the value is empty
//   tells           names of values that --explain shows, with where they come from
//   asides          names of values that a step does for itself: they are left out where the step is named
//   warnings        {when:, unless:, text:}
//   dockerfile      lines; {when:, unless:, line:}; {when:, unless:, embed: FILE, to: PATH}: a file that lies beside
//                   the builder (or in runtime/function). Where a RUN has asides or flags, the comment above it says
//                   what it does without them: people are shown that.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "parsed_file.hpp"
#include "wick/base/error.hpp"

namespace wick::build {

struct Condition {
  std::vector<std::string> when;
  std::vector<std::string> unless;
};

struct ValueSource {
  enum class Kind { constant, file, parsed, text, procfile, value, range } kind = Kind::constant;
  FileFormat format = FileFormat::json;
  std::string subject;  // pattern, file or name; a template
  std::string detail;   // path in the file, or the version
  std::optional<std::string> matching;
  std::optional<std::string> containing;
  std::optional<std::string> lacking;
  std::optional<std::string> write;
  std::optional<std::string> each;
  Condition condition;
};

struct ConditionalText {
  std::string text;
  Condition condition;
  std::string embed;  // the name of a file; `text` is then where it goes
};

struct Recipe {
  std::string name;
  std::string title;
  std::vector<std::vector<std::string>> any;
  std::vector<std::string> none;
  bool otherwise = false;
  std::vector<std::string> ignore;
  std::vector<std::pair<std::string, std::vector<ValueSource>>> values;
  std::vector<std::pair<std::string, std::string>> needs;
  std::vector<std::string> tells;
  std::vector<std::string> asides;
  std::vector<ConditionalText> warnings;
  std::vector<ConditionalText> dockerfile;
  std::map<std::string, std::string> files;  // what `embed` names, name → text
};

/// Values that are there before those of the recipe.
inline constexpr std::string_view value_only_debian = "only_debian";
inline constexpr std::string_view value_only_registry = "only_registry";

/// Errors name the file, the line and what is wrong there: unknown keys, names of values that are not there, regular
/// expressions that are none. Its `files` are empty.
Result<Recipe> parse_recipe(std::string_view yaml, std::string_view file_name);
/// Every file called *.yaml, by name; what they embed are the others. What is not there is an error when it is needed.
Result<std::vector<Recipe>> parse_recipes(const std::map<std::string, std::string>& files);
/// The small files of a folder as parse_recipes() takes them. Blocks.
Result<std::map<std::string, std::string>> read_builders(const std::filesystem::path& folder);
Result<std::vector<Recipe>> load_recipes(const std::filesystem::path& folder);

}  // namespace wick::build
