// The strict head parsers: bytes from outside become a checked request or response head, or a refusal. Pure and
// incremental.
//
// The caller keeps all bytes since the head's first in one buffer and calls parse() with them each time there are more.
// What was found is kept as offsets, so the buffer may move between calls. A line is judged as soon as it is complete:
// a bad request line is refused without waiting for the rest of the head.
//
// Where RFC 9112 lets a recipient be lenient, these are not: bare LF, bare CR, NUL, obs-fold, blanks before the colon,
// whitespace around the request line are all refused (2.2, 5.1, 5.2; RFC 9110 5.5). One empty line before a request
// line is skipped (2.2).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "chars.hpp"
#include "framing.hpp"
#include "wick/http/message.hpp"

namespace wick::http {

struct HeadLimits {
  std::size_t head_bytes_max = 32 << 10;
  std::size_t line_bytes_max = 16 << 10;
  std::size_t fields_max = 100;
};

/// A stretch of the head, as offsets from its first byte.
struct Span {
  std::uint32_t at = 0;
  std::uint32_t size = 0;
};

struct FieldSpan {
  Span name;
  Span value;
  FieldName id = FieldName::other;
};

enum class Parsed { incomplete, complete, failed };

/// What the Connection field asked for (RFC 9110 7.6.1); other options it names are hop-by-hop fields.
struct ConnectionOptions {
  bool close = false;
  bool keep_alive = false;
  bool upgrade = false;
  bool names_fields = false;  // something that is none of the three above
};

/// Lines and fields: what requests and responses have in common.
class HeadParser {
 public:
  explicit HeadParser(HeadLimits limits) : limits_(limits) { fields_.reserve(16); }
  virtual ~HeadParser() = default;

  /// `bytes`: everything received since the head's first byte.
  Parsed parse(std::string_view bytes);
  void reset();
  /// Bytes of the head, its blank line included. After `complete`.
  std::size_t head_bytes() const { return line_; }
  /// True once a byte of the start line has come.
  bool begun() const { return scan_ > line_ || line_ > 0; }
  const Refusal& refusal() const { return refusal_; }

  /// `bytes` as given to parse(), wherever they are now.
  static std::string_view text(std::string_view bytes, Span span) { return bytes.substr(span.at, span.size); }
  const std::vector<FieldSpan>& fields() const { return fields_; }
  int minor_version() const { return minor_version_; }
  const Framing& framing() const { return framing_; }
  const ConnectionOptions& connection() const { return connection_; }
  /// Content-Length as given, also where no body follows (HEAD, 304).
  std::optional<std::uint64_t> declared_length() const {
    return framing_fields_.has_length() ? std::optional(framing_fields_.length()) : std::nullopt;
  }

 protected:
  /// nullopt when fine. `line` is without its CRLF; `at` is its offset.
  virtual std::optional<Refusal> start_line(std::string_view line, std::uint32_t at) = 0;
  virtual std::optional<Refusal> field(std::string_view value, FieldSpan& field) = 0;
  virtual std::optional<Refusal> finish(std::string_view bytes) = 0;
  virtual void clear() = 0;
  virtual int status_for_long_start_line() const = 0;

  std::optional<Refusal> version(std::string_view text);

  HeadLimits limits_;
  std::vector<FieldSpan> fields_;
  FramingFields framing_fields_;
  Framing framing_;
  ConnectionOptions connection_;
  int minor_version_ = 1;

 private:
  std::optional<Refusal> field_line(std::string_view line, std::uint32_t at);
  std::optional<Refusal> too_long() const;
  Parsed fail(Refusal refusal);

  Refusal refusal_;
  std::size_t line_ = 0;  // offset of the line being read
  std::size_t scan_ = 0;  // offset up to where a line end was looked for
  bool have_start_ = false;
  bool skipped_blank_ = false;
};

class RequestParser final : public HeadParser {
 public:
  using HeadParser::HeadParser;

  Span method() const { return method_; }
  /// origin-form, or "*". An absolute-form without a path gives an empty span: it means "/".
  Span target() const { return target_; }
  /// From an absolute-form target, else from Host; empty for HTTP/1.0 without Host.
  Span authority() const { return authority_; }
  bool expects_continue() const { return expects_continue_; }
  bool keep_alive() const {
    return minor_version_ == 0 ? connection_.keep_alive && !connection_.close : !connection_.close;
  }
  /// A well-formed request to become a WebSocket (RFC 6455 4.1).
  bool wants_websocket() const;

 private:
  std::optional<Refusal> start_line(std::string_view line, std::uint32_t at) override;
  std::optional<Refusal> field(std::string_view value, FieldSpan& field) override;
  std::optional<Refusal> finish(std::string_view bytes) override;
  void clear() override;
  int status_for_long_start_line() const override { return 414; }

  std::optional<Refusal> request_target(std::string_view target, std::uint32_t at);

  Span method_;
  Span target_;
  Span authority_;
  Span host_;
  bool is_options_ = false;
  bool is_get_ = false;
  bool absolute_ = false;
  bool has_host_ = false;
  bool expects_continue_ = false;
  bool websocket_upgrade_ = false;
  bool websocket_key_ = false;
  bool websocket_version_ = false;
};

class ResponseParser final : public HeadParser {
 public:
  using HeadParser::HeadParser;

  /// Set before the first parse() of each response: decides the framing.
  void answers_head(bool head_request) { head_request_ = head_request; }
  int status() const { return status_; }
  Span reason_phrase() const { return reason_phrase_; }
  bool keep_alive() const {
    return minor_version_ == 0 ? connection_.keep_alive && !connection_.close : !connection_.close;
  }
  bool websocket_upgrade() const { return websocket_upgrade_ && connection_.upgrade; }

 private:
  std::optional<Refusal> start_line(std::string_view line, std::uint32_t at) override;
  std::optional<Refusal> field(std::string_view value, FieldSpan& field) override;
  std::optional<Refusal> finish(std::string_view bytes) override;
  void clear() override;
  int status_for_long_start_line() const override { return 502; }

  int status_ = 0;
  Span reason_phrase_;
  bool head_request_ = false;
  bool websocket_upgrade_ = false;
};

/// What a parsed head says, for handlers. `bytes` as given to parse(). Reuses the storage of `head`.
void assign_head(RequestHead& head, const RequestParser& parser, std::string_view bytes);

/// uri-host [ ":" port ] with a non-empty host (RFC 9110 4.2.1, 7.2).
bool is_authority(std::string_view text);

}  // namespace wick::http
