// WebSocket (RFC 6455) without a socket: the handshake's fields, frames in, frames out. Pure; what to do with a
// message, and when to answer a ping or a close, is the caller's.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/http/message.hpp"

namespace wick::http {

/// Which end we are: a client masks what it sends, a server does not (RFC 6455 5.1).
enum class WebSocketEnd { server, client };

/// RFC 6455 7.4.1.
enum class WebSocketClose : std::uint16_t {
  normal = 1000,
  going_away = 1001,
  protocol_error = 1002,
  no_code = 1005,  // never sent: a Close without a code
  bad_text = 1007,
  too_large = 1009,
  internal = 1011,
};

struct WebSocketMessage {
  enum class Kind : std::uint8_t { text = 1, binary = 2, close = 8, ping = 9, pong = 10 } kind = Kind::binary;
  std::string data;                                                          // of a close: the reason
  std::uint16_t code = static_cast<std::uint16_t>(WebSocketClose::no_code);  // of a close
};

/// Why the connection has to be closed, and with which code.
struct WebSocketError {
  WebSocketClose code = WebSocketClose::protocol_error;
  std::string message;
};

/// Takes bytes as they come and gives whole messages. Fragments are put together; control frames may come between them.
/// After an error or a close nothing more is read.
class WebSocketReader {
 public:
  /// A message of more than `message_bytes_max` is too_large.
  WebSocketReader(WebSocketEnd we_are, std::size_t message_bytes_max)
      : masked_(we_are == WebSocketEnd::server), message_bytes_max_(message_bytes_max) {}

  /// Takes from the front of `bytes` up to the end of the next message; nullopt when more bytes are needed, and all of
  /// these were taken.
  std::expected<std::optional<WebSocketMessage>, WebSocketError> take(std::string_view& bytes);

 private:
  using Kind = WebSocketMessage::Kind;
  bool take_head(std::string_view& bytes);
  std::optional<WebSocketError> begin_frame();
  std::expected<std::optional<WebSocketMessage>, WebSocketError> end_frame();
  std::expected<std::optional<WebSocketMessage>, WebSocketError> end_close();

  bool masked_;
  std::size_t message_bytes_max_;
  std::string head_;  // of a frame, until it is whole
  bool in_payload_ = false;
  bool last_ = false;     // FIN
  bool control_ = false;  // the frame under way
  Kind control_kind_ = Kind::ping;
  std::optional<Kind> kind_;  // of the message under way
  std::uint64_t left_ = 0;    // of the frame's payload
  std::size_t at_ = 0;        // in the mask
  unsigned char mask_[4] = {};
  std::string control_data_;
  std::string message_;
  bool ended_ = false;
};

/// One message as one frame, the mask (a client's) from the kernel's random numbers.
std::string websocket_frame(WebSocketEnd we_are, WebSocketMessage::Kind kind, std::string_view data);
/// `reason` is cut to 123 bytes.
std::string websocket_close(WebSocketEnd we_are, WebSocketClose code, std::string_view reason = {});

/// What a client asks for. Errors: invalid, where `head` is no handshake of version 13 (RFC 6455 4.2.1).
struct WebSocketRequest {
  std::string key;
  std::vector<std::string> protocols;  // in the client's order of preference
};
Result<WebSocketRequest> websocket_request(const RequestHead& head);
/// Sec-WebSocket-Accept (RFC 6455 4.2.2).
std::string websocket_accept(std::string_view key);
/// A fresh Sec-WebSocket-Key.
std::string websocket_key();

}  // namespace wick::http
