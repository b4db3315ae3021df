// Serving with fake instances, a real HTTP server behind them, and requests in memory.
#pragma once

#include <catch2/catch.hpp>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/fake_clock.hpp"
#include "support/fake_launcher.hpp"
#include "support/run_loop.hpp"
#include "wick/base/log.hpp"
#include "wick/http/server.hpp"
#include "wick/http/upstream.hpp"
#include "wick/serving/serving.hpp"

namespace wick::serving {

/// An exchange without a wire: a request in memory, the answer kept.
class MemoryExchange final : public http::Exchange {
 public:
  MemoryExchange(Executor executor, std::string host, std::string target = "/", std::string body = {},
                 http::Fields fields = {})
      : body_(std::move(body)), gone_(executor, asio::steady_timer::time_point::max()) {
    head_.fields = std::move(fields);
    head_.authority = std::move(host);
    head_.target = std::move(target);
    head_.method = body_.empty() ? "GET" : "POST";
    if (!body_.empty()) head_.fields.add("Content-Length", std::to_string(body_.size()));
  }

  const http::RequestHead& head() const override { return head_; }
  std::string_view peer() const override { return "192.0.2.1"; }
  long peer_uid() const override { return -1; }
  std::string_view id() const override { return "request-1"; }
  awaitable<Result<std::size_t>> read_some(std::span<char> into) override {
    const auto size = std::min(into.size(), body_.size());
    std::copy_n(body_.begin(), size, into.begin());
    body_.erase(0, size);
    co_return size;
  }
  awaitable<Result<void>> respond(http::ResponseHead head, std::string body) override {
    response = http::Response{std::move(head), std::move(body)};
    co_return Result<void>();
  }
  awaitable<Result<void>> start(http::ResponseHead head) override {
    response = http::Response{std::move(head), {}};
    co_return Result<void>();
  }
  awaitable<Result<void>> write(std::string_view bytes) override {
    response->body += bytes;
    co_return Result<void>();
  }
  awaitable<Result<void>> finish() override { co_return Result<void>(); }
  bool started() const override { return response.has_value(); }
  awaitable<void> wait_gone() override {
    while (!left_) co_await gone_.async_wait(asio::as_tuple(use_awaitable));
  }
  void leave() {
    left_ = true;
    gone_.cancel();
  }

  std::optional<http::Response> response;

 private:
  http::RequestHead head_;
  std::string body_;
  asio::steady_timer gone_;
  bool left_ = false;
};

/// Serving on `clock`, with revisions of service hello in namespace default at hello.localhost.
struct ServingFixture {
  explicit ServingFixture(Clock& clock, asio::io_context& loop, ServingOptions options = {})
      : loop(loop),
        launcher(loop.get_executor(), clock),
        serving(loop.get_executor(), clock, launcher, metrics, std::move(options)) {
    log::set_level(log::Level::error);
    handler = serving.handler();
  }

  static RevisionSpec revision(std::string name, std::string service = "hello") {
    RevisionSpec spec;
    spec.key = {"default", std::move(name)};
    spec.service = std::move(service);
    return spec;
  }
  void route(std::vector<RouteTarget> targets, std::string host = "hello.localhost") {
    add_route(std::move(host), {.name_space = "default", .service = "hello", .targets = std::move(targets)});
  }
  void add_route(std::string host, Route route) {
    serving.change_routes({{std::move(host), std::make_shared<const Route>(std::move(route))}});
  }
  void route_hello() {
    serving.set_revision(revision("hello-00001"));
    route({{.revision = {"default", "hello-00001"}}});
  }

  asio::io_context& loop;
  Metrics metrics;
  FakeLauncher launcher;
  Serving serving;
  http::Handler handler;
};

/// With a real server behind every instance and the real clock: what crosses sockets cannot be stepped.
struct Wired {
  Wired() : server(loop.get_executor(), clock, {}, [this](http::Exchange& exchange) { return answer(exchange); }) {
    auto listener = http::listen_on("127.0.0.1:0");
    REQUIRE(listener);
    f.launcher.behaviour.connector = http::connect_to(loop.get_executor(), http::bound_address(*listener));
    server.listen(std::move(*listener));
  }
  ~Wired() {
    run_on(loop, f.serving.stop(true));
    run_on(loop, server.stop(0ms));
  }

  http::Response get(std::string host, std::string body = {}, http::Fields fields = {}) {
    MemoryExchange exchange(loop.get_executor(), std::move(host), "/path?q=1", std::move(body), std::move(fields));
    run_on(loop, f.handler(exchange));
    REQUIRE(exchange.response);
    return *exchange.response;
  }

  awaitable<void> answer(http::Exchange& exchange) {
    auto body = co_await exchange.read_all(1 << 20);
    seen = exchange.head();
    if (while_answering) co_await while_answering();
    http::ResponseHead head{.status = 200, .fields = {{"Content-Type", "text/plain"}}};
    co_await exchange.respond(std::move(head), "got " + body.value_or("nothing"));
  }

  asio::io_context loop{1};
  SteadyClock clock;
  ServingFixture f{clock, loop};
  http::Server server;
  http::RequestHead seen;
  std::function<awaitable<void>()> while_answering;  // before it does
};

}  // namespace wick::serving
