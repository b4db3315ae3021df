// WebSocket over HTTP/2 (RFC 8441): an extended CONNECT of nghttp2's client becomes a handshake of HTTP/1.1.
#include "http2_client_wire.hpp"

#include "wick/http/websocket.hpp"

using namespace wick;
using namespace wick::http;
using Catch::Contains;

namespace {

struct WebSocketRelay : HttpFixture {
  WebSocketRelay() {
    serve([this](Exchange& exchange) -> awaitable<void> {
      ++handled;
      outcome = co_await relay(exchange, upstream, {.request_limit = limit});
    });
  }
  ~WebSocketRelay() {  // relays that are still on their way hold the upstream
    run(server->stop(milliseconds(0)));
    server.reset();
    settle();
  }
  static Http2Client::Lines connect_to(std::string path, Http2Client::Lines more = {{"sec-websocket-version", "13"}}) {
    Http2Client::Lines lines{{":method", "CONNECT"},
                             {":protocol", "websocket"},
                             {":scheme", "http"},
                             {":authority", "v.test"},
                             {":path", std::move(path)}};
    lines.insert(lines.end(), more.begin(), more.end());
    return lines;
  }
  /// The request at the instance, which then switches.
  std::string switch_protocols(Wire& instance, std::string_view first = {}) {
    auto head = instance.read();
    const auto at = head.find("ec-websocket-key: ");
    REQUIRE(at != head.npos);
    const auto key = head.substr(at + 18, 24);
    instance.send(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Accept: " +
        websocket_accept(key) + "\r\nSec-WebSocket-Protocol: chat\r\n\r\n" + std::string(first));
    settle();
    return head;
  }

  std::chrono::milliseconds limit{300'000};
  Upstream upstream{loop.get_executor(), clock, connector()};
  int handled = 0;
  RelayOutcome outcome;
};

}  // namespace

TEST_CASE("an extended CONNECT becomes a WebSocket handshake, and its stream the tunnel") {
  WebSocketRelay f;
  Http2Client client(f);
  client.talk();
  CHECK(nghttp2_session_get_remote_settings(client.session(), NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1);
  const auto stream = client.open(WebSocketRelay::connect_to(
      "/chat?room=1",
      {{"sec-websocket-version", "13"}, {"sec-websocket-protocol", "chat"}, {"origin", "http://o.test"}}));
  auto& answer = client.answers[stream];
  CHECK_FALSE(answer.begun_);
  REQUIRE(f.instances.size() == 1);
  auto& instance = f.instances[0];
  const auto head = f.switch_protocols(instance, "early ");
  CHECK_THAT(head, Catch::StartsWith("GET /chat?room=1 HTTP/1.1\r\nHost: v.test\r\n"));
  CHECK(count(head, "Connection: Upgrade\r\nUpgrade: websocket\r\n") == 1);
  CHECK_THAT(head, Contains("sec-websocket-protocol: chat\r\n") && Contains("origin: http://o.test\r\n") &&
                       Contains("ec-websocket-version: 13\r\n"));
  CHECK(head.find("ransfer-") == head.npos);
  client.talk();
  CHECK(answer.status() == "200");
  CHECK(answer.fields.at("sec-websocket-protocol") == "chat");
  CHECK_FALSE(answer.fields.contains("sec-websocket-accept"));
  CHECK_FALSE(answer.fields.contains("upgrade"));
  CHECK_FALSE(answer.fields.contains("connection"));
  CHECK_FALSE(answer.fields.contains("content-length"));
  client.say(stream, "up");
  CHECK(instance.read() == "up");
  instance.send("down");
  client.talk();
  CHECK(answer.body == "early down");

  SECTION("each side may end first, and still hears the other") {
    client.say_last(stream, " last");
    CHECK(instance.read() == " last");
    CHECK(instance.closed());  // the half of it
    instance.send(" more");
    client.talk();
    CHECK(answer.body == "early down more");
    CHECK_FALSE(answer.closed);
    instance.close();
    client.talk();
    CHECK(answer.closed);
    CHECK(answer.error == 0);
    CHECK(f.outcome.upgraded);
    CHECK(f.outcome.request_bytes == 7);
    CHECK(f.outcome.response_bytes == 15);
  }
  SECTION("the instance's half") {
    instance.shut();
    client.talk();
    CHECK_FALSE(answer.closed);
    client.say(stream, " after");
    CHECK(instance.read() == " after");
    client.say_last(stream);
    CHECK(answer.closed);
    CHECK(answer.error == 0);
  }
  SECTION("a stream that is reset ends the instance's connection") {
    client.reset(stream);
    CHECK(instance.closed());
    CHECK(f.server->in_flight() == 0);
  }
  SECTION("an instance's connection that breaks resets the stream") {
    client.say(stream, "unread");
    instance.close();  // with input unread: a reset
    client.talk();
    client.say(stream, "more");
    client.talk();
    CHECK(answer.closed);
    CHECK(f.server->in_flight() == 0);
  }
  CHECK(f.server->connections() == 1);
}

TEST_CASE("a tunnel over HTTP/2 that is silent for the request's limit is cut") {
  WebSocketRelay f;
  f.limit = std::chrono::seconds(10);
  Http2Client client(f);
  client.talk();
  const auto stream = client.open(WebSocketRelay::connect_to("/"));
  REQUIRE(f.instances.size() == 1);
  f.switch_protocols(f.instances[0]);
  client.talk();
  for (int i = 0; i < 4; ++i) {
    f.clock.advance(std::chrono::seconds(8));
    client.say(stream, "x");
  }
  CHECK_FALSE(client.answers[stream].closed);
  f.clock.advance(std::chrono::seconds(11));
  client.talk();
  CHECK(client.answers[stream].closed);
  CHECK(client.answers[stream].error != 0);
}

TEST_CASE("a tunnel over HTTP/2 is bounded by its windows in both directions") {
  WebSocketRelay f;
  Http2Client client(f);
  client.talk();
  const auto stream = client.open(WebSocketRelay::connect_to("/"));
  REQUIRE(f.instances.size() == 1);
  auto& instance = f.instances[0];
  f.switch_protocols(instance);
  client.talk();
  const std::string big(4 << 20, 'u');
  client.say(stream, big);  // more than socket and window take
  std::string arrived;
  for (int i = 0; i < 400 && arrived.size() < big.size(); ++i) {
    arrived += instance.read();
    client.talk();
  }
  CHECK(arrived == big);
  std::size_t sent = 0;
  for (int i = 0; i < 400 && sent < big.size(); ++i) {
    sent += instance.send_some(std::string_view(big).substr(sent));
    client.talk();
  }
  CHECK(client.answers[stream].body == big);
}

TEST_CASE("what the instance answers in place of switching is passed on, but for what would begin a tunnel") {
  WebSocketRelay f;
  Http2Client client(f);
  client.talk();
  const auto ask = [&](std::string_view reply) {
    const auto stream = client.open(WebSocketRelay::connect_to("/"));
    REQUIRE_FALSE(f.instances.empty());
    f.instances.back().read();
    f.instances.back().send(reply);
    client.talk();
    return client.answers[stream];
  };
  const auto refused = ask("HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno\n");
  CHECK(refused.status() == "403");
  CHECK(refused.body == "no\n");
  const auto plain = ask("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi\n");
  CHECK(plain.status() == "502");
  CHECK_THAT(plain.body, Contains("the upstream did not switch to WebSocket"));
  const auto other =
      ask("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
          "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
  CHECK(other.status() == "502");
  CHECK_THAT(other.body, Contains("Sec-WebSocket-Accept is not that of the request"));
}

TEST_CASE("an extended CONNECT that is none for WebSocket version 13 is refused before any handler") {
  WebSocketRelay f;
  Http2Client client(f);
  client.talk();
  struct Case {
    Http2Client::Lines lines;
    std::string status;
  };
  auto other = WebSocketRelay::connect_to("/");
  other[1].second = "connect-udp";
  const Case cases[] = {
      {other, "501"},
      {WebSocketRelay::connect_to("/", {}), "400"},
      {WebSocketRelay::connect_to("/", {{"sec-websocket-version", "8"}}), "400"},
      {WebSocketRelay::connect_to("/", {{"sec-websocket-version", "13"}, {"content-length", "5"}}), "400"},
      {WebSocketRelay::connect_to("/",
                                  {{"sec-websocket-version", "13"}, {"sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="}}),
       "400"},
      {WebSocketRelay::connect_to("/" + std::string(17 << 10, 'a')), "414"},
  };
  for (const auto& each : cases) {
    CAPTURE(each.lines[1].second, each.lines.back().first, each.lines.back().second.substr(0, 40));
    const auto stream = client.open(each.lines);
    CHECK(client.answers[stream].status() == each.status);
  }
  CHECK(f.handled == 0);
  CHECK(f.server->connections() == 1);
}

TEST_CASE("a handler that answers an extended CONNECT with 200 begins no tunnel") {
  HttpFixture f;
  f.serve([](Exchange& exchange) -> awaitable<void> { co_await respond_text(exchange, 200, "hello"); });
  Http2Client client(f);
  client.talk();
  const auto stream = client.open(WebSocketRelay::connect_to("/"));
  CHECK(client.answers[stream].status().empty());
  CHECK(client.answers[stream].closed);
}
