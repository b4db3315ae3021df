// The runner dies, instances do not.
#include <signal.h>
#include <unistd.h>

#include <fstream>

#include "runner_fixture.hpp"

using namespace wick;
using namespace wick::container;
using namespace wick::container::testing;
using Catch::Matchers::Contains;

TEST_CASE("a new runner adopts what runs: same process, still reachable, its end still known") {
  RunnerFixture f;
  const auto server = f.spec({"/bin/sh", "-c", "httpd -p 8080 -h /www; while true; do echo tick; sleep 0.05; done"});
  const auto waiting = f.spec({"/bin/sleep", "1000"});
  const auto pid = f.launch(server).pid;
  value_of(f.run(f.runner().prepare(waiting, f.open_log(waiting.id))));

  ::kill(f.runner_pid(), SIGKILL);
  f.stop_runner();
  const auto before = f.log_of(server.id).size();
  ::usleep(300'000);
  CHECK(f.log_of(server.id).size() > before);  // nobody needs us to write a log

  f.start_runner();
  const auto listed = value_of(f.run(f.runner().list()));
  REQUIRE(listed.size() == 2);
  for (const auto& existing : listed) {
    if (existing.id == server.id) CHECK(existing.pid == pid);
    CHECK(existing.state == (existing.id == server.id ? Existing::State::running : Existing::State::prepared));
  }
  CHECK(f.run(f.runner().connect(server.id, 8080, 1)));
  CHECK(value_of(f.run(f.runner().usage(server.id))).pids >= 2);
  // What runs keeps its layer.
  CHECK(f.run(f.runner().remove_layer(f.busybox().front())).error().code() == Errc::conflict);

  value_of(f.run(f.runner().start(waiting.id)));  // prepared by one runner, started by the next
  value_of(f.run(f.runner().signal(server.id, SIGKILL)));
  const auto exit = f.wait_exit(server.id);
  CHECK(exit.known);
  CHECK(exit.status.signal == SIGKILL);
  value_of(f.run(f.runner().remove(server.id)));
  value_of(f.run(f.runner().remove(waiting.id)));
  CHECK(f.leftovers().empty());
}

TEST_CASE("what ended or was half-made while no runner was there is given back") {
  RunnerFixture f;
  const auto gone = f.spec({"/bin/sleep", "1000"});
  const auto pid = f.launch(gone).pid;
  f.stop_runner();
  ::kill(pid, SIGKILL);
  const auto half = InstanceId::random();
  value_of(make_folders(f.folder() / "run/instances" / half.text()));
  value_of(write_file(f.folder() / "run/instances" / half.text() / "record", "cut"));
  f.start_runner();
  CHECK(value_of(f.run(f.runner().list())).empty());
  CHECK(f.leftovers().empty());
}
