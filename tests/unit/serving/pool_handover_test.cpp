// Instances that were there before the pool, and a pool that leaves them.
#include <catch2/catch.hpp>

#include <boost/asio/post.hpp>

#include "pool_fixture.hpp"

using namespace wick;
using namespace wick::serving;

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
