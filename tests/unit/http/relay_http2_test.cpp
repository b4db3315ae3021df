// Towards services that speak HTTP/2: a server of ours is the service, a connection of HTTP/1.1 or 2 the client.
#include "http2_client_wire.hpp"

using namespace wick;
using namespace wick::http;

namespace {

/// client --HTTP/1.1--> proxy (the fixture's server) --HTTP/2--> service
struct ProxyFixture : HttpFixture {
  explicit ProxyFixture(Handler answer, RelayOptions relay_options = {}, ServerLimits limits = {})
      : options(relay_options) {
    service = std::make_unique<Server>(loop.get_executor(), clock, ServerLimits{}, std::move(answer));
    service->listen(listen_on("unix:" + path() + "-service").value());
    Connector connector = [this]() -> awaitable<Result<Fd>> {
      ++connections_made;
      auto connect = connect_to(loop.get_executor(), "unix:" + path() + "-service");
      co_return co_await connect();
    };
    upstream = std::make_unique<Upstream>(loop.get_executor(), clock, std::move(connector), 64,
                                          std::chrono::milliseconds(60'000), UpstreamProtocol::h2c);
    serve(
        [this](Exchange& exchange) -> awaitable<void> {
          last = co_await relay(exchange, *upstream, options);
          ++relayed;
        },
        limits);
  }
  ~ProxyFixture() {
    run(server->stop(milliseconds(0)));
    server.reset();
    upstream.reset();
    settle();
    run(service->stop(milliseconds(0)));
  }
  std::string ask(std::string_view request) {
    auto wire = connect();
    auto text = talk(wire, request);
    for (int i = 0; i < 8; ++i) {
      settle();
      text += wire.read();
    }
    return text;
  }

  RelayOptions options;
  std::unique_ptr<Server> service;
  std::unique_ptr<Upstream> upstream;
  RelayOutcome last;
  int relayed = 0;
  int connections_made = 0;
};

awaitable<void> tell(Exchange& exchange) {
  auto body = co_await exchange.read_all(8 << 20);
  const auto& head = exchange.head();
  std::string text = head.method + " " + head.authority + head.target + " " + std::to_string(body->size());
  for (const auto name : {"x-a", "te", "via", "x-forwarded-proto", "cookie"})
    if (const auto value = head.fields.find(name)) text += std::string(" ") + name + "=" + std::string(*value);
  co_await exchange.respond({.status = 200, .fields = {{"X-From", "service"}, {"Wick-Error", "forged"}}}, text);
}

}  // namespace

TEST_CASE("a client of HTTP/1.1 reaches a service that speaks HTTP/2, all over one connection") {
  ProxyFixture f(tell);
  auto wire = f.connect();
  for (int i = 0; i < 3; ++i) {
    const auto answer =
        f.talk(wire, "GET /a?b HTTP/1.1\r\nHost: V.test\r\nX-A: 1\r\nCookie: c=d\r\nConnection: x-b\r\nX-B: 2\r\n\r\n");
    CHECK_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n") && Contains("x-from: service\r\n"));
    CHECK_THAT(answer, EndsWith("GET v.test/a?b 0 x-a=1 te=trailers via=1.1 wick x-forwarded-proto=http cookie=c=d"));
    CHECK_THAT(answer, !Contains("forged"));
  }
  CHECK(f.connections_made == 1);
  CHECK(f.last.status == 200);
  CHECK_FALSE(f.last.error);
}

TEST_CASE("bodies go through both ways to a service of HTTP/2, by length and by chunks") {
  const std::string big(2 << 20, 'y');
  ProxyFixture f([&](Exchange& exchange) -> awaitable<void> {
    auto body = co_await exchange.read_all(8 << 20);
    co_await exchange.start({.status = 200, .fields = {{"X-Got", std::to_string(body->size())}}});
    co_await exchange.write(big);
    co_await exchange.finish();
  });
  auto wire = f.connect();
  wire.send("POST / HTTP/1.1\r\nHost: v.test\r\nTransfer-Encoding: chunked\r\n\r\n");
  std::string text;
  for (int i = 0; i < 64; ++i) text += f.talk(wire, "8000\r\n" + std::string(0x8000, 'x') + "\r\n");
  text += f.talk(wire, "0\r\n\r\n");
  for (int i = 0; i < 400 && !text.ends_with("0\r\n\r\n"); ++i) {
    f.settle();
    text += wire.read();
  }
  CHECK_THAT(text, Contains("x-got: 2097152\r\n") && EndsWith("0\r\n\r\n"));
  CHECK(text.size() > big.size());
  CHECK(f.last.request_bytes == 2097152);
  CHECK(f.last.response_bytes == big.size());
}

TEST_CASE("HEAD, 204 and empty answers of a service of HTTP/2 keep their framing") {
  ProxyFixture f([](Exchange& exchange) -> awaitable<void> {
    const auto status = exchange.head().target == "/none" ? 204 : 200;
    co_await exchange.respond({.status = status}, exchange.head().method == "HEAD" ? "length" : "");
  });
  CHECK_THAT(f.ask("HEAD / HTTP/1.1\r\nHost: v.test\r\n\r\n"),
             Contains("Content-Length: 6\r\n") && EndsWith("\r\n\r\n"));
  CHECK_THAT(f.ask("GET /none HTTP/1.1\r\nHost: v.test\r\n\r\n"),
             StartsWith("HTTP/1.1 204 ") && !Contains("Content-Length"));
  CHECK_THAT(f.ask("GET / HTTP/1.1\r\nHost: v.test\r\n\r\n"), Contains("Content-Length: 0\r\n"));
}

TEST_CASE("a service of HTTP/2 that fails is told from one that is slow, and what has begun is cut") {
  ProxyFixture f(
      [&](Exchange& exchange) -> awaitable<void> {
        if (exchange.head().target == "/half") {
          co_await exchange.start({.status = 200});
          co_await exchange.write("half");
          co_return;  // reset
        }
        co_await exchange.wait_gone();
      },
      {.request_limit = std::chrono::milliseconds(5000)});
  auto wire = f.connect();
  wire.send("GET /half HTTP/1.1\r\nHost: v.test\r\n\r\n");
  f.settle();
  f.settle();
  const auto half = wire.read();
  CHECK_THAT(half, !EndsWith("0\r\n\r\n"));
  CHECK(wire.closed());
  CHECK(f.last.upstream_failed);

  auto slow = f.connect();
  slow.send("GET /slow HTTP/1.1\r\nHost: v.test\r\n\r\n");
  f.settle();
  CHECK(f.service->in_flight() == 1);
  f.clock.advance(6s);
  CHECK_THAT(slow.read(), StartsWith("HTTP/1.1 504 ") && Contains("request timeout"));
  CHECK(f.service->in_flight() == 0);  // the stream was cancelled
}

TEST_CASE("a client that goes away cancels its stream to a service of HTTP/2") {
  ProxyFixture f([](Exchange& exchange) -> awaitable<void> { co_await exchange.wait_gone(); });
  auto wire = f.connect();
  wire.send("GET / HTTP/1.1\r\nHost: v.test\r\n\r\n");
  f.settle();
  CHECK(f.service->in_flight() == 1);
  wire.close();
  f.settle();
  f.settle();
  CHECK(f.service->in_flight() == 0);
  CHECK(f.relayed == 1);
}

TEST_CASE("a service of HTTP/2 that restarts is asked over a new connection, one that is not there gives 502") {
  ProxyFixture f(tell);
  CHECK_THAT(f.ask("GET / HTTP/1.1\r\nHost: v.test\r\n\r\n"), StartsWith("HTTP/1.1 200 "));
  f.run(f.service->stop(milliseconds(0)));
  f.settle();
  CHECK_THAT(f.ask("GET / HTTP/1.1\r\nHost: v.test\r\n\r\n"), StartsWith("HTTP/1.1 502 "));
  f.service = std::make_unique<Server>(f.loop.get_executor(), f.clock, ServerLimits{}, tell);
  f.service->listen(listen_on("unix:" + f.path() + "-service").value());
  CHECK_THAT(f.ask("GET / HTTP/1.1\r\nHost: v.test\r\n\r\n"), StartsWith("HTTP/1.1 200 "));
  CHECK(f.connections_made >= 2);
}

TEST_CASE("a service named h2c that speaks HTTP/1.1 gives 502, not a wait") {
  HttpFixture f;
  Upstream upstream(f.loop.get_executor(), f.clock, f.connector(), 64, std::chrono::milliseconds(60'000),
                    UpstreamProtocol::h2c);
  f.serve([&](Exchange& exchange) -> awaitable<void> { co_await relay(exchange, upstream, {}); });
  auto wire = f.connect();
  wire.send("GET / HTTP/1.1\r\nHost: v.test\r\n\r\n");
  f.settle();
  REQUIRE(f.instances.size() == 1);
  CHECK_THAT(f.instances.front().read(), StartsWith("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
  f.instances.front().send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
  f.settle();
  f.settle();
  CHECK(f.instances.size() >= 1);
  for (auto& instance : f.instances) instance.close();
  f.settle();
  CHECK_THAT(wire.read(), StartsWith("HTTP/1.1 502 "));
}

TEST_CASE("whole calls of ours go to services of HTTP/2 too: probes") {
  ProxyFixture f(tell);
  std::optional<Result<Response>> answer;
  Request request{.head = {.method = "POST", .target = "/probe", .authority = "v.test"}, .body = "12345"};
  auto calling = [&]() -> awaitable<void> {
    answer.emplace(co_await call(*f.upstream, f.clock, std::move(request), milliseconds(1000)));
  };
  f.run(calling());
  REQUIRE(answer);
  REQUIRE(*answer);
  CHECK((*answer)->head.status == 200);
  CHECK_THAT((*answer)->body, StartsWith("POST v.test/probe 5"));
}

namespace {

/// No two stretches of it are the same.
std::string numbered(std::size_t bytes) {
  std::string text;
  for (int i = 0; text.size() < bytes; ++i) text += std::to_string(i) + " ";
  text.resize(bytes);
  return text;
}

}  // namespace

TEST_CASE("a body over HTTP/2 arrives byte for byte while more of it comes: at a service of HTTP/2") {
  const auto body = numbered(3 << 20);
  std::string got;
  Clock* clock = nullptr;
  ProxyFixture f([&](Exchange& exchange) -> awaitable<void> {
    char part[5000];
    while (true) {  // a little at a time, with pauses: its window is full, then the proxy's
      if (got.size() < 1 << 20) co_await clock->sleep(1ms);
      auto read = co_await exchange.read_some(part);
      if (!read || *read == 0) break;
      got.append(part, *read);
    }
    co_await respond_text(exchange, 200, "read");
  });
  clock = &f.clock;
  Http2Client client(f);
  client.send_in_pieces();
  const auto stream = client.send(Http2Client::post("/"), body);
  for (int i = 0; i < 2000 && !client.answers[stream].closed; ++i) {
    client.send_piece(stream, 7000);
    f.clock.advance(1ms);
  }
  CHECK(client.answers[stream].body == "read\n");
  CHECK(got.size() == body.size());
  CHECK((got == body));
}

TEST_CASE(
    "a body over HTTP/2 arrives byte for byte while more of it comes: at a service of HTTP/1.1 that reads slowly") {
  const auto body = numbered(3 << 20);
  HttpFixture f;
  Upstream upstream(f.loop.get_executor(), f.clock, f.connector());
  f.serve([&](Exchange& exchange) -> awaitable<void> { co_await relay(exchange, upstream, {}); });
  Http2Client client(f);
  client.send_in_pieces();
  const auto stream = client.send(Http2Client::post("/", {{"content-length", std::to_string(body.size())}}), body);
  REQUIRE(f.instances.size() == 1);
  std::string got;
  for (int i = 0; i < 2000; ++i) {
    client.send_piece(stream, 7000);
    if (i % 50 == 49) got += f.instances.front().read();  // its socket is full in between
    const auto head = got.find("\r\n\r\n");
    if (head != got.npos && got.size() == head + 4 + body.size()) break;
  }
  const auto head = got.find("\r\n\r\n");
  REQUIRE(head != got.npos);
  CHECK((got.substr(head + 4) == body));
  f.instances.front().send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  client.talk();
  CHECK(client.answers[stream].body == "ok");
}
