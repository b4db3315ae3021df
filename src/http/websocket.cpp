#include "wick/http/websocket.hpp"

#include <openssl/evp.h>
#include <sys/random.h>

#include <algorithm>
#include <cstring>

#include "wick/base/text.hpp"

namespace wick::http {

namespace {

constexpr std::size_t control_bytes_max = 125;  // RFC 6455 5.5
constexpr std::string_view version = "13";
constexpr std::string_view accept_suffix = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
constexpr unsigned char opcode_continuation = 0;

std::unexpected<WebSocketError> broken(std::string message) {
  return std::unexpected(WebSocketError{WebSocketClose::protocol_error, std::move(message)});
}

/// RFC 3629: no overlong form, no surrogate, nothing past U+10FFFF.
bool is_utf8(std::string_view text) {
  std::size_t at = 0;
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  while (at < text.size()) {
    const auto first = byte(at++);
    if (first < 0x80) continue;
    const int more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
    if (first < 0xc2 || first > 0xf4 || text.size() - at < static_cast<std::size_t>(more)) return false;
    const auto second = byte(at);
    if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) || (first == 0xf0 && second < 0x90) ||
        (first == 0xf4 && second > 0x8f))
      return false;
    for (int i = 0; i < more; ++i)
      if ((byte(at++) & 0xc0) != 0x80) return false;
  }
  return true;
}

/// RFC 6455 7.4: what may stand in a Close; 1004 to 1006 and 1015 are never sent.
bool is_close_code(std::uint16_t code) {
  return (code >= 1000 && code <= 1014 && (code < 1004 || code > 1006)) || (code >= 3000 && code <= 4999);
}

bool lists(const Fields& fields, std::string_view name, std::string_view wanted) {
  for (const auto& field : fields) {
    if (!iequals(field.name, name)) continue;
    for (const auto part : split(field.value, ','))
      if (iequals(trim(part), wanted)) return true;
  }
  return false;
}

std::string random_bytes(std::size_t count) {
  std::string bytes(count, '\0');
  std::size_t done = 0;
  while (done < count)
    if (const auto got = ::getrandom(bytes.data() + done, count - done, 0); got > 0)
      done += static_cast<std::size_t>(got);
  return bytes;
}

}  // namespace

/// False while more bytes are needed. A head has 2 bytes, then 0, 2 or 8 of length, then 4 of mask.
bool WebSocketReader::take_head(std::string_view& bytes) {
  const auto wanted = [this]() -> std::size_t {
    if (head_.size() < 2) return 2;
    const int length = head_[1] & 0x7f;
    return 2 + (length == 126 ? 2 : length == 127 ? 8 : 0) + (head_[1] & 0x80 ? 4 : 0);
  };
  while (head_.size() < wanted()) {
    if (bytes.empty()) return false;
    const auto count = std::min(bytes.size(), wanted() - head_.size());
    head_.append(bytes.substr(0, count));
    bytes.remove_prefix(count);
  }
  return true;
}

std::optional<WebSocketError> WebSocketReader::begin_frame() {
  const auto wrong = [](std::string message) {
    return std::optional(WebSocketError{WebSocketClose::protocol_error, std::move(message)});
  };
  const auto byte = [this](std::size_t at) { return static_cast<unsigned char>(head_[at]); };
  last_ = (byte(0) & 0x80) != 0;
  const auto opcode = static_cast<unsigned char>(byte(0) & 0x0f);
  const bool is_masked = (byte(1) & 0x80) != 0;
  if ((byte(0) & 0x70) != 0) return wrong("a reserved bit is set");
  if (is_masked != masked_) return wrong(masked_ ? "a client's frame must be masked" : "a server masks no frame");
  left_ = byte(1) & 0x7f;
  std::size_t at = 2;
  if (left_ >= 126) {
    const std::size_t size = left_ == 126 ? 2 : 8;
    left_ = 0;
    for (; at < 2 + size; ++at) left_ = left_ << 8 | byte(at);
    if (left_ < (size == 2 ? 126u : 65536u)) return wrong("the length is not in its shortest form");
  }
  if (is_masked) std::memcpy(mask_, head_.data() + at, sizeof mask_);
  at_ = 0;
  control_ = (opcode & 0x08) != 0;
  if (control_) {
    if (opcode > static_cast<unsigned char>(Kind::pong)) return wrong("an unknown kind of frame");
    if (!last_) return wrong("a control frame in fragments");
    if (left_ > control_bytes_max) return wrong("a control frame of more than 125 bytes");
    control_kind_ = static_cast<Kind>(opcode);
    return std::nullopt;
  }
  if (opcode > static_cast<unsigned char>(Kind::binary)) return wrong("an unknown kind of frame");
  if ((opcode == opcode_continuation) != kind_.has_value())
    return wrong(kind_ ? "a message begins within another" : "a message without a beginning");
  if (!kind_) kind_ = static_cast<Kind>(opcode);
  if (left_ > message_bytes_max_ || message_.size() > message_bytes_max_ - left_)
    return WebSocketError{WebSocketClose::too_large,
                          "a message has at most " + std::to_string(message_bytes_max_) + " bytes"};
  return std::nullopt;
}

std::expected<std::optional<WebSocketMessage>, WebSocketError> WebSocketReader::end_close() {
  WebSocketMessage message{.kind = Kind::close, .data = std::move(control_data_)};
  control_data_.clear();
  ended_ = true;
  if (message.data.empty()) return message;
  if (message.data.size() == 1) return broken("half a close code");
  message.code = static_cast<std::uint16_t>(static_cast<unsigned char>(message.data[0]) << 8 |
                                            static_cast<unsigned char>(message.data[1]));
  message.data.erase(0, 2);
  if (!is_close_code(message.code)) return broken("a close code that is none");
  if (!is_utf8(message.data)) return std::unexpected(WebSocketError{WebSocketClose::bad_text, "text must be UTF-8"});
  return message;
}

std::expected<std::optional<WebSocketMessage>, WebSocketError> WebSocketReader::end_frame() {
  in_payload_ = false;
  head_.clear();
  if (control_) {
    if (control_kind_ == Kind::close) return end_close();
    return WebSocketMessage{.kind = control_kind_, .data = std::exchange(control_data_, {})};
  }
  if (!last_) return std::nullopt;
  WebSocketMessage message{.kind = *kind_, .data = std::exchange(message_, {})};
  kind_.reset();
  if (message.kind == Kind::text && !is_utf8(message.data))
    return std::unexpected(WebSocketError{WebSocketClose::bad_text, "text must be UTF-8"});
  return message;
}

std::expected<std::optional<WebSocketMessage>, WebSocketError> WebSocketReader::take(std::string_view& bytes) {
  while (!ended_) {
    if (!in_payload_) {
      if (!take_head(bytes)) return std::nullopt;
      if (auto wrong = begin_frame()) {
        ended_ = true;
        return std::unexpected(std::move(*wrong));
      }
      in_payload_ = true;
    }
    auto& into = control_ ? control_data_ : message_;
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size()));
    const auto begin = into.size();
    into.append(bytes.substr(0, count));
    bytes.remove_prefix(count);
    left_ -= count;
    if (masked_)
      for (auto i = begin; i < into.size(); ++i) into[i] = static_cast<char>(into[i] ^ mask_[at_++ % sizeof mask_]);
    if (left_ > 0) return std::nullopt;
    auto message = end_frame();
    if (!message) ended_ = true;
    if (!message || *message) return message;
  }
  bytes = {};
  return std::nullopt;
}

std::string websocket_frame(WebSocketEnd we_are, WebSocketMessage::Kind kind, std::string_view data) {
  const unsigned char mask_bit = we_are == WebSocketEnd::client ? 0x80 : 0;
  std::string frame;
  frame.reserve(data.size() + 14);
  frame += static_cast<char>(0x80 | static_cast<unsigned char>(kind));
  const int length_bytes = data.size() < 126 ? 0 : data.size() < 65536 ? 2 : 8;
  frame += static_cast<char>(mask_bit | (length_bytes == 0 ? data.size() : length_bytes == 2 ? 126u : 127u));
  for (int i = length_bytes - 1; i >= 0; --i)
    frame += static_cast<char>(static_cast<std::uint64_t>(data.size()) >> (8 * i) & 0xff);
  if (we_are == WebSocketEnd::server) return frame.append(data);
  const auto mask = random_bytes(4);
  frame += mask;
  for (std::size_t i = 0; i < data.size(); ++i) frame += static_cast<char>(data[i] ^ mask[i % 4]);
  return frame;
}

std::string websocket_close(WebSocketEnd we_are, WebSocketClose code, std::string_view reason) {
  const auto number = static_cast<std::uint16_t>(code);
  std::string data{static_cast<char>(number >> 8), static_cast<char>(number & 0xff)};
  auto kept = std::min(reason.size(), control_bytes_max - data.size());
  while (kept < reason.size() && kept > 0 && (static_cast<unsigned char>(reason[kept]) & 0xc0) == 0x80) --kept;
  data += reason.substr(0, kept);
  return websocket_frame(we_are, WebSocketMessage::Kind::close, data);
}

Result<WebSocketRequest> websocket_request(const RequestHead& head) {
  const auto& fields = head.fields;
  if (head.method != "GET" || head.minor_version < 1 || !lists(fields, "Connection", "upgrade") ||
      !lists(fields, "Upgrade", "websocket"))
    return fail(Errc::invalid, "a WebSocket handshake is a GET with 'Connection: Upgrade' and 'Upgrade: websocket'");
  if (fields.find("Sec-WebSocket-Version") != version) return fail(Errc::invalid, "Sec-WebSocket-Version must be 13");
  WebSocketRequest request{.key = std::string(trim(fields.find("Sec-WebSocket-Key").value_or("")))};
  if (const auto key = base64_decode(request.key); !key || key->size() != 16)
    return fail(Errc::invalid, "Sec-WebSocket-Key must be 16 bytes in base64");
  for (const auto& field : fields) {
    if (!iequals(field.name, "Sec-WebSocket-Protocol")) continue;
    for (const auto part : split(field.value, ','))
      if (const auto name = trim(part); !name.empty()) request.protocols.emplace_back(name);
  }
  return request;
}

std::string websocket_accept(std::string_view key) {
  const auto text = std::string(key) + std::string(accept_suffix);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  EVP_Digest(text.data(), text.size(), digest, &size, EVP_sha1(), nullptr);
  return base64_encode({reinterpret_cast<const char*>(digest), size});
}

std::string websocket_key() { return base64_encode(random_bytes(16)); }

}  // namespace wick::http
