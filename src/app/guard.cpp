#include "app/guard.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>

#include "wick/base/log.hpp"
#include "wick/os/systemd.hpp"

namespace wick::app {

namespace {

constexpr unsigned trial_seconds = 10;

sigset_t guarded_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGUSR2, SIGCHLD}) sigaddset(&set, number);
  return set;
}

class Guard {
 public:
  Guard(GuardedFork forked, const std::string& program, std::vector<std::string> arguments,
        const std::vector<Listener>& listeners)
      : front_(forked.front),
        line_(std::move(forked.line)),
        program_(program),
        arguments_(std::move(arguments)),
        listeners_(listeners) {
    const auto set = guarded_signals();
    signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  }

  int run() {
    if (!signals_) {
      log::error("the front has no guard", {{"error", std::strerror(errno)}});
      ::kill(front_, SIGKILL);
      return 1;
    }
    while (!code_) {
      std::array<pollfd, 2> ready{pollfd{signals_.get(), POLLIN, 0}, pollfd{line_.get(), POLLIN, 0}};
      if (::poll(ready.data(), line_ ? 2 : 1, -1) < 0 && errno != EINTR) return 1;
      // What it said before it ended counts.
      if (line_ && ready[1].revents != 0) hear();
      if (ready[0].revents != 0) take_signals();
    }
    return *code_;
  }

 private:
  void hear() {
    std::array<char, 64> reports;
    const auto got = ::recv(line_.get(), reports.data(), reports.size(), MSG_DONTWAIT);
    if (got == 0) line_.reset();
    for (const char report : std::string_view(reports.data(), got > 0 ? static_cast<std::size_t>(got) : 0)) {
      if (report == 'r') notify_systemd("READY=1\nSTATUS=serving");
      if (report == 'w') notify_systemd("WATCHDOG=1");
      if (report == 's' && !upgrading_) notify_systemd("STOPPING=1");
      if (report == 'd') end(0);
    }
  }

  void take_signals() {
    signalfd_siginfo signal{};
    while (::read(signals_.get(), &signal, sizeof signal) == static_cast<ssize_t>(sizeof signal)) {
      if (signal.ssi_signo == SIGCHLD) {
        reap();
      } else if (signal.ssi_signo == SIGUSR2) {
        upgrade();
      } else {
        upgrading_ = false;
        ::kill(front_, static_cast<int>(signal.ssi_signo));
      }
    }
  }

  void reap() {
    int status = 0;
    pid_t child = 0;
    while ((child = ::waitpid(-1, &status, WNOHANG)) > 0) {
      if (child != front_) continue;  // one that was released in an earlier life, or a trial
      hear();
      if (!code_) end(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    }
  }

  void upgrade() {
    if (upgrading_) return;
    if (const auto why = what_is_wrong_with_program(); !why.empty()) {
      log::error("no upgrade: this process serves on", {{"program", program_}, {"because", why}});
      return;
    }
    log::info("upgrading", {{"program", program_}});
    upgrading_ = true;
    ::kill(front_, SIGUSR2);
  }

  /// Asked for its version, it shows whether it can be started at all.
  std::string what_is_wrong_with_program() const {
    const pid_t trial = ::fork();
    if (trial < 0) return std::strerror(errno);
    if (trial == 0) {
      const auto none = guarded_signals();
      ::sigprocmask(SIG_UNBLOCK, &none, nullptr);
      ::alarm(trial_seconds);
      const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
      for (const int fd : {0, 1, 2}) ::dup2(null, fd);
      ::execl(program_.c_str(), "wick", "serve", "--help", nullptr);
      ::_exit(127);
    }
    int status = 0;
    while (::waitpid(trial, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
    if (WIFEXITED(status)) return fmt::format("'serve --help' ends with {}", WEXITSTATUS(status));
    return fmt::format("'serve --help' ends with signal {}", WTERMSIG(status));
  }

  void end(int code) {
    if (upgrading_) become_program();
    code_ = upgrading_ ? 1 : code;
  }

  /// Returns only where that fails.
  void become_program() const {
    constexpr int first_fd = 3, out_of_the_way = 64;
    std::vector<int> kept;
    std::string names;
    for (const auto& listener : listeners_) {
      kept.push_back(::fcntl(listener.fd->get(), F_DUPFD_CLOEXEC, out_of_the_way));
      names += (names.empty() ? "" : ":") + listener.name;
    }
    for (std::size_t i = 0; i < kept.size(); ++i) ::dup2(kept[i], first_fd + static_cast<int>(i));
    ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
    ::setenv("LISTEN_FDS", std::to_string(kept.size()).c_str(), 1);
    ::setenv("LISTEN_FDNAMES", names.c_str(), 1);
    std::vector<char*> raw;
    for (const auto& argument : arguments_) raw.push_back(const_cast<char*>(argument.c_str()));
    raw.push_back(nullptr);
    const auto set = guarded_signals();
    ::sigprocmask(SIG_UNBLOCK, &set, nullptr);
    ::execv(program_.c_str(), raw.data());
    log::error("the upgrade failed", {{"program", program_}, {"error", std::strerror(errno)}});
  }

  pid_t front_;
  Fd line_;
  Fd signals_;
  std::string program_;
  std::vector<std::string> arguments_;
  std::vector<Listener> listeners_;
  bool upgrading_ = false;
  std::optional<int> code_;
};

}  // namespace

void Reports::send(char report, const char* to_systemd) const {
  if (!line_) return notify_systemd(to_systemd);
  ::send(line_.get(), &report, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void Reports::released() {
  ::prctl(PR_SET_PDEATHSIG, 0);
  send('d', "");
  line_.reset();
}

Result<GuardedFork> fork_guarded() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return fail(system_error("socketpair", errno));
  Fd own(ends[0]), front(ends[1]);
  // The guard's, from here on: none is lost in between.
  const auto set = guarded_signals();
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  const bool watched = watchdog_limit().has_value();
  const pid_t guard = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) return fail(system_error("fork", errno));
  if (child > 0) return GuardedFork{.guard = guard, .front = child, .line = std::move(own)};
  ::sigprocmask(SIG_UNBLOCK, &set, nullptr);
  // Ctrl-C on a terminal is for the guard, which passes it on.
  ::setpgid(0, 0);
  if (watched) ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
  return GuardedFork{.guard = guard, .front = 0, .line = std::move(front)};
}

Result<void> die_with_guard(pid_t guard) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != guard) return fail(Errc::unavailable, "the front's guard is gone");
  return {};
}

int guard(GuardedFork forked, const std::string& program, std::vector<std::string> arguments,
          const std::vector<Listener>& listeners) {
  return Guard(std::move(forked), program, std::move(arguments), listeners).run();
}

}  // namespace wick::app
