#include "wick/os/child_process.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <cstring>

extern "C" {
#include <sys/pidfd.h>  // glibc 2.36 forgot the linkage
}

extern char** environ;

namespace wick {

namespace {

struct Actions {
  posix_spawn_file_actions_t raw;
  Actions() { posix_spawn_file_actions_init(&raw); }
  Actions(const Actions&) = delete;
  ~Actions() { posix_spawn_file_actions_destroy(&raw); }
};

struct Attributes {
  posix_spawnattr_t raw;
  Attributes() { posix_spawnattr_init(&raw); }
  Attributes(const Attributes&) = delete;
  ~Attributes() { posix_spawnattr_destroy(&raw); }
};

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (const auto& text : texts) out.push_back(const_cast<char*>(text.c_str()));
  out.push_back(nullptr);
  return out;
}

ExitStatus status_of(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return {.code = info.si_status};
  return {.code = 128 + info.si_status, .signal = info.si_status};
}

}  // namespace

std::string ExitStatus::text() const {
  if (signal == 0) return fmt::format("exit {}", code);
  return fmt::format("signal {} ({})", signal, sigdescr_np(signal) ? sigdescr_np(signal) : "unknown");
}

Result<std::pair<Fd, Fd>> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail(system_error("pipe", errno));
  return std::pair(Fd(ends[0]), Fd(ends[1]));
}

Result<ChildProcess> ChildProcess::spawn(Executor executor, const ProcessOptions& options) {
  Actions actions;
  // Every source is first moved above all targets, so that no dup2 overwrites a source still to come.
  int next = 100;
  for (const auto& [ours, theirs] : options.extra_fds) next = std::max({next, ours + 1, theirs + 1});
  next = std::max({next, options.stdin_fd + 1, options.stdout_fd + 1, options.stderr_fd + 1});
  int highest = 2;
  std::vector<std::pair<int, int>> wanted{{options.stdin_fd, 0}, {options.stdout_fd, 1}, {options.stderr_fd, 2}};
  wanted.insert(wanted.end(), options.extra_fds.begin(), options.extra_fds.end());
  std::vector<std::pair<int, int>> lifted;
  for (const auto& [ours, theirs] : wanted) {
    if (ours < 0) continue;
    posix_spawn_file_actions_adddup2(&actions.raw, ours, next);
    lifted.emplace_back(next++, theirs);
  }
  for (int standard = 0; standard <= 2; ++standard)
    posix_spawn_file_actions_addopen(&actions.raw, standard, "/dev/null", standard == 0 ? O_RDONLY : O_WRONLY, 0);
  // The targets between 3 and the highest one may be descriptors of ours: close them before they are filled.
  for (const auto& [from, to] : lifted) {
    posix_spawn_file_actions_adddup2(&actions.raw, from, to);
    highest = std::max(highest, to);
  }
  for (int fd = 3; fd <= highest; ++fd) {
    bool target = false;
    for (const auto& pair : lifted) target = target || pair.second == fd;
    if (!target) posix_spawn_file_actions_addclose(&actions.raw, fd);
  }
  posix_spawn_file_actions_addclosefrom_np(&actions.raw, highest + 1);
  if (!options.working_folder.empty())
    posix_spawn_file_actions_addchdir_np(&actions.raw, options.working_folder.c_str());

  Attributes attributes;
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes.raw, &none);
  posix_spawnattr_setsigdefault(&attributes.raw, &all);
  posix_spawnattr_setpgroup(&attributes.raw, 0);
  posix_spawnattr_setflags(&attributes.raw, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);

  auto argv = pointers(options.argv);
  std::vector<char*> env;
  if (options.environment) env = pointers(*options.environment);
  pid_t pid = -1;
  const int error = ::posix_spawnp(&pid, argv[0], &actions.raw, &attributes.raw, argv.data(),
                                   options.environment ? env.data() : environ);
  if (error != 0) return fail(wick::system_error("start " + options.argv[0], error));
  const int pidfd = ::pidfd_open(pid, 0);
  if (pidfd < 0) {
    const int why = errno;
    ::kill(-pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return fail(wick::system_error("pidfd_open", why));
  }
  ::fcntl(pidfd, F_SETFD, FD_CLOEXEC);
  asio::posix::stream_descriptor watched(executor, pidfd);
  return ChildProcess(pid, std::move(watched));
}

ChildProcess::~ChildProcess() {
  if (!pidfd_.is_open() || reaped_) return;
  ::kill(-pid_, SIGKILL);
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

awaitable<ExitStatus> ChildProcess::wait() {
  siginfo_t info{};
  // A pidfd can wake its waiter early (a program of several threads that execs), so the wake-up is a reason to look, no
  // more.
  while (info.si_pid == 0) {
    co_await pidfd_.async_wait(asio::posix::stream_descriptor::wait_read, use_awaitable);
    if (::waitid(P_PIDFD, static_cast<id_t>(pidfd_.native_handle()), &info, WEXITED | WNOHANG) < 0 && errno != EINTR)
      throw boost::system::system_error(errno, boost::system::system_category(), "waitid");
  }
  reaped_ = true;
  co_return status_of(info);
}

void ChildProcess::signal(int number) {
  if (!reaped_) ::kill(-pid_, number);
}

awaitable<Result<Finished>> run_process(ProcessOptions options, std::size_t output_bytes_max) {
  auto executor = co_await asio::this_coro::executor;
  auto pipe = make_pipe();
  if (!pipe) co_return fail(std::move(pipe.error()));
  options.stdout_fd = options.stderr_fd = pipe->second.get();
  auto child = ChildProcess::spawn(executor, options);
  if (!child) co_return fail(std::move(child.error()));
  pipe->second.reset();
  asio::posix::stream_descriptor reader(executor, pipe->first.release());
  Finished finished;
  std::array<char, 16384> chunk;
  while (true) {
    auto got = co_await reader.async_read_some(asio::buffer(chunk), asio::as_tuple(use_awaitable));
    auto& [error, bytes] = got;
    finished.output.append(chunk.data(), bytes);
    if (finished.output.size() > 2 * output_bytes_max)
      finished.output.erase(0, finished.output.size() - output_bytes_max);
    if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
    if (error) break;
  }
  if (finished.output.size() > output_bytes_max) finished.output.erase(0, finished.output.size() - output_bytes_max);
  finished.status = co_await child->wait();
  co_return finished;
}

}  // namespace wick
