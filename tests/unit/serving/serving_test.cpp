// Serving as its neighbours see it: hosts in, answers out. The instances are fake, the HTTP server behind them is real.
#include <catch2/catch.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <numeric>

#include "serving_fixture.hpp"

using namespace wick;
using namespace wick::serving;

namespace {

int launches_of(const FakeLauncher& launcher, const std::string& owner) {
  return static_cast<int>(std::ranges::count(launcher.owners, owner));
}

}  // namespace

TEST_CASE("a request to a service at zero starts it and is relayed, with host and request id") {
  Wired w;
  w.f.route_hello();
  const auto response = w.get("hello.localhost", "a body");
  CHECK(response.head.status == 200);
  CHECK(response.body == "got a body");
  CHECK(w.seen.authority == "hello.localhost");
  CHECK(w.seen.target == "/path?q=1");
  CHECK(w.seen.fields.find("X-Request-Id") == "request-1");
  // The probe's connection carried the request: the program never saw one without.
  CHECK(w.f.launcher.instances[0]->connects == 1);
  CHECK(w.get("hello.localhost:8080").head.status == 200);
  CHECK(w.f.launcher.launches == 1);
}

TEST_CASE("a host nobody serves is a helpful 404, a route without a revision 503") {
  Wired w;
  const auto unknown = w.get("other.localhost");
  CHECK(unknown.head.status == 404);
  CHECK(unknown.head.fields.find("Wick-Error") == "E_NOT_FOUND");
  CHECK(unknown.body.find("no service answers to the host 'other.localhost'") != std::string::npos);
  w.f.route({{.revision = {"default", "hello-00009"}}});
  CHECK(w.get("hello.localhost").head.status == 503);
}

TEST_CASE("traffic is split exactly, and a tag's host goes to its revision alone") {
  Wired w;
  w.f.serving.set_revision(ServingFixture::revision("hello-00001"));
  w.f.serving.set_revision(ServingFixture::revision("hello-00002"));
  w.f.add_route("hello.localhost",
                {.name_space = "default",
                 .service = "hello",
                 .targets = {{.revision = {"default", "hello-00001"}, .percent = 50},
                             {.revision = {"default", "hello-00002"}, .percent = 50, .tag = "next"}}});
  w.f.add_route("next-hello.localhost", {.name_space = "default",
                                         .service = "hello",
                                         .targets = {{.revision = {"default", "hello-00002"}, .tag = "next"}}});
  for (int i = 0; i < 10; ++i) CHECK(w.get("hello.localhost").head.status == 200);
  auto traces = w.f.serving.traces("default", "hello");
  REQUIRE(traces.size() == 10);
  CHECK(std::ranges::count(traces, "hello-00001", &RequestTrace::revision) == 5);
  CHECK(std::ranges::count(traces, "hello-00002", &RequestTrace::revision) == 5);
  for (int i = 0; i < 3; ++i) w.get("next-hello.localhost");
  traces = w.f.serving.traces("default", "hello");
  for (int i = 0; i < 3; ++i) CHECK(traces[static_cast<std::size_t>(i)].revision == "hello-00002");
}

TEST_CASE(
    "the tag field chooses a tag's revision on the service's own host, and the application sees which way it came") {
  Wired w;
  w.f.serving.set_revision(ServingFixture::revision("hello-00001"));
  w.f.serving.set_revision(ServingFixture::revision("hello-00002"));
  const RouteTarget next{.revision = {"default", "hello-00002"}, .tag = "next"};
  w.f.add_route("hello.localhost", {"default", "hello", {{.revision = {"default", "hello-00001"}}}, {next}});
  w.f.add_route("next-hello.localhost", {"default", "hello", {next}, {}, "next"});
  const auto asked = [&](std::string host, std::string tag) {
    w.get(std::move(host), {}, tag.empty() ? http::Fields{} : http::Fields{{"Knative-Serving-Tag", std::move(tag)}});
    return w.f.serving.traces("default", "hello").front().revision;
  };
  CHECK(asked("hello.localhost", "next") == "hello-00002");
  CHECK(w.seen.fields.find("Knative-Serving-Tag") == "next");
  CHECK_FALSE(w.seen.fields.contains("Knative-Serving-Default-Route"));
  CHECK(asked("hello.localhost", "") == "hello-00001");
  CHECK(w.seen.fields.find("Knative-Serving-Default-Route") == "true");
  CHECK(asked("hello.localhost", "unknown") == "hello-00001");
  CHECK(w.seen.fields.find("Knative-Serving-Default-Route") == "true");
  CHECK(asked("next-hello.localhost", "") == "hello-00002");
  CHECK(w.seen.fields.find("Knative-Serving-Tag") == "next");
  CHECK(w.f.metrics.expose().find("method=\"GET\",route_tag=\"next\"} 2") != std::string::npos);
}

TEST_CASE("publishing the same routes again keeps every share exact") {
  Wired w;
  w.f.serving.set_revision(ServingFixture::revision("hello-00001"));
  w.f.serving.set_revision(ServingFixture::revision("hello-00002"));
  for (int i = 0; i < 20; ++i) {
    w.f.route({{.revision = {"default", "hello-00001"}, .percent = 90},
               {.revision = {"default", "hello-00002"}, .percent = 10}});
    w.get("hello.localhost");
  }
  const auto traces = w.f.serving.traces("default", "hello");
  CHECK(std::ranges::count(traces, "hello-00002", &RequestTrace::revision) == 2);
}

TEST_CASE("ten thousand hosts that nobody serves add no metric series") {
  Wired w;
  w.f.route_hello();
  w.get("nobody.example.com");
  const auto lines = [&] { return std::ranges::count(w.f.metrics.expose(), '\n'); };
  const auto before = lines();
  for (int i = 0; i < 10'000; ++i) w.get("host-" + std::to_string(i) + ".example.com");
  CHECK(lines() == before);
  CHECK(w.f.metrics.expose().find("wick_http_unrouted_requests_total 10001") != std::string::npos);
}

TEST_CASE("what a revision has answered is counted, failures apart") {
  Wired w;
  w.f.route_hello();
  REQUIRE(run_on(w.loop, w.f.serving.ensure_ready({"default", "hello-00001"})));
  w.f.launcher.instances[0]->calls_until_failure = std::make_shared<int>(1);
  w.get("hello.localhost");
  w.get("hello.localhost");
  const auto answered = w.f.serving.answered({"default", "hello-00001"});
  REQUIRE(answered);
  CHECK(answered->requests == 2);
  CHECK(answered->failed == 1);
  CHECK(std::accumulate(answered->durations.begin(), answered->durations.end(), 0ull) == 2);
  CHECK_FALSE(w.f.serving.answered({"default", "hello-00009"}));
}

TEST_CASE("the first request's trace tells of the cold start, the next one's does not") {
  Wired w;
  w.f.route_hello();
  w.get("hello.localhost");
  w.get("hello.localhost");
  const auto traces = w.f.serving.traces("default", "hello");
  REQUIRE(traces.size() == 2);
  CHECK(traces[1].cold);
  CHECK_FALSE(traces[0].cold);
  CHECK(traces[0].status == 200);
  CHECK(traces[0].method == "GET");
  CHECK(traces[0].target == "/path?q=1");
  CHECK(traces[0].instance == w.f.launcher.instances[0]->id().text());
  CHECK(w.f.metrics.expose().find("revision=\"hello-00001\",code=\"200\",method=\"GET\"} 2") != std::string::npos);
}

TEST_CASE("call() goes by name through the same queue, and knows what is not there") {
  Wired w;
  w.f.route_hello();
  http::Request request;
  request.head.method = "POST";
  request.head.authority = "hello.default.svc.cluster.local";
  request.body = "an event";
  auto response = run_on(w.loop, w.f.serving.call("default", "hello", request, 10s));
  REQUIRE(response);
  CHECK(response->head.status == 200);
  CHECK(response->body == "got an event");
  CHECK(w.f.serving.traces("default", "hello").front().cold);
  auto unknown = run_on(w.loop, w.f.serving.call("default", "other", request, 10s));
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error().code() == Errc::not_found);
}

TEST_CASE("call() goes to the service's own route, not to a tag's") {
  Wired w;
  w.f.serving.set_revision(ServingFixture::revision("hello-00001"));
  w.f.serving.set_revision(ServingFixture::revision("hello-00002"));
  w.f.add_route("aa-hello.localhost", {"default", "hello", {{.revision = {"default", "hello-00002"}, .tag = "aa"}}});
  w.f.add_route("hello.localhost", {"default", "hello", {{.revision = {"default", "hello-00001"}}}});
  w.f.add_route("zz-hello.localhost", {"default", "hello", {{.revision = {"default", "hello-00002"}, .tag = "zz"}}});
  REQUIRE(run_on(w.loop, w.f.serving.call("default", "hello", {}, 10s)));
  CHECK(w.f.serving.traces("default", "hello").front().revision == "hello-00001");
}

TEST_CASE("an instance that refuses the request's connection gives 502") {
  Wired w;
  w.f.route_hello();
  REQUIRE(run_on(w.loop, w.f.serving.ensure_ready({"default", "hello-00001"})));
  w.f.launcher.instances[0]->calls_until_failure = std::make_shared<int>(1);
  CHECK(w.get("hello.localhost").head.status == 502);
  CHECK(w.get("hello.localhost").head.status == 200);
}

TEST_CASE("removing a revision stops its instance; its host is then without a revision") {
  Wired w;
  w.f.route_hello();
  w.get("hello.localhost");
  w.f.serving.remove_revision({"default", "hello-00001"});
  CHECK(w.get("hello.localhost").head.status == 503);
  CHECK(w.f.serving.revisions().empty());
  CHECK_FALSE(w.f.serving.revision({"default", "hello-00001"}));
  run_on(w.loop, w.f.serving.stop(false));
  CHECK(w.f.launcher.running() == 0);
}

TEST_CASE("stopping lets instances run; a request afterwards is refused") {
  Wired w;
  w.f.route_hello();
  w.get("hello.localhost");
  run_on(w.loop, w.f.serving.stop(false));
  CHECK(w.f.launcher.running() == 1);
  CHECK(w.get("hello.localhost").head.status == 503);
}

TEST_CASE("a real client that hangs up while it waits frees its place") {
  Wired w;
  w.f.launcher.behaviour.never_listens = true;
  w.f.route_hello();
  http::Server front(w.loop.get_executor(), w.clock, {}, w.f.handler);
  auto listener = http::listen_on("127.0.0.1:0");
  REQUIRE(listener);
  const auto connector = http::connect_to(w.loop.get_executor(), http::bound_address(*listener));
  front.listen(std::move(*listener));
  auto client = run_on(w.loop, connector());
  REQUIRE(client);
  const std::string_view request = "GET / HTTP/1.1\r\nHost: hello.localhost\r\n\r\n";
  REQUIRE(::send(client->get(), request.data(), request.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request.size()));
  const auto queued = [&] { return w.f.serving.revision({"default", "hello-00001"})->queued; };
  const auto until = std::chrono::steady_clock::now() + 20s;
  const auto run_until_queued = [&](std::size_t count) {
    w.loop.restart();
    while (queued() != count && std::chrono::steady_clock::now() < until) w.loop.run_one_for(10ms);
    return queued() == count;
  };
  CHECK(run_until_queued(1));
  client->reset();
  CHECK(run_until_queued(0));
  run_on(w.loop, front.stop(0ms));
}

// --- by the fake clock, where no byte flows

namespace {

struct Waiting {
  explicit Waiting(ServingOptions options = {}) : f(clock, loop, std::move(options)) {}
  ~Waiting() {
    bool stopped = false;
    asio::co_spawn(loop, f.serving.stop(true), [&](std::exception_ptr) { stopped = true; });
    for (int i = 0; i < 100 && !stopped; ++i) clock.advance(1s);
  }
  MemoryExchange& request(std::string host = "hello.localhost") {
    exchanges.push_back(std::make_unique<MemoryExchange>(loop.get_executor(), std::move(host)));
    asio::co_spawn(loop, f.handler(*exchanges.back()), [](std::exception_ptr) {});
    clock.settle();
    return *exchanges.back();
  }
  asio::io_context loop{1};
  FakeClock clock{loop};
  ServingFixture f;
  std::vector<std::unique_ptr<MemoryExchange>> exchanges;
};

}  // namespace

TEST_CASE("a full queue is 503 with Knative's text, a wait past the revision's timeout 504") {
  Waiting w({.queue_limit = 1});
  w.f.launcher.behaviour.never_listens = true;
  w.f.route_hello();
  auto& waiting = w.request();
  auto& refused = w.request();
  REQUIRE(refused.response);
  CHECK(refused.response->head.status == 503);
  CHECK(refused.response->body == "pending request queue full\n");
  w.clock.advance(299s);
  CHECK_FALSE(waiting.response);
  w.clock.advance(2s);
  REQUIRE(waiting.response);
  CHECK(waiting.response->head.status == 504);
  CHECK(waiting.response->body == "activator request timeout");
}

TEST_CASE("a client that hangs up while it waits frees its place") {
  Waiting w({.queue_limit = 1});
  w.f.launcher.behaviour.never_listens = true;
  w.f.route_hello();
  auto& left = w.request();
  left.leave();
  w.clock.settle();
  CHECK_FALSE(left.response);
  CHECK(w.f.serving.revision({"default", "hello-00001"})->queued == 0);
  CHECK_FALSE(w.request().response);
  const auto traces = w.f.serving.traces("default", "hello");
  REQUIRE(traces.size() == 1);
  CHECK(traces[0].status == 0);
}

TEST_CASE("a service that does not start is 503 with the reason") {
  Waiting w;
  w.f.launcher.behaviour = {.never_listens = true, .exits = ExitStatus{.code = 3}, .exits_after = 10ms};
  w.f.route_hello();
  auto& request = w.request();
  w.clock.advance(1s);
  REQUIRE(request.response);
  CHECK(request.response->head.status == 503);
  CHECK(request.response->head.fields.find("Wick-Error") == "E_NOT_READY");
  CHECK(request.response->body.starts_with("hello-00001 does not start: the process exited with code 3 after 10 ms"));
}

TEST_CASE("call() ends at its own limit") {
  Waiting w;
  w.f.launcher.behaviour.never_listens = true;
  w.f.route_hello();
  std::optional<Result<http::Response>> got;
  asio::co_spawn(w.loop, w.f.serving.call("default", "hello", {}, 700ms),
                 [&](std::exception_ptr, Result<http::Response> response) { got.emplace(std::move(response)); });
  w.clock.advance(699ms);
  CHECK_FALSE(got);
  w.clock.advance(1ms);
  REQUIRE(got);
  REQUIRE_FALSE(*got);
  CHECK(got->error().code() == Errc::timed_out);
  CHECK(w.f.serving.revision({"default", "hello-00001"})->queued == 0);
}

TEST_CASE("changes are told with the revision's key") {
  std::vector<std::string> told;
  Waiting w;
  w.f.serving.on_change([&](const RevisionKey& key) { told.push_back(key.text()); });
  w.f.route_hello();
  CHECK(told.empty());
  asio::co_spawn(w.loop, w.f.serving.ensure_ready({"default", "hello-00001"}), [](std::exception_ptr, auto) {});
  w.clock.advance(1s);
  REQUIRE_FALSE(told.empty());
  CHECK(told.front() == "default/hello-00001");
  CHECK(w.f.serving.revision({"default", "hello-00001"})->ready == 1);
}

TEST_CASE("ensure_ready of an unknown revision fails, adopting for one is refused") {
  Waiting w;
  std::optional<std::expected<void, model::Failure>> got;
  asio::co_spawn(w.loop, w.f.serving.ensure_ready({"default", "nobody"}),
                 [&](std::exception_ptr, std::expected<void, model::Failure> result) { got = std::move(result); });
  w.clock.settle();
  REQUIRE(got);
  REQUIRE_FALSE(*got);
  CHECK(got->error().slug == "E_NOT_FOUND");
  CHECK_FALSE(w.f.serving.adopt({"default", "nobody"}, w.f.launcher.make({}, {})));
}

TEST_CASE("an adopted instance serves without a launch") {
  Waiting w;
  w.f.route_hello();
  CHECK(w.f.serving.adopt({"default", "hello-00001"}, w.f.launcher.make({}, {})));
  w.clock.advance(10ms);
  CHECK(w.f.serving.revision({"default", "hello-00001"})->ready == 1);
  CHECK(w.f.launcher.launches == 0);
}

TEST_CASE("min-scale holds for a new revision, and no more once traffic has left it") {
  Waiting w;
  auto spec = ServingFixture::revision("hello-00001");
  spec.scaling.min_scale = 1;
  w.f.serving.set_revision(spec);
  w.clock.advance(100s);
  CHECK(w.f.launcher.running() == 1);
  w.f.route({{.revision = {"default", "hello-00001"}}});
  w.clock.advance(100s);
  CHECK(w.f.launcher.running() == 1);
  w.f.route({});
  w.clock.advance(100s);
  CHECK(w.f.launcher.running() == 0);
  CHECK(launches_of(w.f.launcher, "default/hello-00001") == 1);
}
