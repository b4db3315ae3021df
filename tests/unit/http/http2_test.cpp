// HTTP/2 of the server, spoken to by nghttp2's client over a raw socket: streams, bodies both ways, what is refused and
// what is bounded.
#include <boost/asio/as_tuple.hpp>
#include "http2_client_wire.hpp"

using namespace wick;
using namespace wick::http;

namespace {

awaitable<void> echo_all(Exchange& exchange) {
  auto body = co_await exchange.read_all(8 << 20);
  if (!body) {
    co_await respond_error(exchange, 400, body.error());
    co_return;
  }
  co_await respond_text(
      exchange, 200, exchange.head().method + " " + exchange.head().authority + exchange.head().target + " " + *body);
}

}  // namespace

TEST_CASE("requests over HTTP/2 are answered, many on one connection") {
  HttpFixture f;
  f.serve(echo_all);
  Http2Client client(f);
  for (int i = 0; i < 5; ++i) {
    const auto& answer = client.ask(Http2Client::get("/" + std::to_string(i)));
    CHECK(answer.status() == "200");
    CHECK(answer.body == "GET v.test/" + std::to_string(i) + " \n");
    CHECK(answer.fields.at("content-type") == "text/plain; charset=utf-8");
    CHECK(answer.fields.contains("date"));
    CHECK(answer.closed);
    CHECK(answer.error == 0);
  }
  CHECK(f.server->connections() == 1);
  CHECK(f.server->in_flight() == 0);
}

TEST_CASE("bodies of any size go up and down under flow control") {
  const std::string big(3 << 20, 'x');
  HttpFixture f;
  f.serve([&](Exchange& exchange) -> awaitable<void> {
    auto body = co_await exchange.read_all(8 << 20);
    CHECK(body->size() == big.size());
    co_await exchange.start({.status = 200});
    for (int i = 0; i < 3; ++i) co_await exchange.write(std::string(1 << 20, 'y'));
    co_await exchange.finish();
  });
  Http2Client client(f);
  const auto& answer = client.ask(Http2Client::post("/"), big);
  CHECK(answer.closed);
  CHECK(answer.error == 0);
  CHECK(answer.body.size() == big.size());
}

TEST_CASE("a body that nobody reads stops coming when the window is full, and the other streams go on") {
  HttpFixture f;
  f.serve([&](Exchange& exchange) -> awaitable<void> {
    if (exchange.head().target == "/stuck") co_await exchange.wait_gone();
    if (exchange.head().target != "/stuck") co_await respond_text(exchange, 200, "fine");
  });
  Http2Client client(f);
  const auto stuck = client.send(Http2Client::post("/stuck"), std::string(1 << 20, 'x'));
  CHECK(nghttp2_session_get_stream_remote_window_size(client.session(), stuck) == 0);
  CHECK(client.ask(Http2Client::get("/other")).status() == "200");
  nghttp2_submit_rst_stream(client.session(), 0, stuck, NGHTTP2_CANCEL);
  client.talk();
  CHECK(f.server->in_flight() == 0);
  // What was not read does not narrow the connection's window for ever.
  for (int i = 0; i < 10; ++i) {
    const auto again = client.send(Http2Client::post("/stuck"), std::string(128 << 10, 'x'));
    CHECK(nghttp2_session_get_stream_remote_window_size(client.session(), again) == 0);
    nghttp2_submit_rst_stream(client.session(), 0, again, NGHTTP2_CANCEL);
    client.talk();
  }
}

TEST_CASE("the rules of HTTP/1.1 heads hold for those of HTTP/2") {
  HttpFixture f;
  f.serve(echo_all);
  const auto with = [](std::size_t index, std::string value) {
    auto lines = Http2Client::get("/");
    lines[index].second = std::move(value);
    return lines;
  };
  struct Case {
    const char* what;
    Http2Client::Lines lines;
    const char* status;
  };
  const std::vector<Case> cases{
      {"authority and host differ", Http2Client::get("/", {{"host", "other.test"}}), "400"},
      {"authority and host agree", Http2Client::get("/", {{"host", "V.test"}}), "200"},
      {"a bad authority", with(2, "v.test:80:80"), "400"},
      {"CONNECT", {{":method", "CONNECT"}, {":authority", "v.test:443"}}, "405"},
      {"TRACE", with(0, "TRACE"), "405"},
      {"an expectation that nobody meets", Http2Client::post("/", {{"expect", "more"}}), "417"},
      {"fields past 32 KB", Http2Client::get("/", {{"a", std::string(16000, 'a')}, {"b", std::string(17000, 'b')}}),
       "431"},
      {"a line past 16 KB", Http2Client::get("/", {{"a", std::string(17000, 'a')}}), "431"},
      {"OPTIONS *", {{":method", "OPTIONS"}, {":scheme", "http"}, {":authority", "v.test"}, {":path", "*"}}, "204"},
  };
  for (const auto& [what, lines, status] : cases) {
    CAPTURE(what);
    Http2Client client(f);
    CHECK(client.ask(lines).status() == status);
    CHECK(client.ask(Http2Client::get("/after")).status() == "200");  // only the stream was refused
  }
  Http2Client many(f);
  auto lines = Http2Client::get("/");
  for (int i = 0; i < 101; ++i) lines.push_back({"x-" + std::to_string(i), "1"});
  CHECK(many.ask(lines).status() == "431");
}

TEST_CASE("what RFC 9113 calls malformed resets its stream and never reaches a handler") {
  HttpFixture f;
  int asked = 0;
  f.serve([&](Exchange& exchange) -> awaitable<void> {
    ++asked;
    co_await respond_text(exchange, 200, "");
  });
  const Http2Client::Lines bad[] = {
      Http2Client::get("/", {{"connection", "close"}}), Http2Client::get("/", {{"transfer-encoding", "chunked"}}),
      Http2Client::get("/", {{"te", "gzip"}}),          Http2Client::get("/", {{"upgrade", "websocket"}}),
      Http2Client::get("/", {{"a", "x\r\nb: y"}}),      Http2Client::get("/", {{"a", std::string("x\0y", 3)}}),
      Http2Client::get("/", {{"content-length", "5"}}), {{":method", "GET"}, {":path", "/"}},
      Http2Client::get("/", {{":path", "/twice"}}),
  };
  for (const auto& lines : bad) {
    CAPTURE(lines.back().first, lines.back().second);
    Http2Client client(f, true);
    const auto& answer = client.ask(lines);
    CHECK(answer.status() == "");
    CHECK((answer.closed || client.closed()));
  }
  CHECK(asked == 0);
}

TEST_CASE("cookie crumbs are one cookie again") {
  HttpFixture f;
  f.serve([](Exchange& exchange) -> awaitable<void> {
    co_await respond_text(exchange, 200, std::string(exchange.head().fields.find("Cookie").value_or("")));
  });
  Http2Client client(f);
  CHECK(client.ask(Http2Client::get("/", {{"cookie", "a=1"}, {"cookie", "b=2"}})).body == "a=1; b=2\n");
}

TEST_CASE("a client that waits for 100 gets it when the body is wanted, and HEAD gets a length without a body") {
  HttpFixture f;
  f.serve(echo_all);
  Http2Client client(f);
  CHECK_THAT(client.ask(Http2Client::post("/", {{"expect", "100-continue"}}), "body").body, EndsWith("body\n"));
  Http2Client waiting(f);
  waiting.talk();
  // By hand, since nghttp2's client sends the body at once: POST, http, /, authority v, expect (RFC 7541 appendix A).
  const auto head_bytes = std::string("\x83\x86\x84\x01\x01v\x0f\x14\x0c", 9) + "100-continue";
  waiting.send_raw(std::string("\0\0", 2) + static_cast<char>(head_bytes.size()) +
                   std::string("\x01\x04\0\0\0\x01", 6) + head_bytes);
  const auto interim = waiting.wire().read();
  REQUIRE(interim.size() > 9);
  CHECK(interim[3] == NGHTTP2_HEADERS);
  CHECK((interim[4] & NGHTTP2_FLAG_END_STREAM) == 0);
  auto lines = Http2Client::get("/head");
  lines[0].second = "HEAD";
  const auto& head = client.ask(lines);
  CHECK(head.status() == "200");
  CHECK(head.fields.at("content-length") == "18");
  CHECK(head.body == "");
  CHECK(head.closed);
}

TEST_CASE("over HTTP/2 a handler without an answer gives 500, one that stops half-way a reset") {
  HttpFixture f;
  f.serve([](Exchange& exchange) -> awaitable<void> {
    if (exchange.head().target == "/half") {
      co_await exchange.start({.status = 200});
      co_await exchange.write("half");
    }
    if (exchange.head().target == "/throw") throw std::runtime_error("a bug over HTTP/2");
  });
  Http2Client client(f);
  CHECK(client.ask(Http2Client::get("/none")).status() == "500");
  CHECK(client.ask(Http2Client::get("/throw")).status() == "500");
  const auto& half = client.ask(Http2Client::get("/half"));
  CHECK(half.closed);
  CHECK(half.error == NGHTTP2_INTERNAL_ERROR);
}

TEST_CASE("an answer before the body was read asks the client to stop sending it") {
  HttpFixture f;
  f.serve([](Exchange& exchange) -> awaitable<void> { co_await respond_text(exchange, 413, "too much"); });
  Http2Client client(f);
  const auto& answer = client.ask(Http2Client::post("/"), std::string(1 << 20, 'x'));
  CHECK(answer.status() == "413");
  CHECK(answer.body == "too much\n");
  CHECK(answer.closed);
  CHECK(answer.error == NGHTTP2_NO_ERROR);
}

TEST_CASE("a stream that its client resets ends its handler, and the connection goes on") {
  HttpFixture f;
  int gone = 0;
  f.serve([&](Exchange& exchange) -> awaitable<void> {
    if (exchange.head().target == "/wait") {
      co_await exchange.wait_gone();
      ++gone;
      co_return;
    }
    co_await respond_text(exchange, 200, "on");
  });
  Http2Client client(f);
  const auto stream = client.send(Http2Client::get("/wait"));
  CHECK(f.server->in_flight() == 1);
  nghttp2_submit_rst_stream(client.session(), 0, stream, NGHTTP2_CANCEL);
  client.talk();
  CHECK(gone == 1);
  CHECK(client.ask(Http2Client::get("/")).body == "on\n");
  const auto last = client.send(Http2Client::get("/wait"));
  CHECK(last > 0);
  client.wire().close();
  f.settle();
  CHECK(gone == 2);
  CHECK(f.server->connections() == 0);
}

TEST_CASE("a client that takes nothing of an answer is cut after the body's idle limit") {
  HttpFixture f;
  bool failed = false;
  f.serve(
      [&](Exchange& exchange) -> awaitable<void> {
        co_await exchange.start({.status = 200});
        for (int i = 0; i < 64 && !failed; ++i) {
          auto written = co_await exchange.write(std::string(64 << 10, 'y'));
          failed = !written;
        }
      },
      {.body_idle_limit = 60s, .keep_alive_limit = 300s});
  Http2Client client(f);
  nghttp2_session_set_local_window_size(client.session(), 0, 0, 70'000);
  const nghttp2_settings_entry none[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0}};
  nghttp2_submit_settings(client.session(), 0, none, 1);
  client.talk();
  const auto stream = client.send(Http2Client::get("/"));
  f.clock.advance(59s);
  CHECK_FALSE(failed);
  f.clock.advance(2s);
  CHECK(failed);
  client.talk();
  CHECK(client.answers[stream].error == NGHTTP2_INTERNAL_ERROR);
}

TEST_CASE("a body that does not go on is told 408's cause, a head that does not end closes the connection") {
  HttpFixture f;
  std::string told;
  f.serve(
      [&](Exchange& exchange) -> awaitable<void> {
        auto body = co_await exchange.read_all(100);
        told = body ? "whole" : body.error().what();
      },
      {.head_limit = 10s, .body_idle_limit = 60s, .keep_alive_limit = 300s});
  Http2Client client(f);
  client.send(Http2Client::post("/", {{"content-length", "10"}}), std::nullopt);
  client.talk();
  std::string request;  // HEADERS without END_STREAM by hand: nghttp2 would end it
  Http2Client slow(f);
  slow.talk();
  // literal fields of HPACK (RFC 7541 6.2.2): :method POST is 0x83, :scheme http 0x86, :path / 0x84, :authority v
  const std::string head("\x83\x86\x84\x01\x01v", 6);
  request += std::string("\0\0", 2) + static_cast<char>(head.size()) + std::string("\x01\x04\0\0\0\x01", 6) + head;
  slow.send_raw(request);
  CHECK(f.server->in_flight() == 1);
  f.clock.advance(61s);
  CHECK_THAT(told, Contains("sent no more of the request body in time"));
  Http2Client unfinished(f);
  unfinished.talk();
  unfinished.send_raw(std::string("\0\0\x01\x01\0\0\0\0\x01\x83", 10));  // no END_HEADERS
  f.clock.advance(9s);
  CHECK_FALSE(unfinished.closed());
  f.clock.advance(2s);
  CHECK(unfinished.closed());
}

TEST_CASE("an idle connection is told to go, a server that stops lets streams end first") {
  HttpFixture f;
  asio::steady_timer held(f.loop, asio::steady_timer::time_point::max());
  f.serve([&](Exchange& exchange) -> awaitable<void> {
    if (exchange.head().target == "/held") co_await held.async_wait(asio::as_tuple(use_awaitable));
    co_await respond_text(exchange, 200, "done");
  });
  Http2Client idle(f);
  idle.ask(Http2Client::get("/"));
  f.clock.advance(76s);
  idle.talk();
  CHECK(idle.closed());

  Http2Client busy(f);
  const auto stream = busy.send(Http2Client::get("/held"));
  bool stopped = false;
  asio::co_spawn(f.loop, f.server->stop(std::chrono::seconds(30)), [&](std::exception_ptr) { stopped = true; });
  f.clock.advance(1s);
  busy.talk();
  CHECK_FALSE(stopped);
  held.cancel();
  f.settle();
  busy.talk();
  CHECK(busy.answers[stream].body == "done\n");
  f.clock.advance(1s);
  CHECK(stopped);
}

TEST_CASE("a server that leaves says so twice; streams that flow go on, and none that comes later is answered") {
  HttpFixture f;
  int handled = 0;
  asio::steady_timer end(f.loop, asio::steady_timer::time_point::max());
  f.serve([&](Exchange& exchange) -> awaitable<void> {
    ++handled;
    co_await exchange.start({.status = 200});
    co_await exchange.write("begun ");
    if (exchange.head().target == "/flows") co_await end.async_wait(asio::as_tuple(use_awaitable));
    co_await exchange.write("done");
    co_await exchange.finish();
  });
  Http2Client client(f);
  const auto flowing = client.send(Http2Client::get("/flows"));
  CHECK(client.answers[flowing].body == "begun ");
  bool left = false;
  asio::co_spawn(f.loop, f.server->leave(std::chrono::seconds(2)), [&](std::exception_ptr) { left = true; });
  f.clock.advance(100ms);
  // It has not heard yet: what it asks now was promised an answer.
  CHECK(client.ask(Http2Client::get("/crossing")).body == "begun done");
  f.clock.advance(300ms);
  CHECK(left);
  nghttp2_submit_ping(client.session(), NGHTTP2_FLAG_NONE, nullptr);
  client.talk();
  CHECK(client.answers[flowing].body == "begun ");
  CHECK_FALSE(client.answers[flowing].closed);
  end.cancel();
  f.settle();
  client.talk();
  CHECK(client.answers[flowing].body == "begun done");
  f.clock.advance(1s);
  client.talk();
  CHECK(client.closed());
  CHECK(handled == 2);
}

TEST_CASE("floods end the connection: resets, pings, settings, more streams than allowed") {
  HttpFixture f;
  int asked = 0;
  f.serve([&](Exchange& exchange) -> awaitable<void> {
    ++asked;
    co_await exchange.wait_gone();
  });
  {
    Http2Client rapid(f);
    for (int i = 0; i < 1000 && !rapid.closed(); ++i) {
      const auto stream = rapid.send(Http2Client::get("/"));
      if (stream < 0) break;
      nghttp2_submit_rst_stream(rapid.session(), 0, stream, NGHTTP2_CANCEL);
      rapid.talk();
    }
    CHECK(rapid.closed());
    CHECK(asked < 300);
  }
  {
    Http2Client pings(f);
    pings.talk();
    pings.deaf = true;
    std::string flood;
    for (int i = 0; i < 200'000; ++i) flood += std::string("\0\0\x08\x06\0\0\0\0\0ABCDEFGH", 17);
    bool closed = false;
    for (std::size_t at = 0; at < flood.size() && !closed; at += 170'000) {
      pings.send_raw(std::string_view(flood).substr(at, 170'000));
      closed = f.server->connections() == 0;
    }
    CHECK(closed);
  }
  {
    Http2Client many(f);
    many.talk();
    for (int i = 0; i < 200; ++i) many.send(Http2Client::get("/"));
    many.talk();
    CHECK(f.server->in_flight() == 100);
  }
  f.settle();
  CHECK(f.server->in_flight() == 0);
}

TEST_CASE("garbage after the preface of HTTP/2 closes the connection") {
  HttpFixture f;
  f.serve(echo_all);
  auto client = f.connect();
  client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\r\nHost: v.test\r\n\r\n");
  f.settle();
  CHECK(client.closed());
  auto half = f.connect();
  CHECK_THAT(f.talk(half, "PRI * HTTP/2.1\r\n\r\n"), StartsWith("HTTP/1.1 "));
}
