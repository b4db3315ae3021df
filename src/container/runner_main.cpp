// The runner as a process.
#include <fmt/format.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/signal_set.hpp>
#include <cstring>

#include "wick/base/log.hpp"
#include "wick/container/runner_process.hpp"
#include "wick/os/seqpacket.hpp"
#include "wick/os/task_group.hpp"

namespace wick::container {

namespace {

bool is_ready(int result, const char* what) {
  if (result == 0) return true;
  log::error("runner cannot start", {{"step", what}, {"error", std::strerror(errno)}});
  return false;
}

/// Mounts made here are seen by nobody else and end with us; the host's mounts still reach us.
bool make_private_mounts() {
  return is_ready(::unshare(CLONE_NEWNS), "unshare mounts") &&
         is_ready(::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr), "make mounts slave");
}

bool is_allowed(asio::io_context& loop, const Fd& socket, uid_t front) {
  const Seqpacket peek(loop.get_executor(), socket.duplicate());
  auto uid = peek.peer_uid();
  if (uid && (*uid == 0 || *uid == front)) return true;
  log::error("runner refuses the front", {{"uid", uid ? static_cast<std::int64_t>(*uid) : -1}, {"expected", front}});
  return false;
}

int work(Fd socket, RunnerOptions options) {
  asio::io_context loop(1);
  if (!is_allowed(loop, socket, options.front_uid)) return 1;
  if (!make_private_mounts()) return 1;
  // Instances become our children when the runtime's command ends, so that their exit status is ours to read.
  if (!is_ready(::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "become a subreaper")) return 1;
  ::signal(SIGPIPE, SIG_IGN);

  int code = 0;
  asio::cancellation_signal stop;
  asio::signal_set signals(loop, SIGTERM, SIGINT);
  signals.async_wait([&](const boost::system::error_code& error, int) {
    if (!error) stop.emit(asio::cancellation_type::all);
  });
  auto served = serve_runner(loop.get_executor(), std::move(socket), std::move(options));
  const auto done = [&](const std::exception_ptr& error) {
    signals.cancel();
    if (!error || is_cancellation(error)) return;
    code = 1;
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& e) {
      log::error("runner stops", {{"error", e.what()}});
    }
  };
  asio::co_spawn(loop, std::move(served), asio::bind_cancellation_slot(stop.slot(), done));
  loop.run();
  return code;
}

constexpr int lives_max = 1000;                     // then something is wrong that a new one does not mend
constexpr auto life_min = std::chrono::seconds(1);  // one that dies sooner is not replaced at once

pid_t worker = 0;
void pass_on(int number) {
  if (worker > 0) ::kill(worker, number);
}

}  // namespace

int runner_main(Fd socket, RunnerOptions options) {
  // This process only waits: it holds the socket, so that the front does not see an end when a worker dies of a signal.
  // The worker sees the front's end as ever, and ends; then so do we.
  struct sigaction action{};
  action.sa_handler = pass_on;
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  const pid_t guard = ::getpid();
  for (int life = 0; life < lives_max; ++life) {
    const auto began = std::chrono::steady_clock::now();
    worker = ::fork();
    if (worker < 0) {
      log::error("runner cannot fork", {{"error", std::strerror(errno)}});
      return 1;
    }
    if (worker == 0) {
      ::signal(SIGTERM, SIG_DFL);
      ::signal(SIGINT, SIG_DFL);
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // whoever kills us means both
      if (::getppid() != guard) ::_exit(1);
      ::_exit(work(std::move(socket), std::move(options)));
    }
    int status = 0;
    while (::waitpid(worker, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    log::error("the runner died", {{"signal", WTERMSIG(status)}, {"life", life}});
    options.replaces_dead = true;
    if (std::chrono::steady_clock::now() - began < life_min) ::usleep(50'000);
  }
  return 1;
}

}  // namespace wick::container
