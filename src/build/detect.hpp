// From a folder without a Dockerfile to one: builders/*.yaml say what a language looks like and which lines build it.
// Pure but for load_recipes(): a project is a listing and a few files.
//
//   name, title     node, Node.js
//   detect          any: patterns (a list inside is "all of these"), none: patterns that speak against it
//   ignore          what is never copied, besides .dockerignore
//   values          name → sources, tried in order; the first that gives a text wins. A source:
//                     {file: PATTERN}                  the first path that fits
//                     {json: FILE, at: a.b}            a text or number; "yes" for a list or object that is not empty
//                     {text: PATTERN, matching: REGEX} the first line that fits; its first group, or all of it
//                     {procfile: NAME}                 a command of the Procfile
//                     {value: NAME}                    what another value gave
//                     each with `write: TEMPLATE` ({} is what was found), `when:` and `unless:` (names of values, all
//                     of them)
//   needs           name → what to say when the value is empty
//   warnings        {when:, unless:, text:}
//   dockerfile      lines, or {when:, unless:, line:}; {name} is a value, {name|json} the same as a JSON text
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "source_tree.hpp"

namespace wick::build {

struct Condition {
  std::vector<std::string> when;
  std::vector<std::string> unless;
};

struct ValueSource {
  enum class Kind { constant, file, json, text, procfile, value } kind = Kind::constant;
  std::string subject;  // pattern, file or name
  std::string detail;   // path in the JSON, or the regular expression
  std::optional<std::string> write;
  Condition condition;
};

struct ConditionalText {
  std::string text;
  Condition condition;
};

struct Recipe {
  std::string name;
  std::string title;
  std::vector<std::vector<std::string>> any;
  std::vector<std::string> none;
  std::vector<std::string> ignore;
  std::vector<std::pair<std::string, std::vector<ValueSource>>> values;
  std::vector<std::pair<std::string, std::string>> needs;
  std::vector<ConditionalText> warnings;
  std::vector<ConditionalText> dockerfile;
};

/// Errors name the file and what is wrong in it.
Result<Recipe> parse_recipe(std::string_view yaml, std::string_view file_name);
/// Every *.yaml of the folder, by name. Blocks.
Result<std::vector<Recipe>> load_recipes(const std::filesystem::path& folder);

struct Project {
  const Listing& listing;
  /// The text of a small file; nullopt when it is missing or too large.
  std::function<std::optional<std::string>(const std::string& path)> read;
};

struct Detected {
  std::string name;   // node
  std::string title;  // "Node.js (package.json)"
  std::string dockerfile;
  std::vector<std::string> ignore;
  std::vector<std::string> warnings;
};

/// `wanted` names a builder; empty lets the project decide. Errors: not_found (says what was tried), conflict (two
/// fit), invalid.
Result<Detected> detect(const std::vector<Recipe>& recipes, const Project& project, std::string_view wanted = {});

}  // namespace wick::build
