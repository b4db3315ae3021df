#include <catch2/catch.hpp>

#include <boost/asio/post.hpp>

#include "pool_fixture.hpp"

using namespace wick;
using namespace wick::serving;

namespace {

RevisionSpec one_at_a_time() {
  RevisionSpec spec;
  spec.container_concurrency = 1;
  return spec;
}

}  // namespace

TEST_CASE(
    "the first request launches at once, with the platform's environment, and is answered when the instance listens") {
  PoolFixture f;
  f.launcher.behaviour = {.launch_delay = 40ms, .listens_after = 20ms};
  auto& request = f.request();
  CHECK(f.launcher.launches == 1);
  f.clock.advance(59ms);
  CHECK(request.waiting());
  CHECK(f.view().queued == 1);
  // The connect is retried from 0.2 ms, doubling to 10 ms: after 20 ms of listening it is at most 10 ms late.
  f.clock.advance(11ms);
  REQUIRE(request.lease);
  CHECK(f.launcher.owners == std::vector<std::string>{"default/hello-00001"});
  const auto& environment = f.launcher.instances[0]->spec().process.environment;
  CHECK(std::ranges::count(environment, "PORT=8080") == 1);
  CHECK(std::ranges::count(environment, "K_REVISION=hello-00001") == 1);
  const auto view = f.view();
  CHECK(view.ready == 1);
  CHECK(view.desired == 1);
  CHECK(view.ever_ready);
  REQUIRE(view.instances.size() == 1);
  CHECK(view.instances[0].state == "ready");
  CHECK(view.instances[0].start_elapsed >= 60ms);
}

TEST_CASE("fifty requests into a sleeping service share one launch") {
  PoolFixture f;
  f.launcher.behaviour.launch_delay = 50ms;
  std::vector<PoolFixture::Request*> all;
  for (int i = 0; i < 50; ++i) all.push_back(&f.request());
  CHECK(f.view().queued == 50);
  f.clock.advance(60ms);
  CHECK(f.launcher.launches == 1);
  CHECK(std::ranges::all_of(all, [](auto* each) { return bool(each->lease); }));
  CHECK(f.in_flight() == 50);
}

TEST_CASE("with a limit of one, fifty requests start fifty instances, 32 at once, and none is shared") {
  PoolFixture f(one_at_a_time());
  f.launcher.behaviour.launch_delay = 50ms;
  std::vector<PoolFixture::Request*> all;
  for (int i = 0; i < 50; ++i) all.push_back(&f.request());
  CHECK(f.launcher.launches == 32);
  f.clock.advance(200ms);
  CHECK(f.launcher.launches == 50);
  CHECK(std::ranges::all_of(all, [](auto* each) { return bool(each->lease); }));
  for (const auto& instance : f.view().instances) CHECK(instance.in_flight == 1);
}

TEST_CASE("with max-scale 1 and a limit of one, requests take turns in the order they came") {
  auto spec = one_at_a_time();
  spec.scaling.max_scale = 1;
  PoolFixture f(spec);
  auto& first = f.request();
  auto& second = f.request();
  auto& third = f.request();
  f.clock.advance(10ms);
  CHECK(first.lease);
  CHECK(second.waiting());
  f.finish(first);
  CHECK(second.lease);
  CHECK(third.waiting());
  CHECK(f.in_flight() == 1);
  auto& late = f.request();
  f.finish(second);
  CHECK(third.lease);
  CHECK(late.waiting());
  f.finish(third);
  CHECK(late.lease);
  CHECK(f.launcher.launches == 1);
}

TEST_CASE("a larger limit is used in turn and never exceeded") {
  RevisionSpec spec;
  spec.container_concurrency = 4;
  spec.scaling.initial_scale = 2;
  PoolFixture f(spec);
  REQUIRE(f.run(f.pool->ensure_ready()));
  CHECK(f.view().ready == 2);
  for (int i = 0; i < 8; ++i) CHECK(f.request().lease);
  for (const auto& instance : f.view().instances) CHECK(instance.in_flight == 4);
  f.launcher.behaviour.launch_delay = 50ms;
  CHECK(f.request().waiting());
}

TEST_CASE("without a limit requests go to the less loaded of two") {
  RevisionSpec spec;
  spec.scaling.initial_scale = 2;
  PoolFixture f(spec);
  REQUIRE(f.run(f.pool->ensure_ready()));
  for (int i = 0; i < 20; ++i) CHECK(f.request().lease);
  for (const auto& instance : f.view().instances) CHECK(instance.in_flight == 10);
}

TEST_CASE("past the queue limit a request is refused at once, and a freed place is free") {
  PoolFixture f({}, {.queue_limit = 2});
  f.launcher.behaviour.never_listens = true;
  auto& first = f.request();
  auto& second = f.request();
  auto& refused = f.request();
  REQUIRE(refused.error);
  CHECK(refused.error->code() == Errc::overloaded);
  CHECK(refused.error->message() == "pending request queue full");
  first.cancel.emit(asio::cancellation_type::terminal);
  f.clock.settle();
  CHECK_FALSE(first.done);
  CHECK(f.view().queued == 1);
  CHECK(f.request().waiting());
  CHECK(f.view().queued == 2);
  CHECK(second.waiting());
}

TEST_CASE("a cancelled wait leaves the starting instance to the next request, and its place to the next waiter") {
  PoolFixture f;
  f.launcher.behaviour.launch_delay = 50ms;
  auto& cancelled = f.request();
  cancelled.cancel.emit(asio::cancellation_type::terminal);
  f.clock.settle();
  CHECK(f.view().queued == 0);
  f.clock.advance(60ms);
  CHECK(f.view().ready == 1);
  CHECK(f.request().lease);
  CHECK(f.launcher.launches == 1);
}

TEST_CASE("a wait that reaches the revision's timeout ends with it") {
  PoolFixture f;
  f.launcher.behaviour.never_listens = true;
  auto& request = f.request(10s);
  f.clock.advance(9s);
  CHECK(request.waiting());
  f.clock.advance(2s);
  REQUIRE(request.error);
  CHECK(request.error->code() == Errc::timed_out);
  CHECK(f.view().queued == 0);
}

TEST_CASE("an idle revision goes to zero only after the stable window, by SIGTERM, and then costs no timer") {
  PoolFixture f;
  f.request();
  f.clock.advance(100ms);
  f.finish(*f.requests[0]);
  // The window of 60 s holds the request's second until second 60; decisions fall on even seconds.
  f.clock.advance(59s);
  CHECK(f.launcher.running() == 1);
  f.clock.advance(3s);
  CHECK(f.launcher.running() == 0);
  CHECK(f.launcher.instances[0]->stops >= 1);
  CHECK(f.view().instances.empty());
  CHECK(f.view().desired == 0);
  f.clock.advance(2s);
  CHECK(f.clock.sleepers() == 0);
}

TEST_CASE("the grace holds an instance of a short window until the proxy has been in the path that long") {
  PoolFixture f(quick());
  f.request_and_finish();
  f.clock.advance(28s);
  CHECK(f.launcher.running() == 1);
  f.clock.advance(3s);
  CHECK(f.launcher.running() == 0);
  f.request_and_finish();
  CHECK(f.launcher.running() == 1);
  f.clock.advance(9s);
  CHECK(f.launcher.running() == 0);
}

TEST_CASE("an instance with a request in flight is never stopped, however long it takes") {
  PoolFixture f(quick());
  auto& request = f.request();
  f.clock.advance(600s);
  CHECK(f.launcher.instances[0]->stops == 0);
  CHECK(request.lease);
  f.finish(request);
  f.clock.advance(10s);
  CHECK(f.launcher.running() == 0);
}

TEST_CASE("a request that arrives while the instance stops gets a new one") {
  PoolFixture f(quick());
  f.launcher.behaviour.stop_delay = 5s;
  f.request_and_finish();
  f.clock.advance(31s);
  CHECK(f.launcher.instances[0]->stops >= 1);
  CHECK_FALSE(f.launcher.instances[0]->ended());
  CHECK(f.view().instances[0].state == "stopping");
  auto& request = f.request();
  f.clock.advance(10ms);
  CHECK(request.lease);
  CHECK(f.launcher.launches == 2);
  f.clock.advance(5s);
  CHECK(f.launcher.instances[0]->ended());
  CHECK_FALSE(f.launcher.instances[1]->ended());
}

TEST_CASE("an instance that ignores SIGTERM is gone after the grace") {
  auto spec = quick();
  spec.stop_grace = 10s;
  PoolFixture f(spec);
  f.launcher.behaviour.stop_delay = 1h;
  f.request_and_finish();
  f.clock.advance(31s);
  CHECK(f.launcher.running() == 1);
  f.clock.advance(10s);
  CHECK(f.launcher.running() == 0);
}

TEST_CASE("a start that keeps failing is tried three times with growing pauses, then the requests are told") {
  PoolFixture f;
  f.launcher.behaviour = {.never_listens = true, .exits = ExitStatus{.code = 1}, .exits_after = 20ms};
  auto& first = f.request();
  auto& second = f.request();
  f.clock.advance(20ms);
  CHECK(f.launcher.launches == 1);
  f.clock.advance(99ms);
  CHECK(f.launcher.launches == 1);
  f.clock.advance(1ms);
  CHECK(f.launcher.launches == 2);  // 100 ms later
  f.clock.advance(20ms + 200ms);
  CHECK(f.launcher.launches == 3);  // 200 ms later
  CHECK(first.waiting());
  f.clock.advance(20ms);
  REQUIRE(first.error);
  REQUIRE(second.error);
  CHECK(first.error->code() == Errc::not_ready);
  CHECK(first.error->message() ==
        "hello-00001 does not start: the process exited with code 1 after 20 ms, before listening on port 8080");
  // Within the pause of 400 ms the next request is told at once; after it, one more start is made.
  auto& early = f.request();
  REQUIRE(early.error);
  CHECK(f.launcher.launches == 3);
  f.clock.advance(400ms);
  CHECK(f.launcher.launches == 3);
  f.launcher.behaviour = {};
  auto& late = f.request();
  f.clock.advance(10ms);
  CHECK(late.lease);
  CHECK(f.launcher.launches == 4);
}

TEST_CASE("a start that fails once is repaired before the request notices") {
  PoolFixture f;
  f.launcher.scripted = {{.launch_error = Error(Errc::unavailable, "the runner is gone")}};
  auto& request = f.request();
  CHECK(request.waiting());
  f.clock.advance(110ms);
  CHECK(request.lease);
  REQUIRE(f.view().last_failure);
  CHECK(f.view().last_failure->slug == "E_UNAVAILABLE");
}

TEST_CASE("an instance that dies while serving is replaced for the next request only") {
  PoolFixture f;
  auto& request = f.request();
  REQUIRE(request.lease);
  f.launcher.instances[0]->end({.code = 0, .signal = 11});
  f.clock.settle();
  auto view = f.view();
  CHECK(view.ready == 0);
  CHECK(view.instances.size() == 1);  // kept for the lease
  REQUIRE(view.last_failure);
  CHECK(view.last_failure->because.starts_with("the process was ended by signal 11"));
  f.finish(request);
  CHECK(f.view().instances.empty());
  f.clock.advance(10s);
  CHECK(f.launcher.launches == 1);
  auto& next = f.request();
  f.clock.advance(1ms);
  CHECK(next.lease);
  CHECK(f.launcher.launches == 2);
}

TEST_CASE("min-scale is started without a request, kept, and replaced when it dies") {
  RevisionSpec spec;
  spec.scaling.min_scale = 2;
  PoolFixture f(spec);
  f.clock.advance(100ms);
  CHECK(f.launcher.running() == 2);
  f.clock.advance(300s);
  CHECK(f.launcher.running() == 2);
  f.launcher.instances[0]->end({.code = 1});
  f.clock.advance(3s);
  CHECK(f.launcher.running() == 2);
  CHECK(f.launcher.launches == 3);
  f.pool->set_reachable(false);
  f.clock.advance(70s);
  CHECK(f.launcher.running() == 0);
}

TEST_CASE("panic: load at twice the capacity grows the revision at the next decision") {
  RevisionSpec spec;
  spec.scaling.target = 10;  // 7 after utilisation
  PoolFixture f(spec);
  f.request_and_finish();
  for (int i = 0; i < 35; ++i) CHECK(f.request().lease);
  CHECK(f.launcher.launches == 1);
  // Second 2: 35 in flight for two seconds (less 0): ceil(35 / 7) = 5.
  f.clock.advance(2s);
  CHECK(f.view().desired == 5);
  CHECK(f.launcher.launches == 5);
  for (auto& request : f.requests) f.finish(*request);
  f.clock.advance(60s);
  CHECK(f.view().ready == 5);  // panic never shrinks
  // 62 s after the load went: out of panic, nothing in the window: floor(5 / 2), floor(2 / 2), 0.
  f.clock.advance(10s);
  CHECK(f.launcher.running() == 0);
}

TEST_CASE("scaling down takes idle instances first and lets busy ones end their request") {
  RevisionSpec spec = quick();
  spec.scaling.initial_scale = 4;
  PoolFixture f(spec);
  REQUIRE(f.run(f.pool->ensure_ready()));
  auto& request = f.request();
  REQUIRE(request.lease);
  f.clock.advance(60s);
  CHECK(f.launcher.running() == 1);
  CHECK(request.lease);
  CHECK(f.in_flight() == 1);
}

TEST_CASE("ensure_ready waits for the initial scale and is content at once afterwards") {
  RevisionSpec spec;
  spec.scaling.initial_scale = 3;
  PoolFixture f(spec);
  f.launcher.behaviour.launch_delay = 10ms;
  REQUIRE(f.run(f.pool->ensure_ready()));
  CHECK(f.launcher.launches == 3);
  REQUIRE(f.run(f.pool->ensure_ready()));
  CHECK(f.launcher.launches == 3);
  f.clock.advance(70s);
  CHECK(f.launcher.running() == 0);
  REQUIRE(f.run(f.pool->ensure_ready()));  // from zero: one is enough
  CHECK(f.launcher.launches == 4);
}

TEST_CASE("ensure_ready reports the first failed start and does not try on") {
  PoolFixture f;
  f.launcher.behaviour = {.never_listens = true, .exits = ExitStatus{}, .exits_after = 90ms, .output = {"bye"}};
  auto failed = f.run(f.pool->ensure_ready());
  REQUIRE_FALSE(failed);
  CHECK(failed.error().slug == "E_EXITED");
  CHECK(failed.error().because == "the process exited with code 0 after 90 ms, before listening on port 8080");
  CHECK(failed.error().last_output == std::vector<std::string>{"bye"});
  CHECK_FALSE(failed.error().hint.empty());
  f.clock.advance(60s);
  CHECK(f.launcher.launches == 1);
  CHECK_FALSE(f.view().ever_ready);
  f.launcher.behaviour = {};
  REQUIRE(f.run(f.pool->ensure_ready()));  // a failed one can be tried again at once
  CHECK_FALSE(f.view().instances.empty());
}

TEST_CASE("removal fails what waits, lets the lease end, then stops the instance") {
  PoolFixture f(one_at_a_time());
  auto& request = f.request();
  f.launcher.behaviour.never_listens = true;
  auto& waiting = f.request();
  bool drained = false;
  asio::co_spawn(f.loop, f.pool->drain(), [&](std::exception_ptr) { drained = true; });
  f.clock.settle();
  REQUIRE(waiting.error);
  CHECK(waiting.error->code() == Errc::unavailable);
  CHECK(request.lease);
  CHECK_FALSE(f.launcher.instances[0]->ended());
  CHECK_FALSE(drained);
  CHECK(f.request().error->code() == Errc::unavailable);
  f.finish(request);
  f.clock.advance(1s);
  CHECK(drained);
  CHECK(f.launcher.running() == 0);
}

TEST_CASE("every launch and connect may fail: the request is served in the end, nothing leaks") {
  for (int n = 1; n < 12; ++n) {
    CAPTURE(n);
    auto spec = one_at_a_time();
    spec.scaling.stable_window = 6s;
    PoolFixture f(spec);
    f.launcher.behaviour = {.launch_delay = 5ms, .listens_after = 1ms};
    f.launcher.calls_until_failure = std::make_shared<int>(n);
    std::vector<PoolFixture::Request*> all;
    for (int i = 0; i < 3; ++i) all.push_back(&f.request());
    f.clock.advance(5s);
    for (auto* request : all) {
      CHECK(request->lease);
      f.finish(*request);
    }
    CHECK(f.in_flight() == 0);
    f.clock.advance(120s);
    CHECK(f.launcher.running() == 0);
    CHECK(f.view().instances.empty());
    CHECK(f.clock.sleepers() == 0);
    CHECK(std::ranges::all_of(f.launcher.instances, [](const auto& each) { return each->given_back; }));
  }
}

TEST_CASE("changes are told: ready, desired and failures, not every request") {
  PoolFixture f;
  f.request_and_finish();
  const int after_start = f.changes;
  CHECK(after_start >= 1);
  for (int i = 0; i < 10; ++i) f.request_and_finish();
  CHECK(f.changes == after_start);
}

TEST_CASE("the pool counts its instances and waits in the metrics") {
  PoolFixture f;
  f.launcher.behaviour.launch_delay = 50ms;
  f.request();
  CHECK(
      f.metrics.expose().find("wick_queue_depth{namespace=\"default\",service=\"hello\",revision=\"hello-00001\"} 1") !=
      std::string::npos);
  f.clock.advance(60ms);
  const auto text = f.metrics.expose();
  CHECK(text.find("revision=\"hello-00001\"} 0\n") != std::string::npos);
  CHECK(text.find("state=\"ready\"} 1") != std::string::npos);
  CHECK(text.find("state=\"starting\"} 0") != std::string::npos);
  CHECK(
      text.find("wick_cold_start_seconds_count{namespace=\"default\",service=\"hello\",revision=\"hello-00001\"} 1") !=
      std::string::npos);
}

// --- a box that is full

TEST_CASE("an instance that fails its liveness probe three times in a row is replaced and counted") {
  auto spec = quick();
  spec.scaling.min_scale = 1;
  spec.liveness = Liveness{.period = 1s};
  PoolFixture f(spec);
  f.clock.advance(1s);
  CHECK(f.view().ready == 1);
  f.clock.advance(30s);
  CHECK(f.launcher.launches == 1);
  f.launcher.instances[0]->deaf = true;
  f.clock.advance(2s);
  CHECK(f.view().ready == 1);
  f.clock.advance(3s);
  CHECK(f.launcher.launches == 2);
  CHECK(f.launcher.instances[0]->given_back);
  CHECK(f.view().restarts == 1);
  REQUIRE(f.view().last_failure);
  CHECK(f.view().last_failure->because.find("failed its liveness probe 3 times in a row") != std::string::npos);
}

TEST_CASE("a command as liveness probe runs as the program does, and its failures replace the instance") {
  auto spec = quick();
  spec.scaling.min_scale = 1;
  spec.instance.process.uid = 1000;
  spec.liveness = Liveness{.kind = Probe::Kind::exec, .command = {"/alive"}, .period = 1s};
  PoolFixture f(spec);
  int code = 0;
  f.launcher.behaviour.execute = [&](const container::Process& process) {
    CHECK(process.uid == 1000);
    CHECK(process.argv == std::vector<std::string>{"/alive"});
    return container::Executed{.status = {.code = code}, .output = "stuck"};
  };
  f.clock.advance(30s);
  CHECK(f.launcher.launches == 1);
  code = 1;
  f.clock.advance(5s);
  CHECK(f.launcher.launches >= 2);
  REQUIRE(f.view().last_failure);
  CHECK(f.view().last_failure->because.find("3 times in a row: '/alive' ended with exit 1: stuck") !=
        std::string::npos);
}

TEST_CASE("a program that ends soon after each start is started at once, then ever more slowly") {
  auto spec = quick();
  spec.scaling.min_scale = 1;
  PoolFixture f(spec, {.start_backoff = 1s, .start_backoff_max = 8s});
  f.launcher.behaviour.exits = ExitStatus{.code = 3};
  f.launcher.behaviour.exits_after = 100ms;
  f.clock.advance(500ms);
  CHECK(f.launcher.launches == 2);  // the first end is replaced at once
  f.clock.advance(20s);
  CHECK(f.launcher.launches <= 7);  // 1, 2, 4, 8, 8 s
  CHECK(f.launcher.launches >= 5);
  CHECK(f.view().restarts >= 4);
}

// --- predicted keep-warm

TEST_CASE("with predicted keep-warm a periodic service goes at once and is there again before the next request") {
  auto spec = quick();
  spec.scaling.keep_warm = Scaling::KeepWarm::predicted;
  PoolFixture f(spec);
  f.launcher.behaviour.launch_delay = 1s;
  const auto ask = [&] {
    auto& request = f.request();
    const bool warm = bool(request.lease);
    f.clock.advance(2s);
    f.finish(request);
    return warm;
  };
  for (int i = 0; i < 6; ++i) {
    ask();
    f.clock.advance(900s);
  }
  CHECK(ask());
  f.clock.advance(30s);
  CHECK(f.view().instances.empty());  // gone long before a window of Knative's would be over
  f.clock.advance(860s);
  CHECK(f.launcher.running() == 0);
  f.clock.advance(10s);
  CHECK(f.launcher.running() == 1);
  CHECK(ask());
  // The request that does not come: the instance goes again, and later ones are not waited for.
  f.clock.advance(2000s);
  CHECK(f.launcher.running() == 0);
}

namespace {

RevisionSpec with_file(std::string content) {
  RevisionSpec spec;
  spec.key = {"default", "hello-00001"};
  spec.service = "hello";
  spec.instance.volumes = {{.files = {{"key", 0444, std::move(content)}}}};
  spec.instance.volume_mounts = {{.volume = 0, .target = "/etc/keys"}};
  return spec;
}

std::string file_in(FakeInstance& instance) { return instance.spec().volumes.at(0).files.at(0).content; }

}  // namespace

TEST_CASE("the files of every instance follow their values, and only those") {
  PoolFixture f(with_file("one"));
  f.launcher.behaviour.launch_delay = 100ms;
  f.request();
  f.clock.advance(50ms);
  f.pool->set_spec(with_file("two"));  // while it starts
  f.clock.advance(100ms);
  auto& instance = *f.launcher.instances[0];
  CHECK(file_in(instance) == "two");
  CHECK(instance.updates == 1);
  auto same = with_file("two");
  same.instance.process.environment = {"KEY=other"};  // of the next instance
  f.pool->set_spec(same);
  f.clock.settle();
  CHECK(instance.updates == 1);

  instance.update_failures = 2;
  f.pool->set_spec(with_file("three"));
  f.clock.settle();
  CHECK(file_in(instance) == "two");
  f.clock.advance(1s);
  f.pool->set_spec(with_file("four"));  // a retry takes what is wanted by then
  f.clock.advance(2s);
  CHECK(file_in(instance) == "four");
  CHECK(f.launcher.launches == 1);
}

TEST_CASE("an adopted instance gets the files of today, and one that never takes them is asked a few times only") {
  PoolFixture f(with_file("today"));
  auto instance = f.launcher.make({}, {});
  auto broken = f.launcher.make({}, {});
  broken->update_failures = 1000;
  f.pool->adopt(instance);
  f.pool->adopt(broken);
  f.clock.advance(50s);
  CHECK(file_in(*instance) == "today");
  CHECK(instance->updates == 1);
  CHECK(broken->updates == 5);
}
