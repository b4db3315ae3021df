// JSONata 2 (https://docs.jsonata.org), the language of an EventTransform: an expression over JSON that gives JSON.
//
// The engine is our own: it runs in the daemon without another process, and what an expression may cost is bounded.
// An expression has at most `expression_bytes_max` bytes and is nested at most `nesting_max` deep; an evaluation ends
// with an error after `Bounds` of steps, time, recursion or bytes made. A regular expression (PCRE2, told to be like
// JavaScript's) has a limit of its own for one match.
//
// Not as in JavaScript: characters of regular expressions are code points; a time without a zone is UTC; half a
// surrogate pair is U+FFFD.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "wick/base/error.hpp"

namespace wick::eventing {

namespace jsonata {
struct Node;
}

class Transform {
 public:
  static constexpr std::size_t expression_bytes_max = 64 * 1024;
  static constexpr int nesting_max = 500;  // of the expression as a tree
  struct Bounds {
    std::uint64_t steps = 5'000'000;        // visited nodes of the expression and items that functions handle
    std::chrono::milliseconds time{1'000};  // on the wall
    int recursion = 1'500;          // nodes within nodes: some 300 calls that are not tail calls; 4 MiB of stack
    std::size_t bytes = 64u << 20;  // of strings, arrays and objects made, whether still in use or not
  };

  /// Errors: invalid, with JSONata's code, the line and column, and what was expected.
  static Result<Transform> parse(std::string_view expression);

  /// The result as JSON text; nullopt where the expression gives nothing. Pure but for $now, $millis, $random and
  /// $shuffle; any thread may call it. Errors: invalid (input that is no JSON, or JSONata's code and where);
  /// too_large (a bound, D1011, D1012 or D2015).
  Result<std::optional<std::string>> apply(std::string_view json, const Bounds& bounds) const;
  Result<std::optional<std::string>> apply(std::string_view json) const { return apply(json, Bounds()); }

  const std::string& text() const { return *text_; }

 private:
  std::shared_ptr<const std::string> text_;
  std::shared_ptr<const jsonata::Node> root_;
};

}  // namespace wick::eventing
