// An instance's life, through a real runner and a real runc.
#include <signal.h>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runner_fixture.hpp"

using namespace wick;
using namespace wick::container;
using namespace wick::container::testing;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

/// Asks for "/" on a socket that may still be connecting.
std::string ask(const Fd& socket) {
  pollfd ready{.fd = socket.get(), .events = POLLOUT, .revents = 0};
  ::poll(&ready, 1, 5000);
  const std::string request = "GET /index.html HTTP/1.0\r\n\r\n";
  if (::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) return "send failed";
  std::string answer(4096, '\0');
  std::size_t used = 0;
  while (used < answer.size()) {
    ready.events = POLLIN;
    if (::poll(&ready, 1, 5000) != 1) break;
    const auto got = ::recv(socket.get(), answer.data() + used, answer.size() - used, 0);
    if (got <= 0) break;
    used += static_cast<std::size_t>(got);
  }
  answer.resize(used);
  return answer;
}

/// Connects as soon as somebody listens.
Fd connect_when_ready(RunnerFixture& f, const InstanceId& id, std::uint16_t port) {
  for (int tries = 0; tries < 5000; ++tries) {
    auto socket = f.run(f.runner().connect(id, port, 1));
    if (socket) return std::move(socket->front());
    REQUIRE(socket.error().code() == Errc::unavailable);
    ::usleep(1000);
  }
  FAIL("nobody listens");
  return Fd();
}

}  // namespace

TEST_CASE("an instance runs, answers on its port, and is gone after remove") {
  RunnerFixture f;
  const auto spec = f.spec({"/bin/httpd", "-f", "-p", "127.0.0.1:8080", "-h", "/www"});
  const auto prepared = value_of(f.run(f.runner().prepare(spec, f.open_log(spec.id))));
  CHECK(prepared.pid > 1);

  auto early = f.run(f.runner().connect(spec.id, 8080, 1));
  REQUIRE_FALSE(early);
  CHECK(early.error().code() == Errc::unavailable);
  auto listed = value_of(f.run(f.runner().list()));
  REQUIRE(listed.size() == 1);
  CHECK(listed[0].state == Existing::State::prepared);

  value_of(f.run(f.runner().start(spec.id)));
  const Fd socket = connect_when_ready(f, spec.id, 8080);
  CHECK_THAT(ask(socket), Contains("hello from inside"));
  const auto sockets = value_of(f.run(f.runner().connect(spec.id, 8080, 3)));
  CHECK(sockets.size() == 3);
  for (const auto& one : sockets) CHECK_THAT(ask(one), Contains("hello from inside"));
  const auto listening = value_of(f.run(f.runner().listening(spec.id)));
  REQUIRE(listening.size() == 1);
  CHECK(listening[0].port == 8080);
  CHECK(listening[0].address == "127.0.0.1");
  const auto usage = value_of(f.run(f.runner().usage(spec.id)));
  CHECK(usage.memory_bytes > 0);
  CHECK(usage.memory_limit_bytes == 64 << 20);
  CHECK(usage.pids >= 1);

  value_of(f.run(f.runner().remove(spec.id)));
  CHECK(f.wait_exit(spec.id).status.signal == SIGKILL);
  CHECK(f.leftovers().empty());
  CHECK(f.run(f.runner().start(spec.id)).error().code() == Errc::not_found);
}

TEST_CASE("a command inside a running instance is its user, sees its root, and is killed at its limit") {
  RunnerFixture f;
  const auto spec = f.spec({"/bin/sleep", "60"});
  value_of(f.run(f.runner().prepare(spec, f.open_log(spec.id))));
  const auto execute = [&](std::vector<std::string> argv, std::chrono::milliseconds limit = 20s) {
    auto process = spec.process;
    process.argv = std::move(argv);
    return f.run(f.runner().execute(spec.id, process, limit));
  };
  CHECK(execute({"/bin/true"}).error().code() == Errc::conflict);
  value_of(f.run(f.runner().start(spec.id)));

  const auto told = value_of(execute({"/bin/sh", "-c", "grep -E 'NoNewPrivs|Seccomp:' /proc/self/status; exit 7"}));
  CHECK(told.status.code == 7);
  CHECK_THAT(told.output, Contains("NoNewPrivs:\t1") && Contains("Seccomp:\t2"));
  CHECK_THAT(value_of(execute({"/bin/sh", "-c", "id -u; grep CapBnd /proc/self/status"})).output,
             Contains(std::to_string(spec.process.uid)) && Contains("CapBnd:\t0000000000000000"));
  CHECK(value_of(execute({"/bin/true"})).status.ok());
  const auto missing = execute({"/bin/none"});
  REQUIRE_FALSE(missing);
  CHECK(missing.error().what() == "the command '/bin/none' is not in the image");

  const auto late = execute({"/bin/sleep", "77"}, 300ms);
  REQUIRE_FALSE(late);
  CHECK(late.error().code() == Errc::timed_out);
  CHECK_THAT(value_of(execute({"/bin/busybox", "ps"})).output, !Contains("sleep 77"));

  auto root = spec.process;
  root.argv = {"/bin/true"};
  root.uid = 0;
  CHECK(f.run(f.runner().execute(spec.id, root, 1s)).error().code() == Errc::denied);

  value_of(f.run(f.runner().freeze(spec.id)));
  CHECK(execute({"/bin/true"}).error().code() == Errc::conflict);
  value_of(f.run(f.runner().remove(spec.id)));
  CHECK(execute({"/bin/true"}).error().code() == Errc::not_found);
  f.wait_exit(spec.id);
  CHECK(f.leftovers().empty());
}
