#include <catch2/catch.hpp>

#include <boost/asio/post.hpp>

#include "pool_fixture.hpp"

using namespace wick;
using namespace wick::serving;

namespace {

/// Goes to zero 6 to 8 s after the last request once the proxy has been in the path for the grace of 30 s.
RevisionSpec quick() {
  RevisionSpec spec;
  spec.scaling.stable_window = 6s;
  return spec;
}

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

TEST_CASE("an adopted instance joins after its probe and is kept for a stable window") {
  PoolFixture f;
  auto instance = f.launcher.make({}, {.listens_after = 5ms});
  f.pool->adopt(instance);
  f.clock.settle();
  CHECK(f.view().starting == 1);
  f.clock.advance(20ms);
  CHECK(f.view().ready == 1);
  CHECK(f.view().ever_ready);
  CHECK(f.request().lease);
  f.finish(*f.requests[0]);
  CHECK(f.launcher.launches == 0);
  f.clock.advance(58s);
  CHECK(f.launcher.running() == 1);
  f.clock.advance(5s);
  CHECK(f.launcher.running() == 0);
}

TEST_CASE("what an earlier process still relays to an adopted instance counts as if it were ours") {
  RevisionSpec spec;
  spec.container_concurrency = 2;
  PoolFixture f(spec);
  auto instance = f.launcher.make({}, {.listens_after = 5ms});
  f.pool->adopt(instance);
  std::vector<Lease> elsewhere;
  elsewhere.push_back(f.pool->lease_elsewhere(instance->id(), f.clock.now()));  // before it is ready
  REQUIRE(elsewhere[0]);
  CHECK_FALSE(f.pool->lease_elsewhere(container::InstanceId::random(), f.clock.now()));
  f.clock.advance(20ms);
  CHECK(f.view().ready == 1);
  CHECK(f.in_flight() == 1);
  auto& own = f.request();
  CHECK(own.lease);
  CHECK_FALSE(f.pool->try_acquire(f.clock.now()));  // two are all it takes
  f.finish(own);
  f.clock.advance(300s);
  CHECK(f.launcher.running() == 1);
  elsewhere.clear();
  f.clock.advance(90s);
  CHECK(f.launcher.running() == 0);
}

TEST_CASE("an adopted instance whose requests elsewhere end before it is ready gets ready") {
  PoolFixture f;
  auto instance = f.launcher.make({}, {.listens_after = 50ms});
  f.pool->adopt(instance);
  {
    const auto lease = f.pool->lease_elsewhere(instance->id(), f.clock.now());
  }
  f.clock.advance(100ms);
  CHECK(f.view().ready == 1);
}

TEST_CASE("a pool that lets go refuses who waits, leaves instances alone and waits for its leases") {
  PoolFixture f;
  auto& served = f.request();
  f.clock.advance(100ms);
  REQUIRE(served.lease);
  f.run(f.pool->let_go());
  std::map<container::InstanceId, int> counts;
  f.pool->count_in_flight(counts);
  REQUIRE(counts.size() == 1);
  CHECK(counts.begin()->second == 1);
  CHECK(f.request().error->code() == Errc::unavailable);
  f.clock.advance(300s);
  CHECK(f.launcher.running() == 1);
  bool left = false;
  asio::co_spawn(f.loop, f.pool->leave(), [&](std::exception_ptr) { left = true; });
  f.clock.advance(1s);
  CHECK_FALSE(left);
  f.finish(served);
  f.clock.advance(1s);
  CHECK(left);
  CHECK(f.launcher.running() == 1);
}

TEST_CASE("what is adopted in the turn a pool is made counts towards its minimum") {
  PoolFixture f;
  RevisionSpec spec{.key = {"default", "hello-00002"}, .service = "hello"};
  spec.scaling.min_scale = 1;
  std::unique_ptr<RevisionPool> made;
  asio::post(f.loop, [&] {  // on the loop, as control does at a start
    made = std::make_unique<RevisionPool>(f.loop.get_executor(), f.clock, f.launcher, f.metrics, spec, PoolOptions{},
                                          nullptr);
    made->adopt(f.launcher.make({}, {}));
  });
  f.clock.advance(3s);
  CHECK(made->view().ready == 1);
  CHECK(f.launcher.launches == 0);
  f.run(made->drain());
}

TEST_CASE("several adopted instances begin in panic, so that a restart does not shrink") {
  PoolFixture f(quick());
  for (int i = 0; i < 4; ++i) f.pool->adopt(f.launcher.make({}, {}));
  f.clock.advance(5s);
  CHECK(f.view().ready == 4);
}

TEST_CASE("an adopted instance that has died is let go") {
  PoolFixture f;
  auto instance = f.launcher.make({}, {});
  instance->end({.code = 1});
  f.pool->adopt(instance);
  f.clock.advance(100ms);
  CHECK(f.view().instances.empty());
  CHECK(instance->given_back);
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

TEST_CASE("leaving waits for the leases and lets the instances run") {
  PoolFixture f;
  auto& request = f.request();
  bool left = false;
  asio::co_spawn(f.loop, f.pool->leave(), [&](std::exception_ptr) { left = true; });
  f.clock.settle();
  CHECK_FALSE(left);
  f.finish(request);
  CHECK(left);
  CHECK(f.launcher.running() == 1);
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

namespace {

/// Two or more revisions on one box of `memory` MiB; every instance is charged 32 until one was seen to run.
struct BoxFixture {
  explicit BoxFixture(std::uint64_t memory, int starts = 0)
      : box(f.loop.get_executor(), {.memory_bytes = memory << 20, .starts = starts}) {
    f.run(f.pool->drain());
  }
  ~BoxFixture() {
    ending = true;  // leases that are granted from here on are given back at once
    for (auto& each : requests) each->lease.reset();
    f.clock.settle();
    for (auto& pool : pools) f.run(pool->drain());
    pools.clear();
    f.run(box.stop());
  }
  RevisionPool& add(std::string name, double weight = 100, int container_concurrency = 1) {
    auto spec = quick();
    spec.key = {"default", std::move(name)};
    spec.weight = weight;
    spec.container_concurrency = container_concurrency;
    const PoolOptions options{.box = &box, .box_full_limit = 5s};
    pools.push_back(std::make_unique<RevisionPool>(f.loop.get_executor(), f.clock, f.launcher, f.metrics,
                                                   std::move(spec), options, [] {}));
    return *pools.back();
  }
  PoolFixture::Request& request(RevisionPool& pool) {
    requests.push_back(std::make_unique<PoolFixture::Request>());
    auto& mine = *requests.back();
    auto ask = [](BoxFixture& self, RevisionPool& pool, PoolFixture::Request& mine) -> awaitable<void> {
      auto lease = co_await pool.acquire(self.f.clock.now(), self.f.clock.now() + 300s);
      mine.done = true;
      if (lease && !self.ending)
        mine.lease = std::move(*lease);
      else if (!lease)
        mine.error = lease.error();
    };
    asio::co_spawn(f.loop, ask(*this, pool, mine), [](std::exception_ptr) {});
    f.clock.settle();
    return mine;
  }
  void wait(Duration duration = 100ms) { f.clock.advance(duration); }

  PoolFixture f;
  Box box;
  bool ending = false;
  std::vector<std::unique_ptr<RevisionPool>> pools;
  std::vector<std::unique_ptr<PoolFixture::Request>> requests;
};

}  // namespace

TEST_CASE("in a full box the instance that has been idle longest gives way, whosever it is") {
  BoxFixture b(64);
  auto& first = b.add("first");
  auto& second = b.add("second");
  auto& third = b.add("third");
  auto& one = b.request(first);
  b.wait();
  auto& two = b.request(second);
  b.wait();
  b.f.finish(one);
  b.wait();
  b.f.finish(two);
  CHECK(b.box.memory_used() == 64 << 20);
  auto& three = b.request(third);
  b.wait();
  CHECK(three.lease);
  CHECK(first.view().instances.empty());
  CHECK(second.view().ready == 1);
  CHECK(b.box.memory_used() == 64 << 20);
}

TEST_CASE("in a box full of busy instances a request waits for one to be free, and is told when none is for long") {
  BoxFixture b(32);
  auto& first = b.add("first");
  auto& second = b.add("second");
  auto& busy = b.request(first);
  b.wait();
  auto& waiting = b.request(second);
  b.wait(2s);
  CHECK(waiting.waiting());
  b.f.finish(busy);
  b.wait();
  CHECK(waiting.lease);
  auto& never = b.request(first);
  b.wait(7s);
  REQUIRE(never.error);
  CHECK(never.error->code() == Errc::overloaded);
  CHECK(never.error->message() == "no memory is left on this machine for another instance of first");
}

TEST_CASE("a full box is shared by weight, also with those who always have work") {
  BoxFixture b(32 * 8);
  auto& light = b.add("light", 100);
  auto& heavy = b.add("heavy", 300);
  for (int i = 0; i < 60; ++i) b.request(light);
  b.wait();
  CHECK(light.view().ready == 8);
  for (int i = 0; i < 60; ++i) b.request(heavy);
  // Requests end one by one, oldest first; there is always another one that waits.
  for (std::size_t i = 0; i < 40; ++i) {
    const auto busy = std::ranges::find_if(b.requests, [](const auto& each) { return bool(each->lease); });
    b.f.finish(**busy);
    b.wait(1ms);
  }
  b.wait();
  CHECK(heavy.view().ready == 6);
  CHECK(light.view().ready == 2);
}

TEST_CASE("what an instance was seen to use is what the next one is charged") {
  BoxFixture b(64);
  b.f.launcher.behaviour.usage.memory_peak_bytes = 10 << 20;
  auto& pool = b.add("small");
  auto& one = b.request(pool);
  b.wait();
  b.f.finish(one);
  b.wait(60s);
  CHECK(pool.view().instances.empty());
  CHECK(b.box.memory_used() == 0);
  for (int i = 0; i < 6; ++i) b.request(pool);
  b.wait();
  CHECK(pool.view().ready == 6);
  CHECK(b.box.memory_used() == 60 << 20);
}

TEST_CASE("a start that fails gives its room back") {
  BoxFixture b(32);
  b.f.launcher.scripted = {{.launch_error = Error(Errc::io, "no")},
                           {.never_listens = true, .exits = ExitStatus{.code = 1}}};
  auto& pool = b.add("hello");
  auto& request = b.request(pool);
  b.wait(3s);
  CHECK(request.lease);
  CHECK(b.box.memory_used() == 32 << 20);
}

TEST_CASE("starts at once are limited across the box") {
  BoxFixture b(0, 4);
  b.f.launcher.behaviour.launch_delay = 50ms;
  auto& first = b.add("first");
  auto& second = b.add("second");
  for (int i = 0; i < 6; ++i) b.request(first);
  for (int i = 0; i < 6; ++i) b.request(second);
  CHECK(b.f.launcher.launches == 4);
  b.wait(500ms);
  CHECK(b.f.launcher.launches == 12);
  CHECK(first.view().ready == 6);
  CHECK(second.view().ready == 6);
}

// --- liveness, crash loops

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
