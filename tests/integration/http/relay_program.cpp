// A server that relays everything to one upstream: what the vector, client and load tests of this folder run against.
// usage: http_relay LISTEN UPSTREAM [HEAD_LIMIT_MS BODY_IDLE_MS REQUEST_LIMIT_MS]
// Prints the address it listens on, then one line a request: status and what failed. SIGTERM stops it gracefully.
#include <signal.h>

#include <boost/asio/signal_set.hpp>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "support/run_loop.hpp"
#include "wick/http/server.hpp"
#include "wick/http/upstream.hpp"

using namespace wick;
using namespace wick::http;

namespace {

struct Program {
  asio::io_context& loop;
  SteadyClock& clock;
  Upstream upstream;
  RelayOptions options;
  bool quiet = std::getenv("QUIET") != nullptr;

  awaitable<void> handle(Exchange& exchange) {
    if (exchange.head().path() == "/healthz") {
      co_await respond_text(exchange, 200, "ok");
      co_return;
    }
    auto outcome = co_await relay(exchange, upstream, options);
    if (quiet) co_return;
    std::printf("%d %s\n", outcome.status, outcome.error ? outcome.error->what().c_str() : "");
    std::fflush(stdout);
  }
};

awaitable<void> run(asio::signal_set& signals, Server& server) {
  co_await signals.async_wait(use_awaitable);
  co_await server.stop(2s);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const auto limit = [&](int index, int standard) {
    return milliseconds(argc > index ? std::atoi(argv[index]) : standard);
  };
  asio::io_context loop(1);
  SteadyClock clock;
  Program program{
      loop, clock, Upstream(loop.get_executor(), clock, connect_to(loop.get_executor(), argv[2]), 1024), {}};
  program.options.request_limit = limit(5, 300'000);
  ServerLimits limits;
  limits.head_limit = limit(3, 10'000);
  limits.body_idle_limit = limit(4, 60'000);
  Handler handler = [&program](Exchange& exchange) { return program.handle(exchange); };
  Server server(loop.get_executor(), clock, limits, handler);
  auto listener = listen_on(argv[1]);
  if (!listener) {
    std::fprintf(stderr, "%s\n", listener.error().what().c_str());
    return 1;
  }
  asio::signal_set signals(loop, SIGTERM, SIGINT);  // before the first client: it needs files of its own
  std::printf("%s\n", bound_address(*listener).c_str());
  std::fflush(stdout);
  server.listen(std::move(*listener));
  run_on(loop, run(signals, server));
}
