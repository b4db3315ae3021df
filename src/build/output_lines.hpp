// Bytes that a step writes, as lines for people.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace wick::build {

class OutputLines {
 public:
  static constexpr std::size_t line_bytes_max = 8 << 10;  // longer lines are cut

  explicit OutputLines(std::function<void(std::string)> on_line) : on_line_(std::move(on_line)) {}
  void add(std::string_view bytes);
  /// Hands out a last line without an end.
  void finish();

 private:
  void flush();
  std::function<void(std::string)> on_line_;
  std::string line_;
  bool any_ = false;
};

/// What a terminal would show of a line: colours and what "\r" overwrote are left out, other control bytes and invalid
/// UTF-8 escaped.
std::string shown(std::string_view line);

}  // namespace wick::build
