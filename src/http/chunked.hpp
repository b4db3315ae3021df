// Decoder for the chunked transfer coding (RFC 9112 7.1), strict and incremental: every split of the input gives the
// same verdict.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace wick::http {

class ChunkDecoder {
 public:
  /// Digits of one chunk size (leading zeros are legal), all chunk extensions of a message (RFC 9112 7.1.1 wants a
  /// limit), and its trailers.
  static constexpr std::size_t size_digits_max = 128;
  struct Limits {
    std::size_t extension_bytes_max = 4 << 10;
    std::size_t trailer_bytes_max = 8 << 10;
  };

  enum class Status { need_more, data, done, failed };
  struct Step {
    Status status = Status::need_more;
    std::size_t consumed = 0;  // of the input, `data` included
    std::string_view data;     // body bytes, a part of the input
  };

  ChunkDecoder() = default;
  explicit ChunkDecoder(Limits limits) : limits_(limits) {}

  /// Decodes up to the next stretch of body bytes. After `done` the rest of the input belongs to the next message.
  /// Trailer fields are checked, and dropped unless keep_trailers() was called.
  Step step(std::string_view input);
  void reset() { *this = ChunkDecoder(limits_); }
  /// Until reset(): the lines of the trailer section, each with its CRLF, are appended to `into`.
  void keep_trailers(std::string& into) { trailers_ = &into; }
  bool done() const { return state_ == State::done; }
  /// After `failed`: what was wrong.
  const char* reason() const { return reason_; }

 private:
  enum class State : std::uint8_t {
    size_first,  // the first digit
    size,
    extension_blank,  // BWS before ';'
    extension_name_first,
    extension_name,
    extension_name_blank,
    extension_value_first,
    extension_token,
    extension_quoted,
    extension_escape,
    extension_after,
    size_lf,
    data,
    data_cr,
    data_lf,
    trailer_first,
    trailer_name,
    trailer_value,
    trailer_lf,
    last_lf,
    done,
    failed,
  };

  Status fail(const char* reason);
  /// One framing byte; false when it is not allowed here (`reason_` is set).
  bool framing_byte(char c);
  bool size_byte(char c);
  bool extension_byte(char c);
  bool trailer_byte(char c);
  bool end_size_line();

  Limits limits_;
  State state_ = State::size_first;
  std::uint64_t left_ = 0;
  std::size_t size_digits_ = 0;
  std::size_t extension_bytes_ = 0;
  std::size_t trailer_bytes_ = 0;
  std::string* trailers_ = nullptr;
  const char* reason_ = "";
};

}  // namespace wick::http
