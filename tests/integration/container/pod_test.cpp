// Several containers in one instance over a real runner: what they share, their order, their ends, adoption, leaks.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <boost/asio/steady_timer.hpp>

#include "front_fixture.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/deadline.hpp"

using namespace wick;
using namespace wick::container;
using namespace wick::container::testing;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

Companion companion(const RunnerFixture& f, std::string name, std::string script) {
  return {.name = std::move(name),
          .layers = f.busybox(),
          .process = {.argv = {"/bin/sh", "-c", std::move(script)}, .environment = {"PATH=/bin"}},
          .volume_mounts = {{.volume = 0, .target = "/shared", .writable = true}}};
}

/// Serves what is in the shared volume on 8080.
InstanceSpec pod(RunnerFixture& f) {
  auto spec = f.spec({"/bin/httpd", "-f", "-p", "8080", "-h", "/shared"});
  spec.name = "main";
  spec.volumes = {{.bytes_max = 1 << 20}};
  spec.volume_mounts = {{.volume = 0, .target = "/shared"}};
  return spec;
}

/// What a container of the pod says to a command.
std::string ask(RunnerFixture& f, const std::shared_ptr<Instance>& instance, std::string script) {
  Process process{.argv = {"/bin/sh", "-c", std::move(script)}, .environment = {"PATH=/bin"}};
  return value_of(f.run(instance->execute(std::move(process), 10s))).output;
}

const ContainerView view_of(const std::shared_ptr<Instance>& instance, std::string_view name) {
  for (const auto& view : instance->containers())
    if (view.name == name) return view;
  FAIL("no container " << name);
  return {};
}

/// The loop runs until it holds.
template <class Holds>
void until(RunnerFixture& f, Holds holds) {
  auto wait = [](Holds& holds) -> awaitable<void> {
    asio::steady_timer timer(co_await asio::this_coro::executor);
    while (!holds()) {
      timer.expires_after(1ms);
      co_await timer.async_wait(use_awaitable);
    }
  };
  SteadyClock clock;
  f.run(with_deadline(clock, 20s, wait(holds)));
}

}  // namespace

TEST_CASE("init containers run one after the other, then the others: one network, one volume, own roots and logs") {
  RunnerFixture f;
  Front front(f);
  auto spec = pod(f);
  spec.init = {companion(f, "first", "echo one; echo first > /shared/index.html"),
               companion(f, "second", "cat /shared/index.html; echo second >> /shared/index.html")};
  spec.beside = {companion(f, "side", "echo beside; touch /root-of-side 2>&1; exec httpd -f -p 8882 -h /shared")};
  spec.beside[0].limits.memory_bytes = 64 << 20;
  const auto instance = front.launch(spec);
  REQUIRE(f.run(instance->await_listening(8080, 10s)));
  value_of(f.run(instance->await_companions()));
  REQUIRE(f.run(instance->await_listening(8882, 10s)));
  CHECK(ask(f, instance, "wget -qO- http://127.0.0.1:8882/index.html") == "first\nsecond\n");
  const auto side = instance->container("side");
  REQUIRE(side);
  CHECK(ask(f, side, "wget -qO- http://localhost:8080/index.html") == "first\nsecond\n");
  CHECK(side->id() != instance->id());
  CHECK(value_of(f.run(side->usage())).memory_limit_bytes == 64 << 20);
  CHECK(value_of(f.run(instance->usage())).memory_limit_bytes == (64 << 20) + spec.limits.memory_bytes);
  CHECK(front.log_of("first") == "one\n");
  CHECK(front.log_of("second") == "first\n");
  CHECK_THAT(front.log_of("side"), Contains("beside\n") && Contains("Read-only file system"));
  CHECK(view_of(instance, "first").state == ContainerView::State::terminated);
  CHECK(view_of(instance, "side").state == ContainerView::State::running);
  CHECK(view_of(instance, "main").pid == instance->pid());
  // Who comes in by the pod's gateway is the pod, for every container.
  CHECK(f.insides.contains(instance->id()));
  CHECK(f.insides.size() == 1);
  f.run(instance->stop(1ms));
  CHECK(side->ended());
  CHECK(f.leftovers().empty());
}

TEST_CASE("an init container that fails ends the instance: its name, code and last words are told") {
  RunnerFixture f;
  Front front(f);
  auto spec = pod(f);
  spec.init = {companion(f, "fine", "true"), companion(f, "setup", "echo no database; exit 7"),
               companion(f, "never", "echo ran")};
  const auto instance = front.launch(spec);
  const auto exit = f.run(instance->wait_exit());
  CHECK(exit.companion == "setup");
  CHECK(exit.of_init);
  CHECK(exit.status.code == 7);
  CHECK(instance->log_tail(3) == std::vector<std::string>{"no database"});
  CHECK(f.run(instance->connect(8080)).error().code() == Errc::unavailable);
  f.run(instance->stop(1ms));
  CHECK(f.leftovers().empty());
  for (const auto& log : front.launcher.logs("default/hello-00001")) CHECK_FALSE(log.running);
  CHECK(front.log_of("never") == "no log");

  spec.init = {companion(f, "missing", "true")};
  spec.init[0].process.argv = {"/nope"};
  const auto second = front.launch(spec);
  const auto end = f.run(second->wait_exit());
  CHECK(end.companion == "missing");
  REQUIRE(end.not_started);
  CHECK(end.not_started->what() == "the command '/nope' is not in the image");
  f.run(second->stop(1ms));
  CHECK(f.leftovers().empty());
}

TEST_CASE("a container beside the main one is started again when it ends, and counted; the main one goes on") {
  RunnerFixture f;
  Front front(f);
  auto spec = pod(f);
  spec.beside = {companion(f, "side", "echo run >> /shared/runs; exec sleep 1000")};
  const auto instance = front.launch(spec);
  REQUIRE(f.run(instance->await_listening(8080, 10s)));
  value_of(f.run(instance->await_companions()));
  while (ask(f, instance, "cat /shared/runs 2>/dev/null") != "run\n") ::usleep(1000);
  const auto pid = instance->pid();
  const auto first = instance->container("side");
  ::kill(first->pid(), SIGKILL);
  until(f, [&] { return instance->container("side") != first; });
  CHECK(view_of(instance, "side").restarts == 1);
  CHECK(view_of(instance, "side").last->status.signal == SIGKILL);
  CHECK(view_of(instance, "main").restarts == 0);
  while (ask(f, instance, "cat /shared/runs") != "run\nrun\n") ::usleep(1000);
  CHECK(instance->pid() == pid);
  // The main one's end is that of all.
  ::kill(pid, SIGKILL);
  const auto exit = f.run(instance->wait_exit());
  CHECK(exit.companion.empty());
  CHECK(exit.status.signal == SIGKILL);
  f.run(instance->stop(1ms));
  CHECK(f.leftovers().empty());
}

TEST_CASE("a companion that does not come up in its first runs ends the instance") {
  RunnerFixture f;
  Front front(f);
  auto spec = pod(f);
  spec.beside = {companion(f, "side", "echo cannot; exit 2")};
  const auto instance = front.launch(spec);
  const auto exit = f.run(instance->wait_exit());
  CHECK(exit.companion == "side");
  CHECK_FALSE(exit.of_init);
  CHECK(exit.status.code == 2);
  CHECK(instance->log_tail(1) == std::vector<std::string>{"cannot"});
  f.run(instance->stop(1ms));
  CHECK(f.leftovers().empty());
}

TEST_CASE("all containers of an instance freeze and thaw together") {
  RunnerFixture f;
  Front front(f);
  auto spec = pod(f);
  spec.beside = {companion(f, "side", "exec httpd -f -p 8882 -h /shared")};
  const auto instance = front.launch(spec);
  REQUIRE(f.run(instance->await_listening(8080, 10s)));
  value_of(f.run(instance->await_companions()));
  REQUIRE(f.run(instance->await_listening(8882, 10s)));
  value_of(f.run(instance->freeze()));
  auto state = [&] {
    std::map<InstanceId, Existing::State> out;
    for (const auto& one : value_of(f.run(f.runner().list()))) out[one.id] = one.state;
    return out;
  };
  for (const auto& [id, one] : state()) CHECK(one == Existing::State::frozen);
  CHECK(state().size() == 2);
  value_of(f.run(instance->thaw()));
  CHECK(ask(f, instance, "touch /tmp/x; wget -qO- http://127.0.0.1:8882/none 2>&1").find("404") != std::string::npos);
  for (const auto& [id, one] : state()) CHECK(one == Existing::State::running);
  value_of(f.run(instance->freeze()));
  f.run(instance->stop(1ms));
  CHECK(f.leftovers().empty());
}

TEST_CASE("front and runner die: the next ones take the whole instance over, and end it as a whole") {
  RunnerFixture f;
  auto spec = pod(f);
  spec.beside = {companion(f, "side", "exec sleep 1000"), companion(f, "other", "exec sleep 1000")};
  pid_t main = 0;
  pid_t side = 0;
  {
    Front front(f);
    const auto instance = front.launch(spec);
    REQUIRE(f.run(instance->await_listening(8080, 10s)));
    value_of(f.run(instance->await_companions()));
    main = instance->pid();
    side = instance->container("side")->pid();
    auto half = spec;  // its init container runs while all dies: nothing to take over
    half.init = {companion(f, "slow", "echo up; exec sleep 1000")};
    const auto unready = front.launch(half);
    until(f, [&] { return unready->container("slow") != nullptr; });
  }
  f.restart_runner();
  Front front(f);
  const auto adopted = value_of(f.run(front.launcher.adopt()));
  REQUIRE(adopted.size() == 1);
  const auto instance = adopted[0].instance;
  CHECK(adopted[0].owner == "default/hello-00001");
  CHECK(instance->pid() == main);
  instance->resume(spec);
  value_of(f.run(instance->await_companions()));
  CHECK(instance->container("side")->pid() == side);
  CHECK(view_of(instance, "other").state == ContainerView::State::running);
  CHECK(f.run(instance->connect(8080)));
  CHECK(ask(f, instance->container("side"), "wget -qO- http://127.0.0.1:8080/ 2>&1").find("404") != std::string::npos);
  // Nothing can be added any more, so one that ends takes all with it: another instance takes its place.
  ::kill(side, SIGKILL);
  const auto exit = f.run(instance->wait_exit());
  CHECK(exit.companion == "side");
  CHECK(exit.not_started);
  f.run(instance->stop(1ms));
  CHECK(f.leftovers().empty());
}

TEST_CASE("nobody joins a pod of another id range, or one that is not there") {
  RunnerFixture f;
  auto spec = pod(f);
  const auto id = spec.id;
  InstanceSpec shared = spec;
  value_of(f.run(f.runner().open_pod(shared)));
  CHECK(f.run(f.runner().open_pod(shared)).error().code() == Errc::already_exists);
  auto member = f.spec({"/bin/true"});
  member.pod = id;
  member.id_range = 2;
  CHECK(f.run(f.runner().prepare(member, f.open_log(member.id))).error().code() == Errc::denied);
  member.id_range = 1;
  member.volume_mounts = {{.volume = 1, .target = "/x"}};
  CHECK(f.run(f.runner().prepare(member, f.open_log(member.id))).error().code() == Errc::invalid);
  member.volume_mounts.clear();
  member.parkable = true;
  CHECK(f.run(f.runner().prepare(member, f.open_log(member.id))).error().code() == Errc::denied);
  member.parkable = false;
  value_of(f.run(f.runner().close_pod(id)));
  value_of(f.run(f.runner().close_pod(id)));
  CHECK(f.run(f.runner().prepare(member, f.open_log(member.id))).error().code() == Errc::not_found);
  CHECK(f.leftovers().empty());
}
