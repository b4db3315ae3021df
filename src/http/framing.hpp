// Where a message's body ends: the one place that decides it (RFC 9112 section 6), for requests and responses.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace wick::http {

enum class BodyKind : std::uint8_t { none, length, chunked, until_close };

struct Framing {
  BodyKind kind = BodyKind::none;
  std::uint64_t length = 0;  // for BodyKind::length

  bool operator==(const Framing&) const = default;
};

/// Why a message is refused: the status a client gets for it, and the sentence for log and answer.
struct Refusal {
  int status = 0;
  const char* reason = "";
};

/// Collects the two framing fields while a head is read.
class FramingFields {
 public:
  void clear() { *this = {}; }
  /// nullopt when fine. RFC 9112 6.3: identical repeats are one value, anything else is an error.
  std::optional<Refusal> add_content_length(std::string_view value);
  /// RFC 9112 6.1: "chunked", once, alone. Other codings are never decoded here.
  std::optional<Refusal> add_transfer_encoding(std::string_view value);

  bool has_length() const { return has_length_; }
  bool is_chunked() const { return chunked_; }
  std::uint64_t length() const { return length_; }

 private:
  bool has_length_ = false;
  bool chunked_ = false;
  std::uint64_t length_ = 0;
};

struct FramingVerdict {
  Framing framing;
  std::optional<Refusal> refusal;
};

FramingVerdict request_framing(const FramingFields& fields, int minor_version);
/// `head_request`: the response answers a HEAD request.
FramingVerdict response_framing(const FramingFields& fields, int minor_version, int status, bool head_request);

}  // namespace wick::http
