// A pod of fake containers under a fake clock: restarts, ends, stops in the middle of a start.
#include "container/pod_instance.hpp"

#include <catch2/catch.hpp>

#include "support/fake_clock.hpp"
#include "support/fake_launcher.hpp"
#include "support/run_loop.hpp"

using namespace wick;
using namespace wick::container;
using namespace std::chrono_literals;

namespace {

struct PodFixture {
  PodFixture() : clock(loop), launcher(loop.get_executor(), clock), tasks(loop.get_executor()) {}
  ~PodFixture() { run_on(loop, tasks.stop()); }

  std::shared_ptr<PodInstance> begin(std::vector<std::string> init, std::vector<std::string> beside) {
    InstanceSpec spec{.id = InstanceId::random(), .name = "main"};
    for (auto& name : init) spec.init.push_back({.name = name});
    for (auto& name : beside) spec.beside.push_back({.name = name});
    PodDoors doors{.executor = loop.get_executor(),
                   .clock = clock,
                   .tasks = tasks,
                   .launch = [this](InstanceSpec one) { return launcher.launch(std::move(one), "default/hello-1"); },
                   .close = [this](InstanceId, Exit exit, bool ran) -> awaitable<void> {
                     ++closed;
                     main_ran = ran;
                     last = exit;
                     co_return;
                   }};
    auto pod = std::make_shared<PodInstance>(std::move(doors), spec.id);
    pod->begin(std::move(spec));
    turn();
    return pod;
  }
  void turn() { clock.settle(); }
  void pass(Duration time) {
    clock.advance(time);
    turn();
  }
  std::vector<std::string> running() const {
    std::vector<std::string> names;
    for (const auto& one : launcher.instances)
      if (!one->ended()) names.push_back(one->spec().name);
    return names;
  }
  void end(const std::string& name, int code) {
    for (const auto& one : launcher.instances)
      if (!one->ended() && one->spec().name == name) one->end({.code = code});
    turn();
  }
  void stop(PodInstance& pod) { run_on(loop, pod.stop(1s)); }

  asio::io_context loop{1};
  FakeClock clock;
  FakeLauncher launcher;
  int closed = 0;
  bool main_ran = false;
  Exit last;
  TaskGroup tasks;
};

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("what stands before comes before, and all are stopped and given back together") {
  PodFixture f;
  const auto pod = f.begin({"one", "two"}, {"side"});
  CHECK(f.running() == Names{"one"});
  f.end("one", 0);
  CHECK(f.running() == Names{"two"});
  f.end("two", 0);
  CHECK(f.running() == Names{"side", "main"});
  CHECK(f.launcher.instances.back()->id() == pod->id());
  f.stop(*pod);
  CHECK(f.running().empty());
  CHECK(f.closed == 1);
  CHECK(f.main_ran);
  for (const auto& one : f.launcher.instances) CHECK(one->given_back);
  f.stop(*pod);
  CHECK(f.closed == 1);
}

TEST_CASE("a companion comes back after its pause, not while the pod is frozen, and never once it is over") {
  PodFixture f;
  const auto pod = f.begin({}, {"side"});
  REQUIRE(run_on(f.loop, pod->await_companions()));
  f.end("side", 1);
  CHECK(f.running() == Names{"main"});
  f.pass(PodLife::restart_first - 1ms);
  CHECK(f.running() == Names{"main"});
  f.pass(1ms);
  CHECK(f.running() == Names{"main", "side"});
  f.end("side", 0);
  REQUIRE(run_on(f.loop, pod->freeze()));
  f.pass(1min);
  CHECK(f.running() == Names{"main"});
  REQUIRE(run_on(f.loop, pod->thaw()));
  f.turn();
  CHECK(f.running() == Names{"main", "side"});
  CHECK(pod->containers()[0].restarts == 2);
  f.end("side", 0);
  f.end("main", 3);
  CHECK(pod->ended());
  f.pass(1min);
  CHECK(f.running().empty());
  f.stop(*pod);
  CHECK(f.last.status.code == 3);
  CHECK(f.last.companion.empty());
}

TEST_CASE("a pod that is stopped while a container of it is on its way up leaves none") {
  PodFixture f;
  f.launcher.behaviour.launch_delay = 5s;
  const auto pod = f.begin({}, {"side"});
  CHECK(f.running().empty());
  bool done = false;
  auto stopping = [&](std::shared_ptr<PodInstance> one) -> awaitable<void> {
    co_await one->stop(1s);
    done = true;
  };
  f.tasks.spawn("stop", stopping(pod));
  f.turn();
  CHECK_FALSE(done);
  f.pass(5s);
  CHECK(done);
  CHECK(f.running().empty());
  CHECK(f.launcher.instances.size() == 2);
  CHECK(f.closed == 1);
}

TEST_CASE("whichever launch fails, the pod ends with its reason and nothing stays") {
  for (int failing = 1; failing <= 4; ++failing) {
    PodFixture f;
    f.launcher.calls_until_failure = std::make_shared<int>(failing);
    const auto pod = f.begin({"one", "two"}, {"side"});
    f.end("one", 0);
    f.end("two", 0);
    const auto exit = run_on(f.loop, pod->wait_exit());
    REQUIRE(exit.not_started);
    CHECK(exit.not_started->message() == "the fake fails this call");
    CHECK(exit.companion == Names{"one", "two", "side", ""}[static_cast<std::size_t>(failing - 1)]);
    CHECK(run_on(f.loop, pod->await_companions()).error().code() == Errc::unavailable);
    f.stop(*pod);
    CHECK(f.running().empty());
    CHECK(f.closed == 1);
  }
}

TEST_CASE("one container that does not freeze leaves all of them running") {
  PodFixture f;
  const auto pod = f.begin({}, {"side"});
  f.launcher.instances.back()->fails_at = FakeCall::freeze;
  CHECK_FALSE(run_on(f.loop, pod->freeze()));
  CHECK(f.launcher.instances.front()->calls == std::vector{FakeCall::freeze, FakeCall::thaw});
  f.stop(*pod);
}
