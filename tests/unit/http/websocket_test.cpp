// WebSocket frames and handshakes, RFC 6455.
#include <catch2/catch.hpp>

#include "wick/http/websocket.hpp"

using namespace wick::http;
using Kind = WebSocketMessage::Kind;

namespace {

constexpr std::size_t bytes_max = 100'000;

/// What a reader makes of `bytes`, `step` at a time: "binary:abc ping: close:1000:bye error:1002".
std::string read(std::string_view bytes, WebSocketEnd we_are = WebSocketEnd::server, std::size_t step = 1 << 20,
                 std::size_t message_bytes_max = bytes_max) {
  WebSocketReader reader(we_are, message_bytes_max);
  std::string told;
  while (!bytes.empty()) {
    auto part = bytes.substr(0, step);
    bytes.remove_prefix(part.size());
    while (true) {
      auto message = reader.take(part);
      if (!message) return told + "error:" + std::to_string(static_cast<int>(message.error().code));
      if (!*message) break;
      switch ((*message)->kind) {
        case Kind::text:
          told += "text:";
          break;
        case Kind::binary:
          told += "binary:";
          break;
        case Kind::ping:
          told += "ping:";
          break;
        case Kind::pong:
          told += "pong:";
          break;
        case Kind::close:
          told += "close:" + std::to_string((*message)->code) + ":";
          break;
      }
      told += (*message)->data.size() > 100 ? std::to_string((*message)->data.size()) : (*message)->data;
      told += " ";
    }
  }
  return told;
}

std::string from_client(Kind kind, std::string_view data) { return websocket_frame(WebSocketEnd::client, kind, data); }

/// A frame byte by byte, unmasked by a mask of zeros.
std::string raw(unsigned char first, std::string_view data) {
  return std::string{static_cast<char>(first), static_cast<char>(0x80 | data.size()), 0, 0, 0, 0} + std::string(data);
}

RequestHead handshake() {
  RequestHead head{.method = "GET", .target = "/"};
  head.fields = {{"Connection", "keep-alive, Upgrade"},
                 {"Upgrade", "websocket"},
                 {"Sec-WebSocket-Version", "13"},
                 {"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="},
                 {"Sec-WebSocket-Protocol", "v5.channel.k8s.io, v4.channel.k8s.io"}};
  return head;
}

}  // namespace

TEST_CASE("a frame of every size is read back, whole and in pieces") {
  for (const std::size_t size : {0, 1, 125, 126, 127, 65535, 65536, 100'000}) {
    INFO(size);
    const std::string data(size, 'x');
    const auto told = "binary:" + (size > 100 ? std::to_string(size) : data) + " ";
    const auto masked = from_client(Kind::binary, data);
    CHECK(read(masked) == told);
    CHECK(read(masked, WebSocketEnd::server, 1) == told);
    CHECK(read(websocket_frame(WebSocketEnd::server, Kind::binary, data), WebSocketEnd::client, 7) == told);
  }
}

TEST_CASE("a server's frames are those of RFC 6455 5.7") {
  CHECK(websocket_frame(WebSocketEnd::server, Kind::text, "Hello") == "\x81\x05Hello");
  CHECK(read("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58") == "text:Hello ");
  CHECK(websocket_close(WebSocketEnd::server, WebSocketClose::normal, "bye") ==
        "\x88\x05\x03\xe8"
        "bye");
}

TEST_CASE("fragments are one message, and a ping may come between them") {
  CHECK(read(raw(0x02, "a") + raw(0x00, "b") + raw(0x89, "p") + raw(0x80, "c") + raw(0x81, "d")) ==
        "ping:p binary:abc text:d ");
}

TEST_CASE("what breaks a rule of RFC 6455 ends the connection with 1002") {
  CHECK(read(websocket_frame(WebSocketEnd::server, Kind::binary, "unmasked")) == "error:1002");
  CHECK(read(from_client(Kind::binary, "masked"), WebSocketEnd::client) == "error:1002");
  CHECK(read(raw(0xc2, "reserved bit")) == "error:1002");
  CHECK(read(raw(0x83, "unknown kind")) == "error:1002");
  CHECK(read(raw(0x8b, "unknown kind")) == "error:1002");
  CHECK(read(raw(0x80, "no beginning")) == "error:1002");
  CHECK(read(raw(0x02, "a") + raw(0x82, "another begins")) == "error:1002");
  CHECK(read(raw(0x09, "a ping in fragments")) == "error:1002");
  CHECK(read(std::string("\x89\xfe\x00\x7e\0\0\0\0", 8) + std::string(126, 'p')) == "error:1002");
  CHECK(read(std::string("\x82\xfe\x00\x05\0\0\0\0hello", 13)) == "error:1002");
  CHECK(read(raw(0x88, "\x03")) == "error:1002");
  CHECK(read(raw(0x88, std::string_view("\x03\xed", 2))) == "error:1002");
  CHECK(read(raw(0x82, "fine") + raw(0x83, "")) == "binary:fine error:1002");
}

TEST_CASE("a message has a bound, also in fragments") {
  CHECK(read(raw(0x82, "12345"), WebSocketEnd::server, 1, 5) == "binary:12345 ");
  CHECK(read(raw(0x82, "123456"), WebSocketEnd::server, 1, 5) == "error:1009");
  CHECK(read(raw(0x02, "123") + raw(0x80, "456"), WebSocketEnd::server, 1, 5) == "error:1009");
  const std::string huge("\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 14);
  CHECK(read(huge) == "error:1009");
}

TEST_CASE("text is UTF-8") {
  CHECK(read(raw(0x81, "gr\xc3\xbc\xc3\x9f")) == "text:gr\xc3\xbc\xc3\x9f ");
  for (const std::string_view bad : {"\xff", "\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"})
    CHECK(read(raw(0x81, bad)) == "error:1007");
  CHECK(read(raw(0x02, "\xff") + raw(0x80, "\xfe")) == "binary:\xff\xfe ");
}

TEST_CASE("a close brings its code and reason, and is the last that is read") {
  CHECK(read(websocket_close(WebSocketEnd::client, WebSocketClose::going_away, "later") + raw(0x82, "more")) ==
        "close:1001:later ");
  CHECK(read(raw(0x88, "")) == "close:1005: ");
  CHECK(websocket_close(WebSocketEnd::server, WebSocketClose::internal, std::string(300, 'r')).size() == 127);
}

TEST_CASE("a handshake is understood, and its answer is that of RFC 6455 1.3") {
  const auto request = websocket_request(handshake());
  REQUIRE(request);
  CHECK(request->protocols == std::vector<std::string>{"v5.channel.k8s.io", "v4.channel.k8s.io"});
  CHECK(websocket_accept(request->key) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  auto own = handshake();
  own.fields.set("Sec-WebSocket-Key", websocket_key());
  CHECK(websocket_request(own));
}

TEST_CASE("what is no handshake of version 13 is refused") {
  const auto without = [](std::string_view name, std::string value) {
    auto head = handshake();
    head.fields.set(name, std::move(value));
    return websocket_request(head).has_value();
  };
  CHECK_FALSE(without("Connection", "keep-alive"));
  CHECK_FALSE(without("Upgrade", "SPDY/3.1"));
  CHECK_FALSE(without("Sec-WebSocket-Version", "8"));
  CHECK_FALSE(without("Sec-WebSocket-Key", "short"));
  auto post = handshake();
  post.method = "POST";
  CHECK_FALSE(websocket_request(post));
}
