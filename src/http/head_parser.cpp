#include "head_parser.hpp"

#include <cstring>

namespace wick::http {

namespace {

constexpr std::size_t method_bytes_max = 64;

Span span(std::size_t at, std::size_t size) {
  return {static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(size)};
}

bool is_port(std::string_view text) {
  unsigned value = 0;
  for (const char c : text) {
    if (!chars::is_digit(c)) return false;
    value = value * 10 + static_cast<unsigned>(c - '0');
    if (value > 65535) return false;
  }
  return true;  // an empty port is the scheme's own (RFC 3986 3.2.3)
}

/// IPv6address or IPvFuture between brackets, checked for its characters only: it is a key to look up, never dialled.
bool is_ip_literal(std::string_view text) {
  if (text.size() < 2) return false;
  if (text.front() == 'v' || text.front() == 'V') {
    const auto dot = text.find('.');
    if (dot == std::string_view::npos || dot < 2 || dot + 1 == text.size()) return false;
    for (const char c : text.substr(1, dot - 1))
      if (chars::hex_digit(c) < 0) return false;
    for (const char c : text.substr(dot + 1))
      if (c != ':' && !chars::reg_name[static_cast<unsigned char>(c)]) return false;
    return true;
  }
  int colons = 0;
  for (const char c : text) {
    if (c == ':') ++colons;
    if (c != ':' && c != '.' && chars::hex_digit(c) < 0) return false;
  }
  return colons >= 2 && colons <= 7;
}

bool is_reg_name(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (chars::reg_name[static_cast<unsigned char>(text[i])]) continue;
    if (text[i] != '%' || i + 2 >= text.size()) return false;
    if (chars::hex_digit(text[i + 1]) < 0 || chars::hex_digit(text[i + 2]) < 0) return false;
    i += 2;
  }
  return true;
}

}  // namespace

bool is_authority(std::string_view text) {
  if (text.empty()) return false;
  if (text.front() == '[') {
    const auto end = text.find(']');
    if (end == std::string_view::npos || !is_ip_literal(text.substr(1, end - 1))) return false;
    const auto rest = text.substr(end + 1);
    return rest.empty() || (rest.front() == ':' && is_port(rest.substr(1)));
  }
  const auto colon = text.find(':');
  const auto host = text.substr(0, colon);
  if (host.empty() || !is_reg_name(host)) return false;
  return colon == std::string_view::npos || is_port(text.substr(colon + 1));
}

// ---- lines and fields

void HeadParser::reset() {
  fields_.clear();
  framing_fields_.clear();
  framing_ = {};
  connection_ = {};
  minor_version_ = 1;
  refusal_ = {};
  line_ = scan_ = 0;
  have_start_ = skipped_blank_ = false;
  clear();
}

Parsed HeadParser::fail(Refusal refusal) {
  refusal_ = refusal;
  return Parsed::failed;
}

std::optional<Refusal> HeadParser::too_long() const {
  if (scan_ - line_ > limits_.line_bytes_max) {
    if (!have_start_) return Refusal{status_for_long_start_line(), "the start line is too long"};
    return Refusal{431, "a header field is too long"};
  }
  if (scan_ > limits_.head_bytes_max) return Refusal{431, "the header section is too long"};
  return std::nullopt;
}

Parsed HeadParser::parse(std::string_view bytes) {
  while (true) {
    const auto* from = bytes.data() + scan_;
    const auto* lf = static_cast<const char*>(std::memchr(from, '\n', bytes.size() - scan_));
    scan_ = lf ? static_cast<std::size_t>(lf - bytes.data()) + 1 : bytes.size();
    if (auto refusal = too_long()) return fail(*refusal);
    if (!lf) return Parsed::incomplete;
    if (scan_ - line_ < 2 || bytes[scan_ - 2] != '\r') return fail({400, "a line does not end in CRLF"});
    const auto at = line_;
    const auto line = bytes.substr(at, scan_ - 2 - at);
    line_ = scan_;
    std::optional<Refusal> refusal;
    if (!have_start_) {
      if (line.empty() && !skipped_blank_) {
        skipped_blank_ = true;
        continue;
      }
      refusal = start_line(line, static_cast<std::uint32_t>(at));
      have_start_ = true;
    } else if (line.empty()) {
      refusal = finish(bytes);
      return refusal ? fail(*refusal) : Parsed::complete;
    } else {
      refusal = field_line(line, static_cast<std::uint32_t>(at));
    }
    if (refusal) return fail(*refusal);
  }
}

std::optional<Refusal> HeadParser::field_line(std::string_view line, std::uint32_t at) {
  if (fields_.size() >= limits_.fields_max) return Refusal{431, "too many header fields"};
  std::size_t colon = 0;
  while (colon < line.size() && chars::is_token(line[colon])) ++colon;
  if (colon == line.size()) return Refusal{400, "a header field has no colon"};
  if (line[colon] != ':') {
    // RFC 9112 5.1 and 5.2: neither blanks before the colon nor folded lines.
    if (colon == 0 && chars::is_blank(line[0])) return Refusal{400, "a header field is folded over two lines"};
    if (chars::is_blank(line[colon])) return Refusal{400, "whitespace in or after a header field's name"};
    return Refusal{400, "a header field's name holds a character that is not allowed"};
  }
  if (colon == 0) return Refusal{400, "a header field has no name"};
  std::size_t begin = colon + 1;
  std::size_t end = line.size();
  while (begin < end && chars::is_blank(line[begin])) ++begin;
  while (end > begin && chars::is_blank(line[end - 1])) --end;
  const auto value = line.substr(begin, end - begin);
  if (!chars::all<chars::value>(value)) return Refusal{400, "a header field's value holds a control character"};

  FieldSpan field{span(at, colon), span(at + begin, value.size()), field_name(line.substr(0, colon))};
  std::optional<Refusal> refusal;
  switch (field.id) {
    case FieldName::content_length:
      refusal = framing_fields_.add_content_length(value);
      break;
    case FieldName::transfer_encoding:
      refusal = framing_fields_.add_transfer_encoding(value);
      break;
    case FieldName::connection:
      for_each_element(value, [this](std::string_view option) {
        if (chars::equals_lower(option, "close"))
          connection_.close = true;
        else if (chars::equals_lower(option, "keep-alive"))
          connection_.keep_alive = true;
        else if (chars::equals_lower(option, "upgrade"))
          connection_.upgrade = true;
        else
          connection_.names_fields = true;
      });
      break;
    default:
      break;
  }
  if (!refusal) refusal = this->field(value, field);
  fields_.push_back(field);
  return refusal;
}

std::optional<Refusal> HeadParser::version(std::string_view text) {
  // RFC 9112 2.3: HTTP "/" DIGIT "." DIGIT, case-sensitive.
  if (text.size() != 8 || !text.starts_with("HTTP/") || !chars::is_digit(text[5]) || text[6] != '.' ||
      !chars::is_digit(text[7]))
    return Refusal{400, "the HTTP version is malformed"};
  if (text[5] != '1') return Refusal{text[5] == '0' ? 400 : 505, "only HTTP/1.x is spoken here"};
  minor_version_ = text[7] == '0' ? 0 : 1;  // RFC 9110 2.5: a higher minor version is treated as the highest known
  return std::nullopt;
}

// ---- requests

void RequestParser::clear() {
  method_ = target_ = authority_ = host_ = {};
  is_options_ = is_get_ = absolute_ = has_host_ = expects_continue_ = false;
  websocket_upgrade_ = websocket_key_ = websocket_version_ = false;
}

bool RequestParser::wants_websocket() const {
  return websocket_upgrade_ && connection_.upgrade && websocket_key_ && websocket_version_ && is_get_ &&
         minor_version_ == 1 && framing_.kind == BodyKind::none;
}

std::optional<Refusal> RequestParser::start_line(std::string_view line, std::uint32_t at) {
  // RFC 9112 3: method SP request-target SP HTTP-version, single spaces.
  std::size_t method_end = 0;
  while (method_end < line.size() && chars::is_token(line[method_end])) ++method_end;
  if (method_end == 0 || method_end == line.size() || line[method_end] != ' ')
    return Refusal{400, "the request line does not begin with a method and one space"};
  if (method_end > method_bytes_max) return Refusal{501, "the method is not known"};
  const auto method = line.substr(0, method_end);
  auto rest = line.substr(method_end + 1);
  const auto space = rest.find(' ');
  if (space == std::string_view::npos) return Refusal{400, "the request line has no HTTP version"};
  const auto target = rest.substr(0, space);
  if (auto refusal = version(rest.substr(space + 1))) return refusal;
  method_ = span(at, method_end);
  is_options_ = method == "OPTIONS";
  is_get_ = method == "GET";
  if (method == "CONNECT") return Refusal{405, "CONNECT is not served"};
  if (method == "TRACE") return Refusal{405, "TRACE is not served"};
  return request_target(target, static_cast<std::uint32_t>(at + method_end + 1));
}

std::optional<Refusal> RequestParser::request_target(std::string_view target, std::uint32_t at) {
  if (target.empty() || !chars::all<chars::target>(target))
    return Refusal{400, "the request target is empty or holds a character that is not allowed"};
  target_ = span(at, target.size());
  if (target.front() == '/') return std::nullopt;
  if (target == "*") {
    if (!is_options_) return Refusal{400, "the target \"*\" is for OPTIONS only"};
    return std::nullopt;
  }
  // absolute-form (RFC 9112 3.2.2): its authority replaces Host.
  std::size_t begin = 0;
  if (target.size() > 7 && chars::equals_lower(target.substr(0, 7), "http://")) begin = 7;
  if (target.size() > 8 && chars::equals_lower(target.substr(0, 8), "https://")) begin = 8;
  if (begin == 0) return Refusal{400, "the request target is neither a path nor an http URL"};
  const auto end = std::min(target.find_first_of("/?", begin), target.size());
  if (!is_authority(target.substr(begin, end - begin)))
    return Refusal{400, "the request target's authority is malformed"};
  if (end < target.size() && target[end] == '?') return Refusal{400, "the request target has no path"};
  authority_ = span(at + begin, end - begin);
  target_ = span(at + end, target.size() - end);
  absolute_ = true;
  return std::nullopt;
}

std::optional<Refusal> RequestParser::field(std::string_view value, FieldSpan& field) {
  switch (field.id) {
    case FieldName::host:
      // RFC 9112 3.2: more than one Host, or an invalid one, is 400.
      if (has_host_) return Refusal{400, "Host is given twice"};
      if (!is_authority(value)) return Refusal{400, "Host is not a host with an optional port"};
      has_host_ = true;
      host_ = field.value;
      return std::nullopt;
    case FieldName::expect:
      if (!chars::equals_lower(value, "100-continue"))
        return Refusal{417, "Expect asks for something other than 100-continue"};
      expects_continue_ = true;
      return std::nullopt;
    case FieldName::upgrade:
      websocket_upgrade_ = chars::equals_lower(value, "websocket");
      return std::nullopt;
    case FieldName::sec_websocket_key:
      websocket_key_ = value.size() == 24;  // base64 of 16 bytes
      return std::nullopt;
    case FieldName::sec_websocket_version:
      websocket_version_ = value == "13";
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

std::optional<Refusal> RequestParser::finish(std::string_view) {
  if (!has_host_ && minor_version_ == 1) return Refusal{400, "Host is missing"};
  if (!absolute_) authority_ = host_;
  if (minor_version_ == 0) expects_continue_ = false;  // RFC 9110 10.1.1
  auto verdict = request_framing(framing_fields_, minor_version_);
  framing_ = verdict.framing;
  return verdict.refusal;
}

// ---- responses

void ResponseParser::clear() {
  status_ = 0;
  reason_phrase_ = {};
  websocket_upgrade_ = false;
}

std::optional<Refusal> ResponseParser::start_line(std::string_view line, std::uint32_t at) {
  // RFC 9112 4: HTTP-version SP status-code SP [ reason-phrase ]. The last space is often left out; nothing hangs on
  // it.
  if (line.size() < 12 || line[8] != ' ') return Refusal{502, "the status line is malformed"};
  if (auto refusal = version(line.substr(0, 8))) return refusal;
  int status = 0;
  for (const char c : line.substr(9, 3)) {
    if (!chars::is_digit(c)) return Refusal{502, "the status code is not three digits"};
    status = status * 10 + (c - '0');
  }
  if (status < 100 || status > 599) return Refusal{502, "the status code is not within 100 to 599"};
  if (line.size() > 12 && line[12] != ' ') return Refusal{502, "the status code is not three digits"};
  const auto reason = line.size() > 13 ? line.substr(13) : std::string_view();
  if (!chars::all<chars::value>(reason)) return Refusal{502, "the reason phrase holds a control character"};
  status_ = status;
  reason_phrase_ = span(at + line.size() - reason.size(), reason.size());
  return std::nullopt;
}

std::optional<Refusal> ResponseParser::field(std::string_view value, FieldSpan& field) {
  if (field.id == FieldName::upgrade) websocket_upgrade_ = chars::equals_lower(value, "websocket");
  return std::nullopt;
}

std::optional<Refusal> ResponseParser::finish(std::string_view) {
  auto verdict = response_framing(framing_fields_, minor_version_, status_, head_request_);
  framing_ = verdict.framing;
  return verdict.refusal;
}

void assign_head(RequestHead& head, const RequestParser& parser, std::string_view bytes) {
  const auto text = [bytes](Span span) { return HeadParser::text(bytes, span); };
  head.method.assign(text(parser.method()));
  head.target.assign(text(parser.target()));
  if (head.target.empty()) head.target = "/";
  head.authority.assign(text(parser.authority()));
  for (char& c : head.authority) c = chars::lower(c);
  head.minor_version = parser.minor_version();
  std::size_t count = 0;
  for (const auto& span : parser.fields()) {
    auto& field = head.fields.slot(count++);
    field.name.assign(text(span.name));
    field.value.assign(text(span.value));
  }
  head.fields.truncate(count);
}

}  // namespace wick::http
