// The relay and the client pool against an instance whose bytes the test writes by hand.
#include "http_fixture.hpp"
#include "wick/base/log.hpp"

using namespace wick;
using namespace wick::http;

namespace {

struct RelayFixture : HttpFixture {
  explicit RelayFixture(RelayOptions given = {}) : options(std::move(given)) {
    upstream = std::make_unique<Upstream>(loop.get_executor(), clock, connector());
    serve([this](Exchange& exchange) -> awaitable<void> {
      auto outcome = co_await relay(exchange, *upstream, options);
      outcomes.push_back(std::move(outcome));
    });
  }
  ~RelayFixture() {
    if (server) run(server->stop(milliseconds(0)));
    server.reset();
    settle();
    upstream.reset();
  }

  /// What the newest instance connection received.
  std::string received() {
    settle();
    return instances.empty() ? "" : instances.back().read();
  }
  void answer(std::string_view bytes) {
    instances.back().send(bytes);
    settle();
  }

  RelayOptions options;
  std::unique_ptr<Upstream> upstream;
  std::vector<RelayOutcome> outcomes;
};

std::string get(std::string target, std::string fields = "") {
  return "GET " + target + " HTTP/1.1\r\nHost: v.test\r\n" + fields + "\r\n";
}

const std::string ok = "HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok";

}  // namespace

TEST_CASE("requests are written anew: hop-by-hop fields dropped, forwarding fields set") {
  RelayFixture f;
  auto client = f.connect();
  const std::string trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
  client.send(
      get("/a?b",
          "Connection: keep-alive, X-Hop, Host, X-Forwarded-For\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nX-Keep: 1\r\n"
          "X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n"
          "Proxy: evil\r\nProxy-Authorization: x\r\nTE: gzip, trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"
          "X-Request-Id: mine\r\nWick-Error: forged\r\nClient-Cert: :Zm9v:\r\nClient-Cert-Chain: :Zm9v:\r\n"
          "Client_Cert: x\r\nX-Forwarded-Client-Cert: Subject=root\r\n" +
              trace));
  CHECK(f.received() ==
        "GET /a?b HTTP/1.1\r\nHost: v.test\r\nX-Keep: 1\r\nX-Request-Id: mine\r\n" + trace +
            "X-Forwarded-For: 127.0.0.1\r\n"
            "X-Forwarded-Proto: http\r\nX-Forwarded-Host: v.test\r\nForwarded: for=_unix;host=\"v.test\";proto=http\r\n"
            "Via: 1.1 wick\r\n\r\n");
  f.answer(ok);
  CHECK(client.read() == ok);
}

TEST_CASE("forwarding fields are appended to where they are trusted, and extra fields replace the client's") {
  RelayFixture f({.forwarded_proto = "https", .trust_forwarded = true, .extra_fields = {{"K-Revision", "r-1"}}});
  auto client = f.connect();
  client.send(get(
      "/", "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: http\r\nForwarded: for=6.6.6.6\r\nk-revision: forged\r\n"));
  const auto text = f.received();
  CHECK_THAT(text, Contains("X-Forwarded-For: 6.6.6.6, 127.0.0.1\r\n") && Contains("X-Forwarded-Proto: http\r\n") &&
                       Contains("Forwarded: for=6.6.6.6, for=_unix;") && Contains("K-Revision: r-1\r\n"));
  CHECK(text.find("forged") == std::string::npos);
}

TEST_CASE("a valid trace is passed on, and one is started where there is none") {
  RelayFixture f;
  auto client = f.connect();
  const std::string own = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n";
  f.talk(client, get("/", own + "tracestate: a=b\r\n"));
  const auto traced = f.received();
  CHECK_THAT(traced, Contains(own) && Contains("tracestate: a=b\r\n"));
  CHECK(count(traced, "traceparent") == 1);
  f.answer(ok);
  for (const auto& bad : {std::string(), std::string("traceparent: 00-00-00-00\r\n"), own + own}) {
    client.read();
    f.talk(client, get("/", bad + "tracestate: a=b\r\n"));
    const auto started = f.received();
    CHECK(count(started, "traceparent: 00-") == 1);
    CHECK(count(started, own) == 0);
    CHECK(count(started, "tracestate") == 0);
    f.answer(ok);
  }
}

TEST_CASE("a malformed Forwarded of a trusted proxy is left out") {
  RelayFixture f({.trust_forwarded = true});
  auto client = f.connect();
  f.talk(client, get("/", "Forwarded: for=\"a\r\nForwarded: for=b\r\n"));
  CHECK_THAT(f.received(), Contains("Forwarded: for=b, for=_unix;host="));
}

TEST_CASE("a chunked request that is at hand gets a length, one that is not stays chunked") {
  RelayFixture f;
  auto client = f.connect();
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  client.send(head + "5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nX-T: 1\r\n\r\n");
  CHECK_THAT(f.received(), Contains("Content-Length: 6\r\n") && EndsWith("\r\n\r\nhello!"));
  f.answer(ok);
  client.read();
  client.send(head + "3\r\none\r\n");
  CHECK_THAT(f.received(), Contains("Transfer-Encoding: chunked\r\n") && EndsWith("\r\n\r\n3\r\none\r\n"));
  client.send("3\r\ntwo\r\n");
  CHECK(f.received() == "3\r\ntwo\r\n");
  client.send("0\r\n\r\n");
  CHECK(f.received() == "0\r\n\r\n");
  f.answer(ok);
  CHECK_THAT(client.read(), EndsWith("ok"));
  CHECK(f.instances.size() == 1);
}

TEST_CASE("a body stream with broken framing never becomes a whole request") {
  RelayFixture f;
  auto client = f.connect();
  client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
  f.settle();
  client.send("zz\r\n");
  f.settle();
  CHECK(f.received().find("0\r\n\r\n") == std::string::npos);
  CHECK(f.instances.back().closed());
  CHECK_THAT(client.read(), StartsWith("HTTP/1.1 400 ") && Contains("Wick-Error: E_INVALID"));
  REQUIRE(f.outcomes.size() == 1);
  CHECK_FALSE(f.outcomes[0].upstream_failed);
}

TEST_CASE("responses are written anew, in each framing") {
  RelayFixture f;
  auto client = f.connect();
  client.send(get("/1"));
  f.settle();
  f.answer(
      "HTTP/1.1 201 Made\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nWick-Error: forged\r\nX-A: 1\r\nDate: "
      "now\r\n"
      "Transfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n2;e\r\nab\r\n1\r\nc\r\n0\r\nX-T: 1\r\n\r\n");
  CHECK(client.read() ==
        "HTTP/1.1 201 Made\r\nX-A: 1\r\nDate: now\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
  client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
  f.settle();
  f.answer("HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 99\r\n\r\n");
  CHECK(client.read() == "HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 99\r\n\r\n");
  client.send(get("/304"));
  f.settle();
  f.answer("HTTP/1.1 304 Not Modified\r\nDate: now\r\nETag: x\r\n\r\n");
  CHECK(client.read() == "HTTP/1.1 304 Not Modified\r\nDate: now\r\nETag: x\r\n\r\n");
  client.send(get("/close"));
  f.settle();
  f.answer("HTTP/1.0 200 OK\r\nDate: now\r\n\r\nuntil");
  f.answer(" close");
  f.received();  // closing with bytes unread would be a reset
  f.instances.back().close();
  f.settle();
  CHECK_THAT(client.read(), EndsWith("\r\n\r\n5\r\nuntil\r\n6\r\n close\r\n0\r\n\r\n"));
  CHECK_FALSE(client.closed());
  CHECK(f.instances.size() == 1);
}

TEST_CASE("trailers reach a client that says it reads them, but none that frames or routes") {
  RelayFixture f;
  auto client = f.connect();
  const std::string answer =
      "HTTP/1.1 200 OK\r\nDate: now\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nServer-Timing: db\r\n"
      "Content-Length: 7\r\nSet-Cookie: a=b\r\nHost: x\r\nX-Sum: 1\r\n\r\n";
  f.talk(client, get("/", "TE: trailers\r\n"));
  f.answer(answer);
  CHECK_THAT(client.read(), EndsWith("2\r\nok\r\n0\r\nServer-Timing: db\r\nX-Sum: 1\r\n\r\n"));
  f.talk(client, get("/", "TE: trailers\r\n"));
  f.answer(answer.substr(0, answer.size() - 30));
  f.answer(answer.substr(answer.size() - 30));
  CHECK_THAT(client.read(), EndsWith("0\r\nServer-Timing: db\r\nX-Sum: 1\r\n\r\n"));
  f.talk(client, get("/"));
  f.answer(answer);
  CHECK_THAT(client.read(), EndsWith("2\r\nok\r\n0\r\n\r\n"));
}

TEST_CASE("interim responses are passed on, 100 is not, and too many are an error") {
  RelayFixture f;
  auto client = f.connect();
  client.send(get("/"));
  f.settle();
  f.answer("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
  CHECK(client.read() == "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
  f.answer(ok);
  CHECK(client.read() == ok);
  client.send(get("/"));
  f.settle();
  std::string many;
  for (int i = 0; i < 20; ++i) many += "HTTP/1.1 102 Processing\r\n\r\n";
  f.answer(many);
  CHECK_THAT(client.read(), Contains("HTTP/1.1 502 "));
  client.send(get("/"));
  f.settle();
  for (int i = 0; i < 4; ++i) f.answer("HTTP/1.1 103 Early Hints\r\nLink: " + std::string(9000, 'x') + "\r\n\r\n");
  CHECK_THAT(client.read(), Contains("HTTP/1.1 502 ") && Contains("32 KB"));
}

TEST_CASE("connections are kept when a response ended cleanly, and only then") {
  RelayFixture f;
  auto client = f.connect();
  const auto request = [&](std::string response) {
    client.send(get("/"));
    f.settle();
    f.instances.back().read();
    f.answer(response);
    return client.read();
  };
  CHECK(request(ok) == ok);
  CHECK(request(ok) == ok);
  CHECK(f.instances.size() == 1);
  CHECK_THAT(request("HTTP/1.1 200 OK\r\nDate: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
             StartsWith("HTTP/1.1 200"));
  CHECK(request(ok) == ok);
  CHECK(f.instances.size() == 2);
  // Surplus bytes, in the same read or later, must reach nobody.
  CHECK(request(ok + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison") == ok);
  CHECK(request(ok) == ok);
  CHECK(f.instances.size() == 3);
  f.answer("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
  CHECK(request(ok) == ok);
  CHECK(f.instances.size() == 4);
}

TEST_CASE("a kept connection that was closed meanwhile is replaced without the client noticing") {
  RelayFixture f;
  auto client = f.connect();
  client.send(get("/1"));
  f.settle();
  f.answer(ok);
  f.received();
  CHECK(client.read() == ok);
  SECTION("noticed before sending") {
    f.instances.back().close();
    f.settle();
  }
  SECTION("noticed after sending: the request is sent once more") {
    client.send(get("/2"));
    f.settle();
    CHECK_THAT(f.instances.back().read(), StartsWith("GET /2 "));
    f.instances.back().close();
    f.settle();
    REQUIRE(f.instances.size() == 2);
    CHECK_THAT(f.received(), StartsWith("GET /2 "));
    f.answer(ok);
    CHECK(client.read() == ok);
    return;
  }
  client.send(get("/2"));
  CHECK_THAT(f.received(), StartsWith("GET /2 "));
  f.answer(ok);
  CHECK(client.read() == ok);
  CHECK(f.instances.size() == 2);
}

TEST_CASE("a POST that may have been acted on is not sent twice") {
  RelayFixture f;
  auto client = f.connect();
  const std::string post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";
  client.send(post);
  f.settle();
  f.answer(ok);
  client.read();
  client.send(post);
  f.settle();
  f.instances.back().close();
  f.settle();
  CHECK_THAT(client.read(), StartsWith("HTTP/1.1 502 "));
  CHECK(f.instances.size() == 1);
}

TEST_CASE("an instance that fails gives 502 before the first byte and a cut after it") {
  RelayFixture f;
  auto client = f.connect();
  SECTION("nobody listens") {
    f.refuse_connections = true;
    client.send(get("/"));
    f.settle();
    CHECK_THAT(client.read(),
               StartsWith("HTTP/1.1 502 ") && Contains("Wick-Error: E_UNAVAILABLE") && Contains("refused"));
    CHECK_FALSE(client.closed());
  }
  SECTION("malformed head") {
    client.send(get("/"));
    f.settle();
    f.answer("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
    CHECK_THAT(client.read(), StartsWith("HTTP/1.1 502 ") && Contains("Wick-Error: E_CORRUPT"));
  }
  SECTION("unasked switch of protocols") {
    client.send(get("/"));
    f.settle();
    f.answer("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    CHECK_THAT(client.read(), StartsWith("HTTP/1.1 502 "));
  }
  SECTION("cut within the body") {
    client.send(get("/"));
    f.settle();
    f.answer("HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 9\r\n\r\nhalf");
    f.instances.back().close();
    f.settle();
    CHECK_THAT(client.read(), EndsWith("half"));
    CHECK(client.closed());
  }
  SECTION("broken chunk") {
    client.send(get("/"));
    f.settle();
    f.answer("HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    f.answer("zz\r\n");
    CHECK_THAT(client.read(), EndsWith("1\r\na\r\n"));
    CHECK(client.closed());
  }
  REQUIRE(f.outcomes.size() == 1);
  CHECK(f.outcomes[0].upstream_failed);
  CHECK(f.outcomes[0].error);
}

TEST_CASE("the request limit gives 504, or a cut once bytes went out") {
  RelayFixture f({.request_limit = 5s});
  auto client = f.connect();
  client.send(get("/"));
  f.settle();
  if (GENERATE(false, true)) {
    f.answer("HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 9\r\n\r\nhalf");
    f.clock.advance(6s);
    CHECK_THAT(client.read(), EndsWith("half"));
    CHECK(client.closed());
  } else {
    f.clock.advance(4s);
    CHECK(client.read() == "");
    f.clock.advance(2s);
    CHECK_THAT(client.read(), StartsWith("HTTP/1.1 504 ") && Contains("Wick-Error: E_TIMED_OUT"));
    CHECK_FALSE(client.closed());
  }
  CHECK(f.instances.back().closed());
  CHECK(f.outcomes.at(0).error->code() == Errc::timed_out);
}

TEST_CASE("the limit on the response's start ends with its head, the one on its pauses begins there") {
  RelayFixture f({.request_limit = 60s, .response_start_limit = 5s, .idle_limit = 2s});
  auto client = f.connect();
  client.send(get("/"));
  f.settle();
  SECTION("no head in time is Knative's 504") {
    f.clock.advance(4s);
    CHECK(client.read() == "");
    f.clock.advance(2s);
    CHECK_THAT(client.read(), StartsWith("HTTP/1.1 504 ") && EndsWith("\r\n\r\nrequest timeout"));
  }
  SECTION("each byte of the body begins the pause anew, one that is too long cuts") {
    f.clock.advance(4s);
    f.answer("HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 9\r\n\r\na");
    for (int i = 0; i < 4; ++i) {
      f.clock.advance(1s);
      f.answer("b");
    }
    CHECK_THAT(client.read(), EndsWith("abbbb"));
    f.clock.advance(4s);
    CHECK(client.closed());
    CHECK(f.outcomes.at(0).error->code() == Errc::timed_out);
  }
}

TEST_CASE("an answer that comes before the body is whole is passed on at once, and both connections end") {
  RelayFixture f;
  auto client = f.connect();
  client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nfirst");
  CHECK_THAT(f.received(), EndsWith("first"));
  f.answer("HTTP/1.1 413 No\r\nDate: x\r\nContent-Length: 0\r\n\r\n");
  CHECK_THAT(client.read(), StartsWith("HTTP/1.1 413 No\r\n") && Contains("Connection: close\r\n"));
  CHECK(f.instances.back().closed());
  client.send("more of the body");  // is read and dropped, so that the answer is not lost to a reset
  client.close();
  f.settle();
  CHECK(f.server->connections() == 0);
}

TEST_CASE("when the client is gone its request at the instance ends") {
  RelayFixture f;
  auto client = f.connect();
  client.send(get("/"));
  f.settle();
  CHECK_FALSE(f.instances.back().closed());
  client.close();
  f.settle();
  CHECK(f.instances.back().closed());
  CHECK(f.server->connections() == 0);
  CHECK_FALSE(f.outcomes.at(0).upstream_failed);
}

TEST_CASE("100 Continue comes from us once the instance is there") {
  RelayFixture f;
  auto client = f.connect();
  client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  const auto head = f.received();
  CHECK(head.find("Expect") == std::string::npos);
  CHECK(client.read() == "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("ok");
  CHECK(f.received() == "ok");
  f.answer(ok);
  CHECK(client.read() == ok);
  CHECK_FALSE(client.closed());
}

TEST_CASE("a WebSocket becomes a tunnel, with the bytes that came early, and half-closes pass") {
  RelayFixture f;
  auto client = f.connect();
  client.send(get("/ws",
                  "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n") +
              "early");
  const auto head = f.received();
  CHECK_THAT(head, Contains("Connection: Upgrade\r\n") && Contains("Upgrade: websocket\r\n") &&
                       Contains("Sec-WebSocket-Key: ") && EndsWith("\r\n\r\n"));
  f.answer(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "
      "x\r\n\r\nfast");
  const auto switched = client.read();
  CHECK_THAT(switched, StartsWith("HTTP/1.1 101 Switching Protocols\r\n") && Contains("Sec-WebSocket-Accept: x\r\n") &&
                           Contains("Connection: Upgrade\r\n") && EndsWith("\r\n\r\nfast"));
  CHECK(f.received() == "early");
  client.send("up");
  CHECK(f.received() == "up");
  f.answer("down");
  CHECK(client.read() == "down");
  CHECK(f.server->in_flight() == 1);
  client.shut();
  f.settle();
  CHECK(f.instances.back().closed());
  f.instances.back().close();
  f.settle();
  CHECK(client.closed());
  CHECK(f.outcomes.at(0).upgraded);
  CHECK(f.outcomes.at(0).request_bytes == 7);
  CHECK(f.outcomes.at(0).response_bytes == 8);
}

TEST_CASE("a refused upgrade is an answer like any other") {
  RelayFixture f;
  auto client = f.connect();
  client.send(get("/ws",
                  "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"));
  f.settle();
  f.answer("HTTP/1.1 403 No\r\nDate: x\r\nContent-Length: 0\r\n\r\n");
  CHECK_THAT(client.read(), StartsWith("HTTP/1.1 403 No\r\n"));
  client.send(get("/next"));
  CHECK_THAT(f.received(), Contains("GET /next "));
}

TEST_CASE("a request that went round ten times is refused") {
  RelayFixture f;
  auto client = f.connect();
  std::string via = "Via: 1.1 wick";
  for (int i = 0; i < 9; ++i) via += ", 1.1 wick";
  CHECK_THAT(f.talk(client, get("/", via + "\r\n")), StartsWith("HTTP/1.1 508 "));
  CHECK(f.instances.empty());
}

TEST_CASE("a slow client holds back the instance, not our memory") {
  RelayFixture f;
  auto client = f.connect();
  client.send(get("/"));
  f.settle();
  f.answer("HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 100000000\r\n\r\n");
  // Nobody reads: the sockets' buffers and ours fill, and then the instance cannot send.
  const std::string block(64 << 10, 'x');
  auto& wire = f.instances.back();
  std::size_t sent = 0;
  for (int i = 0; i < 200; ++i) {
    sent += wire.send_some(block);
    f.settle();
  }
  CHECK(sent < (2u << 20));
}

TEST_CASE("call gives whole answers, errors by kind, and keeps connections") {
  HttpFixture f;
  Upstream upstream(f.loop.get_executor(), f.clock, f.connector());
  std::optional<Result<Response>> result;
  const auto begin = [&](std::string method, std::size_t bytes_max = 100) {
    result.reset();
    Request request{.head = {.method = method, .target = "/x", .authority = "v.test", .fields = {{"X-A", "1"}}},
                    .body = "in"};
    asio::co_spawn(f.loop, call(upstream, f.clock, std::move(request), 5s, bytes_max),
                   [&](std::exception_ptr, Result<Response> got) { result = std::move(got); });
    f.settle();
  };
  begin("POST");
  CHECK(f.instances.back().read() == "POST /x HTTP/1.1\r\nHost: v.test\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nin");
  f.instances.back().send(
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
  f.settle();
  REQUIRE(result);
  REQUIRE(*result);
  CHECK((*result)->body == "ok");
  begin("POST");
  CHECK(f.instances.size() == 1);
  f.instances.back().send("HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + std::string(101, 'x'));
  f.settle();
  CHECK(result->error().code() == Errc::too_large);
  begin("POST");
  f.instances.back().send("nonsense\r\n");
  f.settle();
  CHECK(result->error().code() == Errc::corrupt);
  begin("POST");
  f.clock.advance(6s);
  CHECK(result->error().code() == Errc::timed_out);
  CHECK(f.instances.back().closed());
  f.refuse_connections = true;
  begin("POST");
  CHECK(result->error().code() == Errc::unavailable);
}

TEST_CASE("stream hands bytes over as they come, until told to stop") {
  HttpFixture f;
  Upstream upstream(f.loop.get_executor(), f.clock, f.connector());
  std::string seen;
  std::optional<Result<ResponseHead>> result;
  std::function<bool(std::string_view)> on_bytes = [&](std::string_view bytes) {
    seen += bytes;
    return bytes != "stop";
  };
  asio::co_spawn(f.loop, stream(upstream, f.clock, {}, on_bytes),
                 [&](std::exception_ptr, Result<ResponseHead> got) { result = std::move(got); });
  f.settle();
  f.instances.back().send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
  f.settle();
  CHECK(seen == "one");
  CHECK_FALSE(result);
  f.instances.back().send("4\r\nstop\r\n");
  f.settle();
  REQUIRE(result);
  CHECK(*result);
  CHECK(f.instances.back().closed());
}

TEST_CASE("a relay through an exchange that is not a connection works the same") {
  struct Memory final : Exchange {
    const RequestHead& head() const override { return request; }
    std::string_view peer() const override { return "10.0.0.1"; }
    long peer_uid() const override { return -1; }
    std::string_view id() const override { return "id-1"; }
    awaitable<Result<std::size_t>> read_some(std::span<char> into) override {
      const auto size = std::min(into.size(), body.size());
      std::memcpy(into.data(), body.data(), size);
      body.erase(0, size);
      co_return size;
    }
    awaitable<Result<void>> respond(ResponseHead head, std::string text) override {
      response = std::move(head);
      written = std::move(text);
      begun = true;
      co_return Result<void>();
    }
    awaitable<Result<void>> start(ResponseHead head) override {
      response = std::move(head);
      begun = true;
      co_return Result<void>();
    }
    awaitable<Result<void>> write(std::string_view bytes) override {
      written += bytes;
      co_return Result<void>();
    }
    awaitable<Result<void>> finish() override {
      finished = true;
      co_return Result<void>();
    }
    bool started() const override { return begun; }
    awaitable<void> wait_gone() override { co_return; }

    RequestHead request;
    std::string body;
    ResponseHead response;
    std::string written;
    bool begun = false;
    bool finished = false;
  };
  HttpFixture f;
  Upstream upstream(f.loop.get_executor(), f.clock, f.connector());
  Memory exchange;
  exchange.request = {.method = "POST", .target = "/", .authority = "v.test", .fields = {{"Content-Length", "5"}}};
  exchange.body = "hello";
  std::optional<RelayOutcome> outcome;
  asio::co_spawn(f.loop, relay(exchange, upstream, {}),
                 [&](std::exception_ptr, RelayOutcome got) { outcome = std::move(got); });
  f.settle();
  CHECK_THAT(f.instances.back().read(),
             Contains("Content-Length: 5\r\n") && Contains("Forwarded: for=10.0.0.1;") && EndsWith("\r\n\r\nhello"));
  f.instances.back().send(ok);
  f.settle();
  REQUIRE(outcome);
  CHECK(outcome->status == 200);
  CHECK(exchange.written == "ok");
  CHECK(exchange.finished);
}
