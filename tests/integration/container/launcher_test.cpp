// The launcher over a real runner: logs, ends, adoption.
#include <signal.h>
#include <unistd.h>

#include "front_fixture.hpp"

using namespace wick;
using namespace wick::container;
using namespace wick::container::testing;
using namespace std::chrono_literals;

TEST_CASE("a launched instance logs, ends, and is given back by itself") {
  RunnerFixture f;
  Front front(f);
  const auto instance = front.launch(f.spec({"/bin/sh", "-c", "echo one; echo two >&2; exit 3"}));
  const Exit exit = f.run(instance->wait_exit());
  CHECK(exit.status.code == 3);
  CHECK(instance->ended());
  CHECK(instance->log_tail(1) == std::vector<std::string>{"two"});
  f.run(instance->stop(0ms));  // waits until everything is given back
  CHECK(f.leftovers().empty());
  const auto logs = front.launcher.logs("default/hello-00001");
  REQUIRE(logs.size() == 1);
  CHECK_FALSE(logs[0].running);
  CHECK(value_of(read_file(logs[0].path)) == "one\ntwo\n");
  CHECK(f.run(instance->connect(80)).error().code() == Errc::unavailable);
}

TEST_CASE("stop asks first and kills after the grace") {
  RunnerFixture f;
  Front front(f);
  const auto polite = front.launch(
      f.spec({"/bin/sh", "-c", "trap 'echo bye; exit 0' TERM; echo ready; while true; do sleep 0.01; done"}));
  while (polite->log_tail(1).empty()) ::usleep(1000);
  f.run(polite->stop(10s));
  CHECK(f.run(polite->wait_exit()).status.ok());
  CHECK(polite->log_tail(1) == std::vector<std::string>{"bye"});
  const auto deaf = front.launch(f.spec({"/bin/sh", "-c", "trap '' TERM; while true; do sleep 0.01; done"}));
  f.run(deaf->stop(50ms));
  CHECK(f.run(deaf->wait_exit()).status.signal == SIGKILL);
  f.run(deaf->stop(50ms));
  CHECK(f.leftovers().empty());
}

TEST_CASE("a frozen instance that thaws is told to the runner too: it freezes and thaws again") {
  RunnerFixture f;
  Front front(f);
  const auto instance = front.launch(f.spec({"/bin/httpd", "-f", "-p", "8080", "-h", "/www"}));
  REQUIRE(f.run(instance->await_listening(8080, 5s)));
  for (int i = 0; i < 3; ++i) {
    value_of(f.run(instance->freeze()));
    value_of(f.run(instance->thaw()));
    CHECK(f.run(instance->connect(8080)));
  }
  CHECK_FALSE(instance->ended());
  f.run(instance->stop(1ms));
  CHECK(f.leftovers().empty());
}

TEST_CASE("a launch that fails says why and leaves only its log") {
  RunnerFixture f;
  Front front(f);
  auto failed = f.run(front.launcher.launch(f.spec({"/nope"}), "default/hello-00001"));
  REQUIRE_FALSE(failed);
  CHECK(failed.error().what() == "the command '/nope' is not in the image");
  CHECK(front.launcher.logs("default/hello-00001").size() == 1);
  CHECK(f.leftovers().empty());
}

TEST_CASE("front and runner both die; the next ones take over what has a record") {
  RunnerFixture f;
  InstanceId kept;
  pid_t pid = 0;
  {
    Front front(f);
    const auto instance = front.launch(f.spec({"/bin/httpd", "-f", "-p", "8080", "-h", "/www"}));
    kept = instance->id();
    pid = instance->pid();
  }
  const auto unknown = f.spec({"/bin/sleep", "1000"});
  f.launch(unknown);
  f.restart_runner();
  Front front(f);
  const auto adopted = value_of(f.run(front.launcher.adopt()));
  REQUIRE(adopted.size() == 1);
  CHECK(adopted[0].owner == "default/hello-00001");
  CHECK(adopted[0].id_range == 1);
  CHECK(adopted[0].instance->id() == kept);
  CHECK(adopted[0].instance->pid() == pid);
  CHECK(f.run(adopted[0].instance->connect(8080)));
  f.run(adopted[0].instance->stop(1ms));
  CHECK(adopted[0].instance->ended());
  CHECK(f.wait_exit(unknown.id).status.signal == SIGKILL);  // nobody has a record of it
}

TEST_CASE("what the launcher before told to end is not taken over, but seen to its end") {
  RunnerFixture f;
  InstanceId told;
  {
    Front front(f);
    const auto slow = front.launch(f.spec(
        {"/bin/sh", "-c", "trap 'until test -e /tmp/end; do :; done; exit 7' TERM; while :; do sleep 0.01; done"}));
    told = slow->id();
    value_of(f.run(f.runner().signal(told, SIGTERM)));
  }
  const bool with_its_runner = GENERATE(false, true);
  if (with_its_runner) f.hand_over_runner();
  Front front(f);
  CHECK(value_of(f.run(front.launcher.adopt())).empty());
  const auto existing = value_of(f.run(f.runner().list()));
  REQUIRE(existing.size() == 1);
  CHECK(existing[0].state == Existing::State::ending);
  auto process = f.spec({"/bin/touch", "/tmp/end"}).process;
  CHECK(value_of(f.run(f.runner().execute(told, process, 10s))).status.ok());
  f.wait_exit(told);
  CHECK(front.launcher.logs("default/hello-00001").size() == 1);
}

TEST_CASE("a launcher that goes does not wait for what takes its time to end: the next one does") {
  RunnerFixture f;
  InstanceId deaf;
  {
    Front front(f);
    const auto instance = front.launch(f.spec({"/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.01; done"}));
    deaf = instance->id();
    TaskGroup stopping(f.loop().get_executor());
    stopping.spawn("stop", instance->stop(1h));
    f.run(front.launcher.stop());
    f.run(stopping.join());
    CHECK(instance->ended());
  }
  Front front(f);
  CHECK(value_of(f.run(front.launcher.adopt())).empty());
  const auto existing = value_of(f.run(f.runner().list()));
  REQUIRE(existing.size() == 1);
  CHECK(existing[0].id == deaf);
  CHECK(existing[0].state == Existing::State::ending);
}
