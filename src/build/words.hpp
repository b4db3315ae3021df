// Variables and quotes in the words of a Dockerfile (BuildKit frontend/dockerfile/shell/lex.go is the reference; its
// test vectors are ours).
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"

namespace wick::build {

/// The value of a variable; nullopt when it is not set. Called once for every use.
using Lookup = std::function<std::optional<std::string>(std::string_view name)>;

struct WordRules {
  char escape = '\\';
  bool keep_quotes = false;  // heredoc bodies: quotes are ordinary characters
};

/// $x ${x} and the modifiers :- - :+ + :? ? # ## % %% / //, then quotes and escapes removed. Errors are Errc::invalid
/// and say what is wrong.
Result<std::string> expand_word(std::string_view text, const Lookup& lookup, WordRules rules = {});

/// The same, then split at blanks that are not quoted; blanks that come out of a variable split too.
Result<std::vector<std::string>> expand_words(std::string_view text, const Lookup& lookup, WordRules rules = {});

/// The candidate that a person most likely meant by `word`, "" when none is near (edit distance at most 2, upper and
/// lower case alike).
std::string nearest_word(std::string_view word, const std::vector<std::string_view>& candidates);

}  // namespace wick::build
