// The rungs between running and nothing, as a pool climbs them.
#include <catch2/catch.hpp>

#include "park.hpp"
#include "pool_fixture.hpp"
#include "wick/serving/sleep_budget.hpp"

using namespace wick;
using namespace wick::serving;

namespace {

RevisionSpec with(Ladder ladder) {
  RevisionSpec spec;
  spec.ladder = ladder;
  spec.scaling.stable_window = 6s;
  spec.scaling.scale_to_zero_grace = 1s;
  return spec;
}

/// A budget that outlives the pool.
struct Budget {
  explicit Budget(std::uint64_t bytes = 1 << 30) : budget(loop.get_executor(), bytes) {}
  asio::io_context loop;
  SleepBudget budget;
};

struct LadderFixture : Budget, PoolFixture {
  explicit LadderFixture(Ladder ladder, std::uint64_t bytes = 1 << 30)
      : Budget(bytes), PoolFixture(with(ladder), {.budget = &budget}) {}
  asio::io_context& loop = PoolFixture::loop;

  void pass(Duration time) {
    for (Duration passed{0}; passed < time; passed += 500ms) clock.advance(500ms);
  }
  std::size_t asleep() const {
    return static_cast<std::size_t>(
        std::ranges::count_if(view().instances, [](const auto& each) { return each.state == "frozen"; }));
  }
};

using Calls = std::vector<FakeCall>;

awaitable<void> hold_into(RevisionPool& pool, container::InstanceId id, std::optional<Result<InstanceHold>>& held) {
  held.emplace(co_await pool.hold(std::move(id), {}, nullptr));
}
std::optional<Result<InstanceHold>> hold(LadderFixture& f, container::InstanceId id) {
  std::optional<Result<InstanceHold>> held;
  f.run(hold_into(*f.pool, std::move(id), held));
  return held;
}

}  // namespace

TEST_CASE("a spare is made once the revision was ready, and the next start is only a start") {
  LadderFixture f({.spares = 1});
  CHECK(f.launcher.prepares == 0);
  f.request_and_finish();
  f.pass(2s);
  CHECK(f.launcher.prepares == 1);
  CHECK(f.launcher.instances.at(1)->calls.empty());
  f.pass(60s);
  REQUIRE(f.view().ready == 0);
  const auto& woken = f.request();
  f.clock.advance(10ms);
  CHECK(woken.done);
  CHECK(f.launcher.launches == 1);
  CHECK(f.launcher.instances.at(1)->calls == Calls{FakeCall::start});
  f.pass(2s);
  CHECK(f.launcher.prepares == 2);
}

TEST_CASE("a spare that does not start is replaced by an ordinary launch, and the request does not notice") {
  LadderFixture f({.spares = 1});
  f.request_and_finish();
  f.pass(60s);
  f.launcher.instances.at(1)->fails_at = FakeCall::start;
  const auto& woken = f.request();
  f.clock.advance(10ms);
  CHECK(woken.done);
  CHECK_FALSE(woken.error);
  CHECK(f.launcher.launches == 2);
}

TEST_CASE("a spare that ends is made again; spares that cannot be made are given up until the next use") {
  LadderFixture f({.spares = 1});
  f.request_and_finish();
  f.pass(2s);
  f.launcher.instances.at(1)->end({.signal = 9});
  f.pass(5s);
  CHECK(f.launcher.prepares == 2);
  f.launcher.prepare_error = Error(Errc::io, "no room");
  f.launcher.instances.at(2)->end({.signal = 9});
  f.pass(300s);
  CHECK(f.launcher.prepares == 7);
  f.launcher.prepare_error.reset();
  f.request_and_finish();
  f.pass(2s);
  CHECK(f.launcher.prepares == 8);
}

TEST_CASE("spares go when their time is over, and when traffic leaves the revision") {
  LadderFixture f({.spares = 2, .spares_for = 10min});
  f.request_and_finish();
  f.pass(3s);
  REQUIRE(f.launcher.running() == 3);
  f.pass(10min);
  CHECK(f.launcher.running() == 0);
  f.request_and_finish();
  f.pass(3s);
  REQUIRE(f.launcher.running() == 3);
  f.pool->set_reachable(false);
  f.pass(60s);
  CHECK(f.launcher.running() == 0);
}

TEST_CASE("the spares of an older spec are never started") {
  LadderFixture f({.spares = 1});
  f.request_and_finish();
  f.pass(60s);
  auto changed = f.pool->spec();
  changed.instance.process.environment = {"WHO=moon"};
  f.pool->set_spec(changed);
  f.pass(2s);
  CHECK(f.launcher.instances.at(1)->ended());
  f.request_and_finish();
  CHECK(f.launcher.instances.at(2)->calls == Calls{FakeCall::start});
}

TEST_CASE("a Node spare is parked; one whose runtime does not park is only prepared the next time") {
  auto spec = with({.spares = 1, .park = true});
  spec.instance.process.argv = {"/usr/bin/node", "server.js"};
  Budget budget;
  PoolFixture f(spec, {.budget = &budget.budget});
  f.request_and_finish();
  f.clock.advance(2s);
  REQUIRE(f.launcher.prepares == 1);
  CHECK(f.launcher.instances.at(1)->calls == Calls{FakeCall::park});
  CHECK(f.launcher.instances.at(1)->spec().parkable);
  CHECK_FALSE(f.launcher.instances.at(0)->spec().parkable);
}

TEST_CASE("with freeze-after an instance that nobody asks freezes, and the next request thaws it") {
  LadderFixture f({.freeze_after = 3s, .frozen_for = 10min});
  f.request_and_finish();
  f.pass(2s);
  CHECK(f.asleep() == 0);
  f.pass(3s);
  CHECK(f.asleep() == 1);
  CHECK(f.launcher.instances.at(0)->calls == Calls{FakeCall::freeze});
  auto& woken = f.request();
  CHECK(woken.done);
  CHECK(f.launcher.launches == 1);
  CHECK(f.launcher.instances.at(0)->calls == Calls{FakeCall::freeze, FakeCall::thaw});
  f.pass(30s);
  CHECK(f.asleep() == 0);  // in use
  f.finish(woken);
  f.pass(4s);
  CHECK(f.asleep() == 1);
}

TEST_CASE("a frozen instance is stopped when its time is over") {
  LadderFixture f({.freeze_after = 3s, .frozen_for = 60s});
  f.request_and_finish();
  f.pass(30s);
  REQUIRE(f.asleep() == 1);
  f.pass(60s);
  CHECK(f.launcher.running() == 0);
  CHECK(f.view().instances.empty());
}

TEST_CASE(
    "a frozen instance whose time is over, or that the budget evicts, is not replaced though the window still wants "
    "one") {
  auto spec = with({.freeze_after = 1s, .frozen_for = 1s});
  spec.scaling.stable_window = 60s;
  for (const std::uint64_t bytes : {std::uint64_t{1} << 30, std::uint64_t{1}}) {
    Budget budget(bytes);
    PoolFixture f(spec, {.budget = &budget.budget});
    f.request_and_finish();
    for (int i = 0; i < 20; ++i) f.clock.advance(500ms);
    CHECK(f.launcher.running() == 0);
    CHECK(f.launcher.launches == 1);
    f.request_and_finish();
    CHECK(f.launcher.launches == 2);
  }
}

TEST_CASE("the minimum does not sleep") {
  auto spec = with({.freeze_after = 1s, .frozen_for = 60s});
  spec.scaling.min_scale = 1;
  Budget budget;
  PoolFixture f(spec, {.budget = &budget.budget});
  f.clock.advance(100ms);
  f.request_and_finish();
  for (int i = 0; i < 20; ++i) f.clock.advance(500ms);
  CHECK(f.view().ready == 1);
}

TEST_CASE("an instance that does not freeze is stopped, and one that does not thaw is replaced") {
  LadderFixture f({.freeze_after = 1s, .frozen_for = 60s});
  f.request_and_finish();
  f.launcher.instances.at(0)->fails_at = FakeCall::freeze;
  f.pass(4s);
  CHECK(f.launcher.running() == 0);
  f.request_and_finish();
  f.launcher.instances.at(1)->fails_at = FakeCall::thaw;
  f.pass(4s);
  REQUIRE(f.asleep() == 1);
  const auto& woken = f.request();
  f.pass(1s);
  CHECK(woken.done);
  CHECK_FALSE(woken.error);
  CHECK(f.launcher.launches == 3);
}

TEST_CASE("draining a pool with sleepers and spares leaves nothing") {
  LadderFixture f({.spares = 2, .freeze_after = 1s, .frozen_for = 60s});
  f.request_and_finish();
  f.pass(5s);
  REQUIRE(f.launcher.running() == 3);
  f.run(f.pool->drain());
  CHECK(f.launcher.running() == 0);
  CHECK(f.budget.bytes() == 0);
}

TEST_CASE("the budget ends the least recently used first, and the newest when it is too big by itself") {
  Budget box(10 << 20);
  auto& budget = box.budget;
  std::vector<int> evicted;
  std::vector<SleepBudget::Place> places;
  const auto sleeper = [&](int name, int mib, int used) {
    places.push_back(budget.add(static_cast<std::uint64_t>(mib) << 20, TimePoint(Duration(used)),
                                [&evicted, name] { evicted.push_back(name); }));
  };
  sleeper(1, 4, 30);
  sleeper(2, 4, 10);
  sleeper(3, 4, 20);
  CHECK(evicted == std::vector{2});
  CHECK(budget.bytes() == 8 << 20);
  sleeper(4, 100, 99);
  CHECK(evicted == std::vector{2, 3, 1, 4});
  CHECK(budget.bytes() == 0);
  places.clear();
  sleeper(5, 0, 1);
  CHECK(budget.bytes() == SleepBudget::sleeper_bytes_min);
  places.clear();
  CHECK(budget.bytes() == 0);
}

TEST_CASE("what the budget evicts is not made again before the revision is used again") {
  LadderFixture f({.spares = 1}, 1);
  f.request_and_finish();
  f.pass(30s);
  CHECK(f.launcher.prepares == 1);
  CHECK(f.launcher.running() == 0);
  f.request_and_finish();
  f.pass(30s);
  CHECK(f.launcher.prepares == 2);
}

TEST_CASE("the park shim is for programs whose language runtime has one") {
  const auto environment_of = [](std::string program, std::vector<std::string> environment = {}) {
    container::InstanceSpec spec;
    spec.process.argv = {std::move(program)};
    spec.process.environment = std::move(environment);
    const bool added = add_park_shim(spec);
    CHECK(added == spec.parkable);
    return spec.process.environment;
  };
  using Environment = std::vector<std::string>;
  CHECK(environment_of("/server").empty());
  CHECK(environment_of("/usr/bin/python3-config").empty());
  CHECK(environment_of("pythonista").empty());
  CHECK(environment_of("/usr/local/bin/node") ==
        Environment{"NODE_OPTIONS=--require=/.wick/park/node.cjs", "WICK_PARK_FD=3"});
  CHECK(environment_of("node", {"NODE_OPTIONS=--max-old-space-size=64"}) ==
        Environment{"NODE_OPTIONS=--require=/.wick/park/node.cjs --max-old-space-size=64", "WICK_PARK_FD=3"});
  CHECK(environment_of("python3.11", {"PYTHONPATH="}) ==
        Environment{"PYTHONPATH=/.wick/park/python", "WICK_PARK_FD=3"});
  CHECK(environment_of("gunicorn", {"PYTHONPATH=/app"}) ==
        Environment{"PYTHONPATH=/.wick/park/python:/app", "WICK_PARK_FD=3"});
}

TEST_CASE("a budget that is full at once does not keep an instance frozen") {
  LadderFixture f({.freeze_after = 1s, .frozen_for = 1h}, 1);
  f.request_and_finish();
  f.pass(5s);
  CHECK(f.launcher.running() == 0);
}

TEST_CASE("ensure_ready wakes a frozen instance") {
  LadderFixture f({.freeze_after = 1s, .frozen_for = 1h});
  f.request_and_finish();
  f.pass(3s);
  REQUIRE(f.asleep() == 1);
  CHECK(f.run(f.pool->ensure_ready()));
  CHECK(f.launcher.launches == 1);
}

TEST_CASE("the timeline of a wake names the rung it came from, in the order of its steps") {
  LadderFixture f({.spares = 1});
  f.request_and_finish();
  f.pass(60s);
  f.launcher.instances.at(1);
  const auto arrived = f.clock.now();
  auto& woken = f.request();
  f.clock.advance(10ms);
  REQUIRE(woken.done);
  const auto steps = woken.lease.wake_steps(arrived, arrived, f.clock.now());
  CHECK(steps.from == WakeSteps::From::prepared);
  CHECK(steps.woken <= steps.started);
  CHECK(steps.started <= steps.listening);
  CHECK(steps.listening <= steps.leased);
  const auto later = woken.lease.wake_steps(f.clock.now() + 1s, f.clock.now() + 1s, f.clock.now() + 2s);
  CHECK(later.from == WakeSteps::From::other);
}

TEST_CASE("a held instance neither sleeps nor goes until it is given back") {
  LadderFixture f({.freeze_after = 2s, .frozen_for = 10min});
  f.request_and_finish();
  const auto id = f.launcher.instances.front()->id();
  auto held = hold(f, id);
  REQUIRE(held->has_value());
  CHECK(&(*held)->instance() == f.launcher.instances.front().get());
  f.pass(120s);
  CHECK(f.asleep() == 0);
  CHECK(f.view().ready == 1);
  CHECK(f.launcher.instances.front()->calls.empty());
  held.reset();
  f.pass(10s);
  CHECK(f.asleep() == 1);
}

TEST_CASE("a sleeping instance that is held is woken first") {
  LadderFixture f({.freeze_after = 2s, .frozen_for = 10min});
  f.request_and_finish();
  f.pass(20s);
  REQUIRE(f.asleep() == 1);
  auto held = hold(f, f.launcher.instances.front()->id());
  REQUIRE(held->has_value());
  CHECK(f.launcher.instances.front()->calls == Calls{FakeCall::freeze, FakeCall::thaw});
  f.pass(120s);
  CHECK(f.view().ready == 1);
  CHECK(f.launcher.instances.front()->stops == 0);
}

TEST_CASE("a hold of any instance starts one as a request would, and takes one that is there") {
  LadderFixture f({.freeze_after = 2s, .frozen_for = 10min});
  f.launcher.behaviour.listens_after = 100ms;
  auto held = hold(f, {});
  REQUIRE(held->has_value());
  CHECK(&(*held)->instance() == f.launcher.instances.front().get());
  CHECK(f.in_flight() == 0);
  f.pass(20s);
  CHECK(f.asleep() == 0);
  held.reset();
  f.pass(20s);
  REQUIRE(f.asleep() == 1);
  const auto again = hold(f, {});
  REQUIRE(again->has_value());
  CHECK(f.launcher.instances.front()->calls == Calls{FakeCall::freeze, FakeCall::thaw});
  CHECK(f.launcher.launches == 1);
}

TEST_CASE("a hold of any instance says why none starts") {
  LadderFixture f({});
  f.launcher.behaviour = {.never_listens = true, .exits = ExitStatus{.code = 3}};
  const auto held = hold(f, {});
  CHECK(held->error().code() == Errc::not_ready);
  CHECK(held->error().message().find("exited with code 3") != std::string::npos);
}

TEST_CASE("an instance that does not wake cannot be held, and one that is unknown neither") {
  LadderFixture f({.freeze_after = 2s, .frozen_for = 10min});
  f.request_and_finish();
  f.pass(20s);
  f.launcher.instances.front()->fails_at = FakeCall::thaw;
  CHECK(hold(f, f.launcher.instances.front()->id())->error().code() == Errc::not_ready);
  CHECK(hold(f, container::InstanceId::random())->error().code() == Errc::not_found);
}
