// Requests on a loop of their own: everything as on the main one, and no message for a host that is known. The two
// loops are one here where steps are told apart, and two threads where they are not.
#include <catch2/catch.hpp>

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <thread>

#include "serving_fixture.hpp"
#include "wick/os/other_loop.hpp"
#include "wick/os/task_group.hpp"
#include "wick/serving/loan.hpp"

using namespace wick;
using namespace wick::serving;

namespace {

/// Both loops in one: what is posted between them is done by the time a request has its answer.
struct OnLane : Wired {
  OnLane() { main = std::exchange(f.handler, f.serving.handler_on(loop.get_executor(), clock)); }
  /// What was answered is counted a moment later.
  std::vector<RequestTrace> traces(std::size_t expected) {
    loop.restart();
    while (f.serving.traces("default", "hello").size() < expected) loop.run_one();
    return f.serving.traces("default", "hello");
  }
  void run_what_is_posted() {
    loop.restart();
    while (loop.poll() > 0);
  }

  http::Handler main;
};

/// A loop with a thread of its own.
struct Loop {
  void run() {
    thread = std::thread([this] { context.run(); });
  }
  void end() {
    work.reset();
    context.stop();
    thread.join();
  }

  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work = asio::make_work_guard(context);
  SteadyClock clock;
  http::Handler handler;
  std::thread thread;
};

}  // namespace

TEST_CASE("a lane's first request wakes the service, and the next ones need nobody") {
  OnLane w;
  w.f.route_hello();
  CHECK(w.get("hello.localhost", "a body").body == "got a body");
  CHECK(w.seen.fields.find("X-Request-Id") == "request-1");
  for (int i = 0; i < 9; ++i) CHECK(w.get("hello.localhost:8080").head.status == 200);
  CHECK(w.f.launcher.launches == 1);
  const auto traces = w.traces(10);
  CHECK(traces[9].cold);
  CHECK(traces[9].queued > 0ms);
  CHECK_FALSE(traces[0].cold);
  CHECK(traces[0].instance == w.f.launcher.instances[0]->id().text());
  CHECK(w.f.metrics.expose().find("revision=\"hello-00001\",code=\"200\",method=\"GET\"} 9") != std::string::npos);
  CHECK(w.f.launcher.instances[0]->connects == 1);  // the probe's, and no other
  CHECK(w.server.connections() == 1);
}

TEST_CASE("a lane answers for a host nobody serves and for one without a revision, and counts them") {
  OnLane w;
  CHECK(w.get("other.localhost").head.status == 404);
  w.f.route({{.revision = {"default", "hello-00009"}}});
  CHECK(w.get("hello.localhost").head.status == 503);
  CHECK(w.f.metrics.expose().find("wick_http_unrouted_requests_total 1") != std::string::npos);
}

TEST_CASE("a split is exact over all loops together") {
  OnLane w;
  w.f.serving.set_revision(ServingFixture::revision("hello-00001"));
  w.f.serving.set_revision(ServingFixture::revision("hello-00002"));
  w.f.route({{.revision = {"default", "hello-00001"}, .percent = 50},
             {.revision = {"default", "hello-00002"}, .percent = 50}});
  for (int i = 0; i < 10; ++i) {
    if (i % 3 == 0) std::swap(w.main, w.f.handler);
    CHECK(w.get("hello.localhost").head.status == 200);
  }
  const auto traces = w.traces(10);
  CHECK(std::ranges::count(traces, "hello-00001", &RequestTrace::revision) == 5);
}

TEST_CASE("a lane follows new routes, and takes a tag that is asked for to its revision") {
  OnLane w;
  w.f.serving.set_revision(ServingFixture::revision("hello-00001"));
  w.f.serving.set_revision(ServingFixture::revision("hello-00002"));
  const RouteTarget next{.revision = {"default", "hello-00002"}, .tag = "next"};
  w.f.add_route("hello.localhost", {"default", "hello", {{.revision = {"default", "hello-00001"}}}, {next}});
  w.get("hello.localhost");
  CHECK(w.seen.fields.find("Knative-Serving-Default-Route") == "true");
  w.get("hello.localhost", {}, {{"Knative-Serving-Tag", "next"}});
  CHECK(w.seen.fields.find("Knative-Serving-Tag") == "next");
  w.get("hello.localhost");
  CHECK(w.traces(3)[1].revision == "hello-00002");
  CHECK(w.traces(3)[0].revision == "hello-00001");
  CHECK(w.f.metrics.expose().find("route_tag=\"next\"} 1") != std::string::npos);
  w.f.route({{.revision = {"default", "hello-00002"}}});
  w.get("hello.localhost");
  CHECK(w.traces(4)[0].revision == "hello-00002");
}

TEST_CASE("a limit of concurrency holds over all loops: each request of a lane has a lease") {
  OnLane w;
  auto spec = ServingFixture::revision("hello-00001");
  spec.container_concurrency = 1;
  spec.scaling.max_scale = 1;
  w.f.serving.set_revision(spec);
  w.f.route({{.revision = {"default", "hello-00001"}}});
  int inside = 0;
  int most = 0;
  w.while_answering = [&]() -> awaitable<void> {
    most = std::max(most, ++inside);
    co_await w.clock.sleep(1ms);
    --inside;
  };
  std::vector<std::unique_ptr<MemoryExchange>> exchanges;
  TaskGroup asking(w.loop.get_executor());
  for (int i = 0; i < 8; ++i) {
    exchanges.push_back(std::make_unique<MemoryExchange>(w.loop.get_executor(), "hello.localhost"));
    asking.spawn("ask", i % 2 == 0 ? w.f.handler(*exchanges.back()) : w.main(*exchanges.back()));
  }
  run_on(w.loop, asking.join());
  for (const auto& each : exchanges) CHECK(each->response->head.status == 200);
  CHECK(most == 1);
}

TEST_CASE("an instance of one request at a time has one connection, whichever loop it is asked from") {
  OnLane w;
  auto spec = ServingFixture::revision("hello-00001");
  spec.container_concurrency = 1;
  w.f.serving.set_revision(spec);
  w.f.route({{.revision = {"default", "hello-00001"}}});
  for (int i = 0; i < 6; ++i) {
    if (i % 2 == 0) std::swap(w.main, w.f.handler);
    CHECK(w.get("hello.localhost").head.status == 200);
    w.run_what_is_posted();
    CHECK(w.server.connections() == 1);
  }
  CHECK(w.f.launcher.instances[0]->connects == 1);
}

TEST_CASE("requests of a lane are load, and hold their instance until they are answered") {
  OnLane w;
  w.f.route_hello();
  w.get("hello.localhost");
  bool release = false;
  w.while_answering = [&]() -> awaitable<void> {
    while (!release) co_await w.clock.sleep(1ms);
  };
  MemoryExchange exchange(w.loop.get_executor(), "hello.localhost");
  TaskGroup asking(w.loop.get_executor());
  asking.spawn("ask", w.f.handler(exchange));
  const auto view = [&] { return *w.f.serving.revision({"default", "hello-00001"}); };
  w.loop.restart();
  while (view().instances[0].in_flight == 0) w.loop.run_one();
  w.f.serving.remove_revision({"default", "hello-00001"});
  w.run_what_is_posted();
  CHECK(w.f.launcher.running() == 1);
  release = true;
  run_on(w.loop, asking.join());
  CHECK(exchange.response->head.status == 200);
  run_on(w.loop, w.f.serving.stop(false));
  CHECK(w.f.launcher.running() == 0);
}

TEST_CASE("an instance that a lane only knows is given back when it is to go") {
  OnLane w;
  w.f.route_hello();
  w.get("hello.localhost");
  w.f.serving.remove_revision({"default", "hello-00001"});
  CHECK(w.get("hello.localhost").head.status == 503);
  run_on(w.loop, w.f.serving.stop(false));
  CHECK(w.f.launcher.running() == 0);
}

TEST_CASE("a lane whose instance ended asks for another") {
  OnLane w;
  w.f.route_hello();
  w.get("hello.localhost");
  w.f.launcher.instances[0]->end({.code = 1});
  w.run_what_is_posted();
  CHECK(w.get("hello.localhost").head.status == 200);
  CHECK(w.f.launcher.launches == 2);
}

TEST_CASE("what a meter says adds up however the loops take turns") {
  const auto begin = std::chrono::steady_clock::now();
  LoanMeter meter(begin);
  constexpr int changes = 200'000;
  std::thread borrower([&] {
    for (int i = 1; i <= changes; ++i) meter.change(begin + i * 1us, i % 2 == 1 ? +1 : -1);
  });
  double last = 0;
  bool grows = true;
  for (int i = 0; i < 20'000; ++i) {
    const auto reading = meter.read(begin);
    grows = grows && reading.area >= last && (reading.in_flight == 0 || reading.in_flight == 1);
    last = reading.area;
  }
  borrower.join();
  CHECK(grows);
  const auto end = meter.read(begin + changes * 1us);
  CHECK(end.requests == changes / 2);
  CHECK(end.area == Approx(changes / 2 * 1e-6));
  CHECK(end.in_flight == 0);
}

TEST_CASE("loops in threads of their own answer together while instances and routes come and go") {
  constexpr int lanes = 3;
  constexpr int rounds = 60;
  Loop loops[lanes];
  Wired w;  // ends before its loops
  for (auto& each : loops) each.handler = w.f.serving.handler_on(each.context.get_executor(), each.clock);
  w.f.route_hello();
  std::atomic<int> answered = 0;
  std::atomic<int> failed = 0;
  std::atomic<int> asking = lanes;
  for (auto& each : loops) {
    auto ask = [&answered, &failed, &each]() -> awaitable<void> {
      for (int i = 0; i < rounds; ++i) {
        MemoryExchange exchange(each.context.get_executor(), "hello.localhost");
        co_await each.handler(exchange);
        ++(exchange.response && exchange.response->head.status == 200 ? answered : failed);
      }
    };
    asio::co_spawn(each.context, std::move(ask), [&asking](std::exception_ptr) { --asking; });
    each.run();
  }
  auto disturb = [&]() -> awaitable<void> {
    for (int i = 0; asking > 0; ++i) {
      co_await w.clock.sleep(1ms);
      w.f.route({{.revision = {"default", "hello-00001"}}});
      if (i % 4 == 0) w.f.serving.set_revision(ServingFixture::revision("hello-00001"));
    }
  };
  run_on(w.loop, disturb());
  CHECK(failed == 0);
  CHECK(answered == lanes * rounds);
  run_on(w.loop, w.f.serving.stop(true));
  for (auto& each : loops) each.end();
  CHECK(w.f.serving.answered({"default", "hello-00001"})->requests == lanes * rounds);
  CHECK(w.f.launcher.running() == 0);
}

TEST_CASE("servers on loops of their own answer the clients of one address, and all is counted together") {
  constexpr int clients = 6;
  constexpr int rounds = 40;
  Loop loops[2];
  Wired w;
  w.f.route_hello();
  auto listener = http::listen_on("127.0.0.1:0");
  REQUIRE(listener);
  const auto address = http::bound_address(*listener);
  http::Server first(w.loop.get_executor(), w.clock, {}, w.f.handler);
  first.count_in(w.f.metrics, "edge");
  std::vector<std::unique_ptr<http::Server>> beside;
  for (auto& each : loops) {
    auto handler = w.f.serving.handler_on(each.context.get_executor(), each.clock);
    auto& server = *beside.emplace_back(std::make_unique<http::Server>(each.context.get_executor(), each.clock,
                                                                       http::ServerLimits{}, std::move(handler)));
    server.stand_beside(first);
    server.listen(listener->duplicate());
    each.run();
  }
  first.listen(std::move(*listener));

  std::atomic<int> answered = 0;
  std::atomic<int> asking = clients;
  Loop theirs;
  auto ask = [&]() -> awaitable<void> {
    http::Upstream edge(theirs.context.get_executor(), theirs.clock,
                        http::connect_to(theirs.context.get_executor(), address));
    for (int i = 0; i < rounds; ++i) {
      http::Request request;
      request.head.method = "GET";
      request.head.target = "/path";
      request.head.authority = "hello.localhost";
      const auto response = co_await http::call(edge, theirs.clock, std::move(request), 60s);
      if (response && response->head.status == 200) ++answered;
    }
  };
  for (int i = 0; i < clients; ++i) asio::co_spawn(theirs.context, ask, [&](std::exception_ptr) { --asking; });
  theirs.run();
  auto until_asked = [&]() -> awaitable<void> {
    while (asking > 0) co_await w.clock.sleep(1ms);
  };
  run_on(w.loop, until_asked());
  theirs.end();
  CHECK(answered == clients * rounds);
  for (std::size_t i = 0; i < 2; ++i) {
    auto job = [&server = *beside[i]] { return server.stop(0ms); };
    run_on(w.loop, do_on_loop(loops[i].context.get_executor(), std::move(job)));
  }
  run_on(w.loop, first.stop(0ms));
  run_on(w.loop, w.f.serving.stop(true));
  for (auto& each : loops) each.end();
  CHECK(w.f.serving.answered({"default", "hello-00001"})->requests == clients * rounds);
  CHECK_THAT(w.f.metrics.expose(), Catch::Contains("wick_http_connections{listener=\"edge\"} 0"));
}
