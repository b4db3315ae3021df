// Regular expressions of an expression: PCRE2 told to be like JavaScript's.
//
// What differs from JavaScript's without the u flag: characters are code points, and \w, \d and \s are ASCII.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace wick::eventing::jsonata {

class Regex {
 public:
  /// Steps of the matcher and what it may remember, for one match: a pattern that backtracks without end fails.
  static constexpr unsigned match_steps_max = 200'000;
  static constexpr unsigned depth_max = 2'000;
  static constexpr unsigned heap_kibibytes_max = 4'096;

  /// `flags`: i (any case) and m (^ and $ at lines). Throws Fault S0303 for what is no pattern.
  Regex(std::string pattern, std::string_view flags);

  struct Match {
    std::size_t start = 0, end = 0;                                          // bytes of the subject
    std::vector<std::optional<std::pair<std::size_t, std::size_t>>> groups;  // absent: took no part
  };
  /// The first match at or after byte `from`. Throws Fault D1012 at a limit.
  std::optional<Match> find(std::string_view subject, std::size_t from) const;
  const std::string& pattern() const { return pattern_; }

 private:
  std::string pattern_;
  std::shared_ptr<void> code_;
};

}  // namespace wick::eventing::jsonata
