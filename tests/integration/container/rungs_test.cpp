// The ladder on a real runtime: prepared, parked, running, frozen, and nothing left of any.
#include <signal.h>
#include <unistd.h>

#include "runner_fixture.hpp"
#include "wick/container/launcher.hpp"

using namespace wick;
using namespace wick::container;
using namespace wick::container::testing;
using namespace std::chrono_literals;

namespace {

/// A "language runtime" that parks, then serves.
constexpr const char* parking_server =
    "echo booted; printf P >&3; dd bs=1 count=1 <&3 2>/dev/null | grep -q G || exit 0; exec 3>&-; echo begun; "
    "exec httpd -f -p 8080 -h /www";

std::string ask(RunnerFixture& f, const InstanceId& id) {
  const Fd socket = value_of(f.run(f.runner().await_listening(id, 8080, 5s)));
  const std::string request = "GET /index.html HTTP/1.0\r\n\r\n";
  REQUIRE(write_all(socket.get(), request));
  std::string answer;
  char buffer[4096];
  for (int i = 0; i < 5000; ++i) {
    const auto got = ::read(socket.get(), buffer, sizeof buffer);
    if (got == 0) break;
    if (got > 0) answer.append(buffer, static_cast<std::size_t>(got));
    if (got < 0) ::usleep(1000);
  }
  return answer;
}

Existing::State state_of(RunnerFixture& f, const InstanceId& id) {
  for (const auto& existing : value_of(f.run(f.runner().list())))
    if (existing.id == id) return existing.state;
  return Existing::State::stopped;
}

InstanceSpec parkable(RunnerFixture& f, const char* script) {
  auto spec = f.spec({"/bin/sh", "-c", script});
  spec.parkable = true;
  return spec;
}

}  // namespace

TEST_CASE("a parked instance is booted but has not begun; start lets it go on") {
  RunnerFixture f;
  const auto spec = parkable(f, parking_server);
  value_of(f.run(f.runner().prepare(spec, f.open_log(spec.id))));
  CHECK(f.log_of(spec.id).empty());
  value_of(f.run(f.runner().park(spec.id)));
  CHECK(f.log_of(spec.id) == "booted\n");
  CHECK(state_of(f, spec.id) == Existing::State::parked);
  CHECK(f.run(f.runner().park(spec.id)).error().code() == Errc::conflict);
  value_of(f.run(f.runner().start(spec.id)));
  CHECK(ask(f, spec.id).ends_with("hello from inside\n"));
  CHECK(f.log_of(spec.id) == "booted\nbegun\n");
  CHECK(f.run(f.runner().start(spec.id)).error().code() == Errc::conflict);
  value_of(f.run(f.runner().remove(spec.id)));
  CHECK(f.leftovers().empty());
}

TEST_CASE("a parkable instance can be started without parking first") {
  RunnerFixture f;
  const auto spec = parkable(f, parking_server);
  f.launch(spec);
  CHECK(ask(f, spec.id).ends_with("hello from inside\n"));
  value_of(f.run(f.runner().remove(spec.id)));
}

TEST_CASE("what ends instead of parking is unsupported and leaves nothing") {
  RunnerFixture f;
  const auto spec = parkable(f, "exec 3>&-; echo straight on");
  value_of(f.run(f.runner().prepare(spec, f.open_log(spec.id))));
  CHECK(f.run(f.runner().park(spec.id)).error().code() == Errc::unsupported);
  CHECK(f.leftovers().empty());
}

TEST_CASE("a parked instance ends with its runner, and the next runner gives it back") {
  RunnerFixture f;
  const auto spec = parkable(f, parking_server);
  value_of(f.run(f.runner().prepare(spec, f.open_log(spec.id))));
  value_of(f.run(f.runner().park(spec.id)));
  ::kill(f.runner_pid(), SIGKILL);
  f.restart_runner();
  CHECK(value_of(f.run(f.runner().list())).empty());
  CHECK(f.log_of(spec.id) == "booted\n");
  CHECK(f.leftovers().empty());
}

TEST_CASE("a frozen instance does nothing, keeps its connections, and goes on where it was") {
  RunnerFixture f;
  const auto spec = f.spec({"/bin/sh", "-c", "httpd -p 8080 -h /www; while true; do echo tick; sleep 0.01; done"});
  f.launch(spec);
  const Fd before = value_of(f.run(f.runner().await_listening(spec.id, 8080, 5s)));
  const Fd freezer = value_of(f.run(f.runner().freeze(spec.id)));
  CHECK(state_of(f, spec.id) == Existing::State::frozen);
  // Version 1: so that the thaw is not the last one, which the kernel makes slow.
  const std::filesystem::path groups = "/sys/fs/cgroup/freezer/wick";
  const bool version_1 = std::filesystem::exists(groups);
  CHECK((freezer.get() >= 0) == version_1);
  if (version_1) CHECK(value_of(read_file(groups / "freezing/freezer.state")) == "FROZEN\n");
  const auto ticks = f.log_of(spec.id).size();
  ::usleep(100'000);
  CHECK(f.log_of(spec.id).size() == ticks);
  REQUIRE(write_all(before.get(), "GET /index.html HTTP/1.0\r\n\r\n"));
  if (version_1)
    REQUIRE(write_all(freezer.get(), thawed_word));  // it goes on before the runner is told
  else
    value_of(f.run(f.runner().thaw(spec.id)));
  char byte = 0;
  for (int i = 0; i < 5000 && ::read(before.get(), &byte, 1) != 1; ++i) ::usleep(1000);
  CHECK(byte == 'H');
  if (version_1) value_of(f.run(f.runner().thaw(spec.id)));
  CHECK(f.run(f.runner().thaw(spec.id)).error().code() == Errc::conflict);
  value_of(f.run(f.runner().remove(spec.id)));
  CHECK(f.leftovers().empty());
}

TEST_CASE("a frozen instance is removed without being thawed first") {
  RunnerFixture f;
  const auto spec = f.spec({"/bin/sleep", "1000"});
  f.launch(spec);
  value_of(f.run(f.runner().freeze(spec.id)));
  value_of(f.run(f.runner().remove(spec.id)));
  CHECK(f.leftovers().empty());
}

TEST_CASE("a frozen instance is still frozen for the next runner, and thaws") {
  RunnerFixture f;
  const auto spec = f.spec({"/bin/httpd", "-f", "-p", "8080", "-h", "/www"});
  const auto pid = f.launch(spec).pid;
  value_of(f.run(f.runner().freeze(spec.id)));
  ::kill(f.runner_pid(), SIGKILL);
  f.restart_runner();
  REQUIRE(state_of(f, spec.id) == Existing::State::frozen);
  value_of(f.run(f.runner().thaw(spec.id)));
  CHECK(value_of(f.run(f.runner().list())).front().pid == pid);
  CHECK(ask(f, spec.id).ends_with("hello from inside\n"));
  value_of(f.run(f.runner().remove(spec.id)));
}

TEST_CASE("await_listening waits for the port, for as long as it was told, and not past the end") {
  RunnerFixture f;
  const auto late = f.spec({"/bin/sh", "-c", "sleep 0.1; exec httpd -f -p 8080 -h /www"});
  value_of(f.run(f.runner().prepare(late, f.open_log(late.id))));
  CHECK(f.run(f.runner().await_listening(late.id, 8080, 10ms)).error().code() == Errc::unavailable);
  value_of(f.run(f.runner().start(late.id)));
  CHECK(ask(f, late.id).ends_with("hello from inside\n"));
  value_of(f.run(f.runner().remove(late.id)));
  const auto brief = f.spec({"/bin/sleep", "0.1"});
  f.launch(brief);
  const auto began = std::chrono::steady_clock::now();
  CHECK(f.run(f.runner().await_listening(brief.id, 8080, 30s)).error().code() == Errc::unavailable);
  CHECK(std::chrono::steady_clock::now() - began < 10s);
  value_of(f.run(f.runner().remove(brief.id)));
  CHECK(f.leftovers().empty());
}

TEST_CASE("a spare that is stopped before it began leaves no log; one that began keeps it") {
  RunnerFixture f;
  RunnerLauncher launcher(f.loop().get_executor(), f.runner(), (f.folder() / "front-logs").string());
  auto spec = f.spec({"/bin/sh", "-c", "echo here"});
  spec.id = {};
  const auto unused = value_of(f.run(launcher.prepare(spec, "default/hello-00001")));
  CHECK(launcher.logs("default/hello-00001").empty());
  f.run(unused->stop(0ms));
  CHECK(launcher.logs("default/hello-00001").empty());
  const auto used = value_of(f.run(launcher.prepare(spec, "default/hello-00001")));
  value_of(f.run(used->start()));
  f.run(used->wait_exit());
  CHECK(launcher.logs("default/hello-00001").size() == 1);
  CHECK(used->log_tail(1) == std::vector<std::string>{"here"});
  f.run(used->stop(0ms));
  f.run(launcher.stop());
  CHECK(f.leftovers().empty());
}
