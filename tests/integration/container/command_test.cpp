// Commands inside an instance that somebody talks with: their streams, their terminal, their end.
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "runner_fixture.hpp"

using namespace wick;
using namespace wick::container;
using namespace wick::container::testing;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

/// What comes until `until` was seen, the other end closes or nothing comes for ten seconds.
std::string read_until(const Fd& fd, std::string_view until = {}) {
  std::string text;
  char buffer[4096];
  while (until.empty() || text.find(until) == text.npos) {
    pollfd ready{.fd = fd.get(), .events = POLLIN, .revents = 0};
    if (::poll(&ready, 1, 10'000) != 1) return text + "[nothing more came]";
    const auto got = ::read(fd.get(), buffer, sizeof buffer);
    if (got <= 0) break;
    text.append(buffer, static_cast<std::size_t>(got));
  }
  return text;
}

struct CommandFixture : RunnerFixture {
  InstanceSpec instance = spec({"/bin/sleep", "600"});
  Prepared prepared = launch(instance);

  Result<Command> begin(std::vector<std::string> argv, CommandOptions options = {}) {
    auto process = instance.process;
    process.argv = std::move(argv);
    return run(runner().begin_command(instance.id, process, options));
  }
  ExitStatus end_of(Command& command) { return value_of(run(command.leash->wait_end())); }
  std::string output_of(std::vector<std::string> argv) {
    auto process = instance.process;
    process.argv = std::move(argv);
    return value_of(run(runner().execute(instance.id, process, 20s))).output;
  }
  bool until_gone(std::string_view command_line) {
    for (int i = 0; i < 100; ++i)
      if (output_of({"/bin/busybox", "ps"}).find(command_line) == std::string::npos) return true;
    return false;
  }
  ~CommandFixture() { value_of(run(runner().remove(instance.id))); }
};

}  // namespace

TEST_CASE("a command's output comes by two pipes and its exit code by the leash") {
  CommandFixture f;
  auto command = value_of(f.begin({"/bin/sh", "-c", "id -u; echo wrong >&2; echo again >/dev/stdout; exit 7"}));
  CHECK_FALSE(command.in);
  CHECK_FALSE(command.terminal);
  CHECK(read_until(command.out) == std::to_string(f.instance.process.uid) + "\nagain\n");
  CHECK(read_until(command.err) == "wrong\n");
  const auto status = f.end_of(command);
  CHECK(status.code == 7);
  CHECK(status.signal == 0);
}

TEST_CASE("a command reads what is written to it, to the end") {
  CommandFixture f;
  auto command = value_of(f.begin({"/bin/busybox", "wc", "-c"}, {.input = true}));
  value_of(write_all(command.in.get(), std::string(50'000, 'x')));
  command.in.reset();
  CHECK_THAT(read_until(command.out), Contains("50000"));
  CHECK(f.end_of(command).ok());
}

TEST_CASE("a command's terminal is one of the instance and knows its size") {
  CommandFixture f;
  auto command = value_of(f.begin({"/bin/sh"}, {.terminal = true, .input = true}));
  REQUIRE(command.terminal);
  const winsize size{.ws_row = 33, .ws_col = 77, .ws_xpixel = 0, .ws_ypixel = 0};
  CHECK(::ioctl(command.terminal.get(), TIOCSWINSZ, &size) == 0);
  value_of(write_all(command.terminal.get(), "tty; stty size; echo he''llo; exit 3\n"));
  const auto shown = read_until(command.terminal);
  CHECK_THAT(shown, Contains("/dev/pts/") && Contains("33 77") && Contains("hello"));
  CHECK(f.end_of(command).code == 3);
}

TEST_CASE("a command and its children die when nobody holds it any more") {
  CommandFixture f;
  const bool terminal = GENERATE(false, true);
  auto command = value_of(
      f.begin({"/bin/sh", "-c", "sleep 77 & setsid sleep 78 & trap '' HUP TERM; echo up; while true; do sleep 1; done"},
              {.terminal = terminal}));
  CHECK_THAT(read_until(terminal ? command.terminal : command.out, "up"), Contains("up"));
  CHECK_THAT(f.output_of({"/bin/busybox", "ps"}), Contains("sleep 77") && Contains("sleep 78"));
  command = {};
  CHECK(f.until_gone("sleep 77"));
  CHECK(f.until_gone("sleep 78"));
  CHECK(f.until_gone("while true"));
}

TEST_CASE("what a command leaves behind goes on") {
  CommandFixture f;
  auto command = value_of(f.begin({"/bin/sh", "-c", "sleep 79 >/dev/null 2>&1 & echo left"}));
  CHECK(read_until(command.out) == "left\n");
  CHECK(f.end_of(command).ok());
  command = {};
  CHECK_THAT(f.output_of({"/bin/busybox", "ps"}), Contains("sleep 79"));
}

TEST_CASE("a command ends with its instance") {
  CommandFixture f;
  auto command = value_of(f.begin({"/bin/sleep", "80"}));
  value_of(f.run(f.runner().remove(f.instance.id)));
  CHECK(f.end_of(command).signal == SIGKILL);
}

TEST_CASE("a command that cannot begin says why") {
  CommandFixture f;
  CHECK(f.begin({"/bin/none"}).error().what() == "the command '/bin/none' is not in the image");
  CHECK(f.begin({"/bin/none"}, {.terminal = true}).error().code() == Errc::not_found);
  auto root = f.instance.process;
  root.uid = 0;
  CHECK(f.run(f.runner().begin_command(f.instance.id, root, {})).error().code() == Errc::denied);
  value_of(f.run(f.runner().freeze(f.instance.id)));
  CHECK(f.begin({"/bin/true"}).error().code() == Errc::conflict);
  value_of(f.run(f.runner().thaw(f.instance.id)));
  CHECK(value_of(f.begin({"/bin/true"})).out);
}

TEST_CASE("so many commands run at once, and probes beside them") {
  CommandFixture f;
  std::vector<Command> commands;
  for (std::size_t i = 0; i < commands_max; ++i) commands.push_back(value_of(f.begin({"/bin/sleep", "81"})));
  CHECK(f.begin({"/bin/true"}).error().code() == Errc::overloaded);
  CHECK(f.output_of({"/bin/echo", "probed"}) == "probed\n");
  commands.clear();
  CHECK(f.until_gone("sleep 81"));
  CHECK(f.begin({"/bin/true"}));
}

TEST_CASE("a command does not outlive its runner") {
  CommandFixture f;
  auto command = value_of(f.begin({"/bin/sleep", "82"}));
  f.restart_runner();
  CHECK(f.run(command.leash->wait_end()).error().code() == Errc::io);
  CHECK(f.until_gone("sleep 82"));
}
