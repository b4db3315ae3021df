#include "framing.hpp"

#include <limits>

#include "chars.hpp"

namespace wick::http {

namespace {

constexpr std::uint64_t length_max = std::numeric_limits<std::int64_t>::max();

/// 1*DIGIT and nothing else; leading zeros are allowed by the grammar.
std::optional<std::uint64_t> decimal(std::string_view text) {
  if (text.empty()) return std::nullopt;
  std::uint64_t value = 0;
  for (const char c : text) {
    if (!chars::is_digit(c)) return std::nullopt;
    const auto digit = static_cast<std::uint64_t>(c - '0');
    if (value > (length_max - digit) / 10) return std::nullopt;
    value = value * 10 + digit;
  }
  return value;
}

}  // namespace

std::optional<Refusal> FramingFields::add_content_length(std::string_view value) {
  while (true) {
    const auto comma = value.find(',');
    const auto length = decimal(chars::trim_blanks(value.substr(0, comma)));
    if (!length) return Refusal{400, "Content-Length is not a number below 2^63"};
    if (has_length_ && length_ != *length) return Refusal{400, "Content-Length has two different values"};
    has_length_ = true;
    length_ = *length;
    if (comma == std::string_view::npos) return std::nullopt;
    value.remove_prefix(comma + 1);
  }
}

std::optional<Refusal> FramingFields::add_transfer_encoding(std::string_view value) {
  if (chunked_) return Refusal{400, "Transfer-Encoding is given twice"};
  if (!chars::equals_lower(value, "chunked")) return Refusal{501, "Transfer-Encoding is not exactly \"chunked\""};
  chunked_ = true;
  return std::nullopt;
}

FramingVerdict request_framing(const FramingFields& fields, int minor_version) {
  // RFC 9112 6.1: a server ought to treat Transfer-Encoding in an HTTP/1.0 message as faulty framing.
  if (fields.is_chunked() && minor_version == 0) return {{}, Refusal{400, "Transfer-Encoding in an HTTP/1.0 request"}};
  // RFC 9112 6.3 item 3: both fields together might be a smuggling attempt; refused, never repaired.
  if (fields.is_chunked() && fields.has_length())
    return {{}, Refusal{400, "both Content-Length and Transfer-Encoding are given"}};
  if (fields.is_chunked()) return {{BodyKind::chunked, 0}, {}};
  if (fields.has_length() && fields.length() > 0) return {{BodyKind::length, fields.length()}, {}};
  return {};  // RFC 9112 6.3 item 7: a request without either has no body
}

FramingVerdict response_framing(const FramingFields& fields, int minor_version, int status, bool head_request) {
  if (fields.is_chunked() && minor_version == 0) return {{}, Refusal{502, "Transfer-Encoding in an HTTP/1.0 response"}};
  if (fields.is_chunked() && fields.has_length())
    return {{}, Refusal{502, "both Content-Length and Transfer-Encoding are given"}};
  // RFC 9112 6.3 item 1: these end at the blank line, whatever the fields say.
  if (head_request || status < 200 || status == 204 || status == 304) return {};
  if (fields.is_chunked()) return {{BodyKind::chunked, 0}, {}};
  if (fields.has_length()) {
    if (fields.length() == 0) return {};
    return {{BodyKind::length, fields.length()}, {}};
  }
  return {{BodyKind::until_close, 0}, {}};  // RFC 9112 6.3 item 8
}

}  // namespace wick::http
