// Names and patterns: .dockerignore rules (moby/patternmatcher) and the wildcards of COPY (Go's filepath.Match). Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"

namespace wick::build {

/// Go's filepath.Clean: "a//b/../c/" is "a/c", "" is ".".
std::string clean_path(std::string_view path);
/// The path below a root that it cannot leave: "../../etc" is "etc", "/" and "." are "".
std::string rooted_path(std::string_view path);
/// `path` seen from `folder` (absolute): WORKDIR b after WORKDIR /a is /a/b. Cleaned; keeps no trailing slash.
std::string join_path(std::string_view folder, std::string_view path);
std::string base_name(std::string_view path);

/// A compiled pattern. `*`, `?`, `[a-z]`, `[^a]` stay within one path element; backslash protects.
class Glob {
 public:
  enum class Flavour {
    ignore_file,  // "**" crosses folders
    copy_source,  // "**" is the same as "*"
  };
  static Result<Glob> compile(std::string_view pattern, Flavour flavour);
  bool matches(std::string_view path) const;
  static bool has_wildcards(std::string_view pattern);
  /// The pattern without its protecting backslashes.
  static std::string unescape(std::string_view pattern);

 private:
  struct Token {
    enum class Kind { literal, one, set, within, across, folders } kind;
    char32_t c = 0;
    std::u32string set = {};  // pairs: low, high
    bool negated = false;
  };
  std::vector<Token> tokens_;
};

/// The patterns of a .dockerignore, cleaned, in order.
std::vector<std::string> read_ignore_file(std::string_view text);

class IgnoreRules {
 public:
  IgnoreRules() = default;  // ignores nothing
  /// Errc::invalid for "!" alone and bad brackets.
  static Result<IgnoreRules> compile(const std::vector<std::string>& patterns);

  /// True when the last pattern that fits `path` or one of its folders says so.
  bool ignores(std::string_view path) const;
  bool empty() const { return rules_.empty(); }

  /// What a walk finds below a folder that is ignored itself. BuildKit's walk (tonistiigi/fsutil) goes into such a
  /// folder only for an exception that names it ("!folder/file"), and then the folder is part of the source whatever
  /// is in it. Newer ones also go in for "!**/*.go" after a "*": so do we.
  enum class Below { nothing, named, perhaps };
  Below below(std::string_view folder) const;

 private:
  struct Rule {
    Glob glob;
    bool includes_again;
    std::string text;
    bool fits(std::string_view path) const;  // it, or one of its folders
  };
  std::vector<Rule> rules_;
};

}  // namespace wick::build
