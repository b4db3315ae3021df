// Pools that share a box: its memory, its starts, who gives way.
#include <catch2/catch.hpp>

#include <boost/asio/post.hpp>

#include "pool_fixture.hpp"

using namespace wick;
using namespace wick::serving;

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
