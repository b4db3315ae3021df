#include <catch2/catch.hpp>

#include "support/run_loop.hpp"
#include "wick/http/server.hpp"
#include "wick/http/upstream.hpp"

using namespace wick;
using namespace wick::http;

namespace {

awaitable<void> hello(Exchange& exchange) {
  auto body = co_await exchange.read_all(1 << 20);
  co_await respond_text(exchange, 200,
                        exchange.head().method + " " + exchange.head().target + " " + body.value_or("?"));
}

}  // namespace

TEST_CASE("a request through server, relay and instance comes back") {
  asio::io_context loop(1);
  SteadyClock clock;
  Server instance(loop.get_executor(), clock, {}, hello);
  auto listener = listen_on("127.0.0.1:0");
  REQUIRE(listener);
  const auto address = bound_address(*listener);
  instance.listen(std::move(*listener));

  Upstream upstream(loop.get_executor(), clock, connect_to(loop.get_executor(), address));
  Handler forward = [&](Exchange& exchange) -> awaitable<void> {
    RelayOptions options;
    auto outcome = co_await relay(exchange, upstream, std::move(options));
    CHECK_FALSE(outcome.error);
    CHECK(outcome.status == 200);
  };
  Server proxy(loop.get_executor(), clock, {}, forward);
  auto outside = listen_on("127.0.0.1:0");
  REQUIRE(outside);
  Upstream client(loop.get_executor(), clock, connect_to(loop.get_executor(), bound_address(*outside)));
  proxy.listen(std::move(*outside));

  auto talk = [&]() -> awaitable<void> {
    for (int i = 0; i < 3; ++i) {
      Request request{.head = {.method = "POST", .target = "/x?y", .authority = "v.test"},
                      .body = std::string(i * 100'000, 'b')};
      const auto expected = "POST /x?y " + request.body + "\n";
      auto response = co_await call(client, clock, std::move(request), 5s);
      REQUIRE(response);
      CHECK(response->head.status == 200);
      CHECK(response->body == expected);
    }
    co_await proxy.stop(1s);
    co_await instance.stop(1s);
  };
  run_on(loop, talk());
}

TEST_CASE("read_full gives full pieces of a body that came in small ones, what is left, then its end") {
  asio::io_context loop(1);
  SteadyClock clock;
  std::vector<std::size_t> sizes;
  Handler count = [&](Exchange& exchange) -> awaitable<void> {
    std::string piece(100'000, '\0');
    while (true) {
      auto got = co_await exchange.read_full(piece);
      REQUIRE(got);
      sizes.push_back(*got);
      if (*got == 0) break;
    }
    co_await respond_text(exchange, 200, "counted");
  };
  Server server(loop.get_executor(), clock, {}, count);
  auto listener = listen_on("127.0.0.1:0");
  REQUIRE(listener);
  Upstream client(loop.get_executor(), clock, connect_to(loop.get_executor(), bound_address(*listener)));
  server.listen(std::move(*listener));
  auto talk = [&]() -> awaitable<void> {
    Request request{.head = {.method = "POST", .target = "/", .authority = "v.test"},
                    .body = std::string(250'000, 'b')};
    auto response = co_await call(client, clock, std::move(request), 5s);
    REQUIRE(response);
    CHECK(response->head.status == 200);
    co_await server.stop(1s);
  };
  run_on(loop, talk());
  CHECK(sizes == std::vector<std::size_t>{100'000, 100'000, 50'000, 0});
}
