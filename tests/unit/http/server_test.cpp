// The server: keep-alive, pipelining, limits and time-outs, streaming answers, stopping.
#include "http_fixture.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>

using namespace wick;
using namespace wick::http;

namespace {

awaitable<void> echo(Exchange& exchange) {
  auto body = co_await exchange.read_all(1 << 20);
  if (!body) {
    co_await respond_error(exchange, 400, body.error());
    co_return;
  }
  co_await respond_text(exchange, 200, exchange.head().target + " " + *body);
}

std::string get(std::string target, std::string fields = "") {
  return "GET " + target + " HTTP/1.1\r\nHost: v.test\r\n" + fields + "\r\n";
}

}  // namespace

TEST_CASE("pipelined requests are answered in order on one connection") {
  HttpFixture f;
  f.serve(echo);
  auto client = f.connect();
  const auto text = f.talk(client, get("/1") + get("/2") + get("/3", "Connection: close\r\n"));
  CHECK(text.find("/1 ") < text.find("/2 "));
  CHECK(text.find("/2 ") < text.find("/3 "));
  CHECK(count(text, "HTTP/1.1 200 OK\r\n") == 3);
  CHECK(count(text, "Connection: close\r\n") == 1);
  CHECK(client.closed());
  CHECK(f.server->connections() == 0);
}

TEST_CASE("bodies are read whole, by length and by chunks") {
  HttpFixture f;
  f.serve(echo);
  auto client = f.connect();
  CHECK_THAT(f.talk(client, "POST /l HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"), Contains("/l hello\n"));
  CHECK(f.talk(client, "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel") == "");
  CHECK_THAT(f.talk(client, "lo\r\n1\r\n!\r\n0\r\n\r\n"), Contains("/c hello!\n"));
  CHECK_THAT(f.talk(client, "POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
             StartsWith("HTTP/1.1 400 "));
  client.shut();
  f.settle();
  CHECK(client.closed());
}

TEST_CASE("a handler without an answer gives 500, one that throws also closes") {
  HttpFixture f;
  f.serve([](Exchange& exchange) -> awaitable<void> {
    if (exchange.head().target == "/throw") throw std::runtime_error("a bug");
    co_return;
  });
  auto client = f.connect();
  CHECK_THAT(f.talk(client, get("/")), StartsWith("HTTP/1.1 500 Internal Server Error\r\n"));
  CHECK_FALSE(client.closed());
  const auto text = f.talk(client, get("/throw"));
  CHECK_THAT(text, StartsWith("HTTP/1.1 500 ") && Contains("Connection: close\r\n"));
  CHECK(client.closed());
}

TEST_CASE("100 Continue is sent when the handler wants the body, and only then") {
  HttpFixture f;
  bool wants = true;
  f.serve([&](Exchange& exchange) -> awaitable<void> {
    if (wants) co_return co_await echo(exchange);
    co_await respond_text(exchange, 403, "no");
  });
  const std::string head = "POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
  auto client = f.connect();
  CHECK(f.talk(client, head) == "HTTP/1.1 100 Continue\r\n\r\n");
  CHECK_THAT(f.talk(client, "ok"), StartsWith("HTTP/1.1 200 OK") && Contains("/e ok\n"));
  wants = false;
  const auto refused = f.talk(client, head);
  CHECK_THAT(refused, StartsWith("HTTP/1.1 403 ") && Contains("Connection: close\r\n"));
}

TEST_CASE("streamed answers are chunked, closed for HTTP/1.0, and empty for HEAD") {
  HttpFixture f;
  f.serve([](Exchange& exchange) -> awaitable<void> {
    ResponseHead head{.status = 200, .fields = {{"X-A", "1"}}};
    co_await exchange.start(std::move(head));
    co_await exchange.write("one");
    co_await exchange.write("two");
    co_await exchange.finish();
  });
  auto client = f.connect();
  const auto chunked = f.talk(client, get("/"));
  CHECK_THAT(chunked,
             Contains("Transfer-Encoding: chunked\r\n") && EndsWith("\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"));
  const auto head = f.talk(client, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK_THAT(head, StartsWith("HTTP/1.1 200 OK\r\n") && EndsWith("\r\n\r\n"));
  CHECK(head.find("one") == std::string::npos);
  CHECK_FALSE(client.closed());
  const auto old = f.talk(client, "GET / HTTP/1.0\r\n\r\n");
  CHECK_THAT(old, Contains("Connection: close\r\n") && EndsWith("\r\n\r\nonetwo"));
  CHECK(client.closed());
}

TEST_CASE("a stream that is not finished is cut, never ended cleanly") {
  HttpFixture f;
  f.serve([](Exchange& exchange) -> awaitable<void> {
    ResponseHead head;
    co_await exchange.start(std::move(head));
    co_await exchange.write("half");
  });
  auto client = f.connect();
  const auto text = f.talk(client, get("/"));
  CHECK_THAT(text, EndsWith("4\r\nhalf\r\n"));
  CHECK(client.closed());
}

TEST_CASE("a handler's field cannot split the response") {
  HttpFixture f;
  f.serve([](Exchange& exchange) -> awaitable<void> {
    ResponseHead head{
        .fields = {{"X-A", "1\r\nX-Injected: 1"}, {"X B", "1"}, {"X-C", "fine"}, {"Content-Length", "7"}}};
    co_await exchange.respond(std::move(head), "body");
  });
  auto client = f.connect();
  const auto text = f.talk(client, get("/"));
  CHECK(text.find("Injected") == std::string::npos);
  CHECK(text.find("X B") == std::string::npos);
  CHECK_THAT(text, Contains("X-C: fine\r\n") && Contains("Content-Length: 4\r\n"));
}

TEST_CASE("a slow head gets 408 at its limit, an idle connection is closed silently at its own") {
  HttpFixture f;
  f.serve(echo);
  auto slow = f.connect();
  auto idle = f.connect();
  CHECK(f.talk(slow, "GET / HT") == "");
  f.clock.advance(9s);
  CHECK(f.talk(slow, "TP/1.1\r\n") == "");  // does not win time
  f.clock.advance(1200ms);
  CHECK_THAT(slow.read(), StartsWith("HTTP/1.1 408 "));
  f.clock.advance(2s);
  CHECK(slow.closed());
  f.clock.advance(60s);
  CHECK_FALSE(idle.closed());
  f.clock.advance(5s);
  CHECK(idle.closed());
  CHECK(idle.read() == "");
  CHECK(f.server->connections() == 0);
}

TEST_CASE("a server without a connection has no timer") {
  HttpFixture f;
  f.serve(echo);
  f.settle();
  CHECK(f.clock.sleepers() == 0);
  {
    auto client = f.connect();
    CHECK_THAT(f.talk(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"), StartsWith("HTTP/1.1 200"));
    CHECK(f.clock.sleepers() > 0);
  }
  f.clock.advance(200ms);
  CHECK(f.server->connections() == 0);
  CHECK(f.clock.sleepers() == 0);
}

TEST_CASE("a body that stops coming is an error for the handler after its limit") {
  HttpFixture f;
  f.serve(echo);
  auto client = f.connect();
  CHECK(f.talk(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe") == "");
  f.clock.advance(59s);
  CHECK(client.read() == "");
  f.clock.advance(2s);
  CHECK_THAT(client.read(), StartsWith("HTTP/1.1 400 ") && Contains("E_TIMED_OUT") && Contains("Connection: close"));
}

TEST_CASE("a body that only trickles is an error after the window of the rate") {
  HttpFixture f;
  f.serve(echo, {.body_rate_min = 10, .body_rate_window = 30s});
  auto slow = f.connect();
  auto steady = f.connect();
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n";
  slow.send(head);
  steady.send(head);
  f.settle();
  for (int second = 0; second < 36; ++second) {
    slow.send_some("x");
    steady.send(std::string(12, 'x'));
    f.clock.advance(1s);
  }
  CHECK_THAT(slow.read(), StartsWith("HTTP/1.1 400 ") && Contains("E_TIMED_OUT"));
  CHECK(steady.read() == "");
  CHECK_THAT(f.talk(steady, std::string(500 - 36 * 12, 'x')), StartsWith("HTTP/1.1 200 "));
}

TEST_CASE("connections and refused requests are counted by listener, with few series") {
  Metrics metrics;  // outlives the server, which counts as long as it has connections
  HttpFixture f;
  f.serve(echo);
  f.server->count_in(metrics, "edge");
  auto one = f.connect();
  auto two = f.connect();
  f.talk(two, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n");
  const auto text = metrics.expose();
  CHECK_THAT(text, Contains("wick_http_connections_accepted_total{listener=\"edge\"} 2") &&
                       Contains("wick_http_requests_refused_total{listener=\"edge\",code=\"400\"} 1"));
}

TEST_CASE("a client that reads nothing is given up after the limit, with bounded memory") {
  HttpFixture f;
  std::size_t written = 0;
  bool ended = false;
  f.serve([&](Exchange& exchange) -> awaitable<void> {
    ResponseHead head;
    co_await exchange.start(std::move(head));
    const std::string block(32 << 10, 'x');
    while (true) {
      auto sent = co_await exchange.write(block);
      if (!sent) break;
      written += block.size();
    }
    ended = true;
  });
  auto client = f.connect();
  client.send(get("/"));
  f.settle();
  const auto before = written;
  CHECK(before < (4u << 20));
  f.clock.advance(59s);
  CHECK(written == before);
  CHECK_FALSE(ended);
  f.clock.advance(2s);
  CHECK(ended);
  CHECK(f.server->connections() == 0);
}

TEST_CASE("heads past their limits are refused with the status that says so") {
  HttpFixture f;
  f.serve(echo);
  const auto answer = [&](std::string text) {
    auto client = f.connect();
    auto reply = f.talk(client, text);
    client.shut();
    f.settle();
    CHECK(client.closed());
    return reply.substr(0, 13);
  };
  CHECK(answer("GET /" + std::string(17'000, 'a') + " HTTP/1.1\r\n") == "HTTP/1.1 414 ");
  CHECK(answer(get("/", "X: " + std::string(17'000, 'a') + "\r\n")) == "HTTP/1.1 431 ");
  std::string many;
  for (int i = 0; i < 101; ++i) many += "X: 1\r\n";
  CHECK(answer(get("/", many)) == "HTTP/1.1 431 ");
  const std::string field = "X: " + std::string(15'000, 'a') + "\r\n";
  CHECK(answer(get("/", field + field + field)) == "HTTP/1.1 431 ");
  CHECK(answer(get("/", field + field)) == "HTTP/1.1 200 ");
}

TEST_CASE("OPTIONS * is answered by the server itself") {
  HttpFixture f;
  f.serve(echo);
  auto client = f.connect();
  CHECK_THAT(f.talk(client, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
             StartsWith("HTTP/1.1 204 ") && Contains("Allow: GET"));
}

TEST_CASE("a unix socket's peer is known by its uid") {
  HttpFixture f;
  long uid = -2;
  std::string peer;
  f.serve([&](Exchange& exchange) -> awaitable<void> {
    uid = exchange.peer_uid();
    peer = exchange.peer();
    co_await respond_text(exchange, 200, "");
  });
  auto client = f.connect();
  f.talk(client, get("/"));
  CHECK(uid == static_cast<long>(getuid()));
  CHECK(peer == "unix");
}

TEST_CASE("a half-closed client still gets its answer") {
  HttpFixture f;
  f.serve(echo);
  auto client = f.connect();
  client.send(get("/half"));
  client.shut();
  f.settle();
  CHECK_THAT(client.read(), Contains("/half "));
  CHECK(client.closed());
}

TEST_CASE("wait_gone returns when the client hangs up") {
  HttpFixture f;
  bool gone = false;
  f.serve([&](Exchange& exchange) -> awaitable<void> {
    co_await exchange.wait_gone();
    gone = true;
  });
  auto client = f.connect();
  client.send(get("/"));
  f.settle();
  CHECK_FALSE(gone);
  client.close();
  f.settle();
  CHECK(gone);
  CHECK(f.server->connections() == 0);
}

TEST_CASE("while it stops, a kept connection may ask once more, and is told that it was the last time") {
  HttpFixture f;
  f.serve(echo);
  auto kept = f.connect();
  CHECK_THAT(f.talk(kept, get("/first")), !Contains("Connection: close"));
  bool stopped = false;
  asio::co_spawn(f.loop, f.server->stop(5s), [&](std::exception_ptr) { stopped = true; });
  f.settle();
  CHECK_FALSE(kept.closed());
  CHECK_THAT(f.talk(kept, get("/last")), Contains("/last ") && Contains("Connection: close"));
  f.settle();
  CHECK(kept.closed());
  CHECK(stopped);
}

TEST_CASE("stopping closes idle connections, lets requests end, and cuts what is left after the grace") {
  HttpFixture f;
  asio::steady_timer release(f.loop, asio::steady_timer::time_point::max());
  f.serve([&](Exchange& exchange) -> awaitable<void> {
    boost::system::error_code error;
    auto token = asio::redirect_error(use_awaitable, error);
    co_await release.async_wait(token);
    co_await respond_text(exchange, 200, "late");
  });
  auto idle = f.connect();
  auto busy = f.connect();
  busy.send(get("/"));
  f.settle();
  CHECK(f.server->in_flight() == 1);
  bool stopped = false;
  asio::co_spawn(f.loop, f.server->stop(5s), [&](std::exception_ptr) { stopped = true; });
  f.clock.advance(200ms);
  f.settle();
  CHECK(idle.closed());
  CHECK_FALSE(stopped);
  SECTION("the request ends in time") {
    release.cancel();
    f.settle();
    CHECK_THAT(busy.read(), Contains("Connection: close") && EndsWith("late\n"));
    CHECK(stopped);
  }
  SECTION("it does not") {
    f.clock.advance(5s);
    f.settle();
    CHECK(stopped);
    CHECK(busy.closed());
  }
  CHECK(f.server->connections() == 0);
}

TEST_CASE("past connections_max the listener waits") {
  HttpFixture f;
  f.serve(echo, {.connections_max = 2});
  auto first = f.connect();
  auto second = f.connect();
  auto third = f.connect();
  CHECK(f.talk(third, get("/3")) == "");
  CHECK(f.server->connections() == 2);
  first.close();
  f.settle();
  CHECK_THAT(third.read(), Contains("/3 "));
}

TEST_CASE("servers side by side have as many connections each, and one that has stopped gets none") {
  Metrics metrics;  // counted in until the fixture is gone
  HttpFixture f;
  auto listener = listen_on("unix:" + f.path());
  REQUIRE(listener);
  auto again = listener->duplicate();
  f.server = std::make_unique<Server>(f.loop.get_executor(), f.clock, ServerLimits{}, echo);
  f.server->count_in(metrics, "edge");
  Server beside(f.loop.get_executor(), f.clock, {}, echo);
  beside.stand_beside(*f.server);
  f.server->listen(std::move(*listener));
  beside.listen(std::move(again));
  f.settle();
  std::vector<Wire> clients;
  for (int i = 0; i < 8; ++i) clients.push_back(f.connect());
  CHECK(f.server->connections() == 4);
  CHECK(beside.connections() == 4);
  for (auto& client : clients) CHECK_THAT(f.talk(client, get("/")), StartsWith("HTTP/1.1 200 "));
  CHECK_THAT(metrics.expose(), Contains("wick_http_connections{listener=\"edge\"} 8"));
  f.run(beside.stop(milliseconds(0)));
  for (int i = 0; i < 4; ++i) clients.push_back(f.connect());
  CHECK(f.server->connections() == 8);
  CHECK_THAT(f.talk(clients.back(), get("/")), StartsWith("HTTP/1.1 200 "));
}

TEST_CASE("addresses are checked before anything is bound") {
  CHECK(listen_on("example.test:80").error().code() == Errc::invalid);
  CHECK(listen_on("127.0.0.1").error().code() == Errc::invalid);
  CHECK(listen_on("127.0.0.1:70000").error().code() == Errc::invalid);
  CHECK(listen_on("unix:" + std::string(200, 'a')).error().code() == Errc::invalid);
  auto four = listen_on("127.0.0.1:0");
  REQUIRE(four);
  CHECK_THAT(bound_address(*four), StartsWith("127.0.0.1:"));
  auto all = listen_on(":0");
  CHECK(all);
}

TEST_CASE("after 101 the connection's bytes are the handler's, those that came with the request too") {
  HttpFixture f;
  f.serve([](Exchange& exchange) -> awaitable<void> {
    ResponseHead head{.status = 101, .fields = {{"Upgrade", "echo"}}};
    auto started = co_await exchange.start(std::move(head));
    CHECK(started);
    char buffer[4];
    while (true) {
      auto got = co_await exchange.read_some(buffer);
      if (!got || *got == 0) break;
      co_await exchange.write("<" + std::string(buffer, *got) + ">");
    }
  });
  auto client = f.connect();
  const auto text = f.talk(client, get("/", "Connection: Upgrade\r\nUpgrade: echo\r\n") + "abcdef");
  CHECK(text.starts_with("HTTP/1.1 101 Switching Protocols\r\n"));
  CHECK(count(text, "Connection: Upgrade\r\n") == 1);
  CHECK(text.find("Content-Length") == text.npos);
  CHECK(text.ends_with("\r\n\r\n<abcd><ef>"));
}

TEST_CASE("leave() returns when all that is left flows; what asks later is not answered") {
  HttpFixture f;
  asio::steady_timer answer(f.loop, asio::steady_timer::time_point::max());
  asio::steady_timer end(f.loop, asio::steady_timer::time_point::max());
  int handled = 0;
  f.serve([&](Exchange& exchange) -> awaitable<void> {
    ++handled;
    co_await answer.async_wait(asio::as_tuple(use_awaitable));
    ResponseHead head{.status = 200};
    auto started = co_await exchange.start(std::move(head));
    CHECK(started);
    co_await exchange.write("begun");
    co_await end.async_wait(asio::as_tuple(use_awaitable));
    co_await exchange.finish();
  });
  auto idle = f.connect();
  auto client = f.connect();
  client.send(get("/") + get("/again"));
  f.settle();
  bool left = false;
  asio::co_spawn(f.loop, f.server->leave(2s), [&](std::exception_ptr) { left = true; });
  f.clock.advance(500ms);
  CHECK(idle.closed());
  CHECK_FALSE(left);  // the answer has not begun
  answer.cancel();
  f.clock.advance(50ms);
  CHECK(left);
  CHECK_THAT(client.read(), Catch::Contains("begun"));
  end.cancel();
  f.clock.advance(50ms);
  CHECK(client.closed());
  CHECK(handled == 1);
}

TEST_CASE("who was promised another answer before leave() has a moment to ask for it") {
  HttpFixture f;
  asio::steady_timer end(f.loop, asio::steady_timer::time_point::max());
  f.serve([&](Exchange& exchange) -> awaitable<void> {
    const bool first = exchange.head().target == "/";
    ResponseHead head{.status = 200};
    auto started = co_await exchange.start(std::move(head));
    CHECK(started);
    if (first) co_await end.async_wait(asio::as_tuple(use_awaitable));
    co_await exchange.write(first ? "first" : "second");
    co_await exchange.finish();
  });
  auto asks = f.connect(), silent = f.connect();
  asks.send(get("/"));
  silent.send(get("/"));
  f.settle();
  bool left = false;
  asio::co_spawn(f.loop, f.server->leave(2s), [&](std::exception_ptr) { left = true; });
  f.settle();
  end.cancel();
  f.settle();
  f.clock.advance(30ms);
  CHECK_FALSE(left);
  CHECK_THAT(asks.read(), Catch::Contains("first") && !Catch::Contains("Connection: close"));
  asks.send(get("/again"));
  f.settle();
  CHECK_THAT(asks.read(), Catch::Contains("second") && Catch::Contains("Connection: close"));
  CHECK(asks.closed());
  CHECK_FALSE(silent.closed());
  f.clock.advance(500ms);
  CHECK(silent.closed());
  CHECK(left);
}

TEST_CASE("leave() waits no longer than its limit for answers to begin, and lets them come later") {
  HttpFixture f;
  asio::steady_timer answer(f.loop, asio::steady_timer::time_point::max());
  f.serve([&](Exchange& exchange) -> awaitable<void> {
    co_await answer.async_wait(asio::as_tuple(use_awaitable));
    ResponseHead head{.status = 200};
    co_await exchange.respond(std::move(head), "late");
  });
  auto client = f.connect();
  client.send(get("/"));
  f.settle();
  bool left = false;
  asio::co_spawn(f.loop, f.server->leave(2s), [&](std::exception_ptr) { left = true; });
  f.clock.advance(1900ms);
  CHECK_FALSE(left);
  f.clock.advance(200ms);
  CHECK(left);
  answer.cancel();
  f.clock.advance(10ms);
  CHECK_THAT(client.read(), Catch::Contains("late"));
}
