#include "commands.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstring>
#include <map>
#include <set>

#include "process_facts.hpp"
#include "protocol.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/deadline.hpp"
#include "wick/os/rights.hpp"
#include "wick/os/together.hpp"

namespace wick::container {

namespace fs = std::filesystem;
using asio::posix::stream_descriptor;

namespace {

constexpr auto terminal_limit = 5s;  // from the runtime's end to the terminal's being here: it is sent before
constexpr int kill_rounds_max = 8;   // a command that forks while it is killed
constexpr std::string_view folder_prefix = "command-";
constexpr const char* pid_file = "pid";
constexpr const char* console_name = "tty";

struct Pipe {
  Fd read;
  Fd write;
};

/// A pipe that a process of that user may open again by its /dev/fd.
Result<Pipe> make_pipe_of(std::uint32_t uid, std::uint32_t gid) {
  auto ends = make_pipe();
  if (!ends) return fail(std::move(ends.error()));
  if (::fchown(ends->first.get(), uid, gid) != 0) return fail(system_error("give a pipe away", errno));
  return Pipe{.read = std::move(ends->first), .write = std::move(ends->second)};
}

/// Where the runtime sends the master of a terminal that it made inside a container.
struct Console {
  Fd folder;
  Fd listener;
  std::string path;
};

Result<Console> listen_for_terminal(const fs::path& folder) {
  Console console;
  auto opened = open_file(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (!opened) return fail(std::move(opened.error()));
  console.folder = std::move(*opened);
  // Through /proc, because a socket's path has at most 107 bytes.
  console.path = fmt::format("/proc/{}/fd/{}/{}", ::getpid(), console.folder.get(), console_name);
  console.listener = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  if (console.path.size() >= sizeof address.sun_path) return fail(Errc::internal, "the path of a socket is too long");
  std::memcpy(address.sun_path, console.path.data(), console.path.size());
  if (::bind(console.listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(console.listener.get(), 1) != 0)
    return fail(system_error("listen for a terminal", errno));
  return console;
}

awaitable<void> wait_readable(stream_descriptor& descriptor) {
  auto waited = co_await descriptor.async_wait(stream_descriptor::wait_read, asio::as_tuple(use_awaitable));
  (void)waited;
}

awaitable<Result<Fd>> receive_descriptor(Executor executor, Fd listener) {
  stream_descriptor waiting(executor, listener.release());
  co_await wait_readable(waiting);
  Fd connected(::accept4(waiting.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!connected) co_return fail(system_error("accept the runtime", errno));
  stream_descriptor sender(executor, connected.release());
  co_await wait_readable(sender);
  auto packet = receive_rights(sender.native_handle());
  if (!packet) co_return fail(system_error("receive a terminal", errno));
  if (!*packet || (*packet)->fds.size() != 1) co_return fail(Errc::io, "the runtime sent no terminal");
  co_return std::move((*packet)->fds.front());
}

awaitable<Result<Fd>> receive_terminal(Executor executor, Fd listener) {
  SteadyClock clock;
  try {
    auto receiving = receive_descriptor(executor, std::move(listener));
    co_return co_await with_deadline(clock, terminal_limit, std::move(receiving));
  } catch (const DeadlineExceeded&) {
    co_return fail(Errc::timed_out, "the runtime sent no terminal");
  }
}

}  // namespace

struct Commands::Running {
  Running(Commands& commands, const InstanceId& id, TemporaryFolder folder)
      : commands(commands), id(id), folder(std::move(folder)) {
    ++commands.count_;
  }
  Running(const Running&) = delete;
  ~Running() {
    if (pid > 0 && !ended) {
      commands.kill_session(id, pid);
      (void)end_of(pidfd);
    }
    --commands.count_;
  }

  Commands& commands;
  InstanceId id;
  TemporaryFolder folder;  // tells the next runner of it
  pid_t pid = 0;
  Fd pidfd;
  Fd leash;
  bool ended = false;
};

awaitable<Result<BegunCommand>> Commands::begin(CommandPlace place, const RuntimeCommand& runtime,
                                                const Process& process, std::string process_json,
                                                CommandOptions options) {
  if (count_ >= static_cast<int>(commands_max))
    co_return fail(Errc::overloaded,
                   fmt::format("{} commands run inside instances, more are not allowed", commands_max));
  auto folder = TemporaryFolder::make(place.folder, folder_prefix);
  if (!folder) co_return fail(std::move(folder.error()));
  auto running = std::make_unique<Running>(*this, place.id, std::move(*folder));
  const auto& path = running->folder.path();
  auto written = write_file(path / "process.json", process_json, 0600);
  if (!written) co_return fail(std::move(written.error()));

  BegunCommand begun;
  ExecStreams streams;
  Pipe in, out, err;
  Console console;
  if (options.terminal) {
    auto listening = listen_for_terminal(path);
    if (!listening) co_return fail(std::move(listening.error()));
    console = std::move(*listening);
    streams.console = console.path;
  } else {
    for (auto* pipe : {options.input ? &in : nullptr, &out, &err}) {
      if (!pipe) continue;
      auto made = make_pipe_of(place.uid, place.gid);
      if (!made) co_return fail(std::move(made.error()));
      *pipe = std::move(*made);
    }
    streams = {.in = in.read ? in.read.get() : -1, .out = out.write.get(), .err = err.write.get(), .console = {}};
  }
  auto pid = co_await runtime.begin_exec(place.id, path, process, place.network, streams);
  if (!pid) co_return fail(std::move(pid.error()));
  running->pid = *pid;
  auto pidfd = open_pidfd(*pid);
  if (!pidfd) co_return fail(std::move(pidfd.error()));
  running->pidfd = std::move(*pidfd);
  if (options.terminal) {
    auto terminal = co_await receive_terminal(executor_, std::move(console.listener));
    if (!terminal) co_return fail(std::move(terminal.error()));
    begun.terminal = std::move(*terminal);
  }
  auto leash = Seqpacket::pair();
  if (!leash) co_return fail(std::move(leash.error()));
  running->leash = std::move(leash->first);
  begun.leash = std::move(leash->second);
  begun.in = std::move(in.write);
  begun.out = std::move(out.read);
  begun.err = std::move(err.read);
  tasks_.spawn("command in " + std::string(place.id.text()), watch(std::move(running)));
  co_return begun;
}

namespace {

awaitable<void> wait_end_of(stream_descriptor& pidfd, const Fd& same) {
  // It also wakes at an exec(2) of a thread that is not the first: look before believing it.
  do co_await wait_readable(pidfd);
  while (!has_ended(same));
}

awaitable<void> wait_let_go(Seqpacket& leash) {
  auto packet = co_await leash.receive();  // nothing is ever sent to us: it is the end, or as good as that
  (void)packet;
}

}  // namespace

awaitable<void> Commands::watch(std::unique_ptr<Running> running) {
  Seqpacket leash(executor_, std::move(running->leash));
  stream_descriptor pidfd(executor_, running->pidfd.duplicate().release());
  auto ending = keep_value(wait_end_of(pidfd, running->pidfd), true);
  auto letting_go = keep_value(wait_let_go(leash), true);
  const auto end = co_await run_together(std::move(ending), std::move(letting_go));
  const bool let_go = end.second_ended_first;
  if (let_go) {
    kill_session(running->id, running->pid);
    co_await wait_end_of(pidfd, running->pidfd);
  }
  const auto status = end_of(running->pidfd).value_or(ExitStatus{.code = 255});
  running->ended = true;
  log::info("command ended", {{"instance", running->id.text()}, {"status", status.text()}, {"killed", let_go ? 1 : 0}});
  if (let_go) co_return;
  const protocol::ExecutedBody body{.code = status.code, .signal = status.signal};
  const std::string bytes(protocol::bytes_of(body));
  auto told = co_await leash.send(bytes);
  if (!told && told.error().code() != Errc::unavailable)
    log::warn("cannot tell how a command ended", {{"error", told.error().what()}});
}

/// The runtime gives a command a session of its own. Killed is who is in it, and who descends from it: also a child
/// that left the session, as long as its parent lives.
void Commands::kill_session(const InstanceId& id, pid_t leader) const {
  for (int round = 0; round < kill_rounds_max; ++round) {
    std::map<pid_t, ProcessStat> processes;
    for (const auto pid : cgroups_.processes(id))
      if (auto stat = stat_of(pid); stat && stat->state != 'Z') processes.emplace(pid, std::move(*stat));
    std::set<pid_t> ours;
    const auto belongs = [&](pid_t pid, const ProcessStat& stat) {
      return pid == leader || stat.session == leader || ours.contains(stat.parent);
    };
    for (bool grew = true; grew;) {
      grew = false;
      for (const auto& [pid, stat] : processes)
        if (belongs(pid, stat) && ours.insert(pid).second) grew = true;
    }
    if (ours.empty()) return;
    for (const auto pid : ours) {
      auto pidfd = open_pidfd(pid);
      const auto again = stat_of(pid);  // the number may have been given to another process
      if (pidfd && again && again->start_time == processes.at(pid).start_time) (void)signal_pidfd(*pidfd, SIGKILL);
    }
  }
}

void Commands::end_strays(const CommandPlace& place) const {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(place.folder, error)) {
    if (!entry.path().filename().string().starts_with(folder_prefix)) continue;
    const auto text = read_file(entry.path() / pid_file, 64);
    const auto pid = text ? parse_unsigned(trim(*text)) : std::nullopt;
    if (pid && *pid > 1) kill_session(place.id, static_cast<pid_t>(*pid));
    (void)remove_tree(entry.path());
  }
}

}  // namespace wick::container
