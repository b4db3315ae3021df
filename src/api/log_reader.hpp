// One instance's log file, read line by line as it grows.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "wick/base/time.hpp"

namespace wick::api {

/// Bytes that are no UTF-8 become U+FFFD: a JSON string holds nothing else.
std::string to_utf8(std::string_view bytes);

/// All calls block on disk.
class LogReader {
 public:
  static constexpr std::size_t chunk_bytes = 64 << 10;
  static constexpr milliseconds poll_period{200};           // how late a line may be seen
  static constexpr std::uint64_t tail_lines_max = 100'000;  // that a client may ask for
  static constexpr std::size_t line_bytes_max = 16 << 10;   // longer lines come in pieces

  /// `format` makes of a line (without its newline) what is sent.
  using Format = std::function<std::string(std::string_view line)>;
  LogReader(std::string path, Format format) : path_(std::move(path)), format_(std::move(format)) {}

  /// What came since the last read, at most a chunk; `more`: the chunk was full.
  std::string read(bool& more);
  /// Starts at the last `lines` lines of what is there.
  void skip_to_tail(std::uint64_t lines);
  /// A last line without newline, once nothing more can come.
  std::string rest();

 private:
  std::string take_lines();

  std::string path_;
  Format format_;
  std::uint64_t offset_ = 0;
  std::string pending_;
};

}  // namespace wick::api
