#include "process_facts.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "wick/base/text.hpp"
#include "wick/os/files.hpp"

namespace wick::container {

namespace {

// linux/pidfd.h of Linux 6.15; Debian 12's headers are older.
struct PidfdInfo {
  std::uint64_t mask;
  std::uint64_t cgroup;
  std::uint32_t ids[11];
  std::int32_t exit_code;
};
static_assert(sizeof(PidfdInfo) == 64);
constexpr std::uint64_t pidfd_info_exit = 1 << 3;
constexpr unsigned long pidfd_get_info = _IOWR(0xFF, 11, PidfdInfo);

}  // namespace

ExitStatus from_wait_status(int status) {
  if (WIFSIGNALED(status)) return {.code = 128 + WTERMSIG(status), .signal = WTERMSIG(status)};
  return {.code = WEXITSTATUS(status)};
}

Result<Fd> open_pidfd(pid_t pid) {
  Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));  // close-on-exec by definition
  if (!pidfd) return fail(system_error("pidfd_open", errno));
  return pidfd;
}

Result<void> signal_pidfd(const Fd& pidfd, int number) {
  if (::syscall(SYS_pidfd_send_signal, pidfd.get(), number, nullptr, 0) == 0) return {};
  if (errno == ESRCH) return fail(Errc::not_found, "the instance has ended");
  return fail(system_error("signal", errno));
}

bool has_ended(const Fd& pidfd) {
  pollfd ready{.fd = pidfd.get(), .events = POLLIN, .revents = 0};
  return ::poll(&ready, 1, 0) == 1;
}

std::optional<ProcessStat> parse_stat(std::string_view text) {
  const auto open = text.find('(');
  const auto close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) return std::nullopt;
  const auto fields = split(trim(text.substr(close + 1)), ' ');
  constexpr std::size_t start_time = 22 - 3;  // field 3 (state) is the first one here
  if (fields.size() <= start_time || fields[0].size() != 1) return std::nullopt;
  const auto ticks = parse_unsigned(fields[start_time]);
  if (!ticks) return std::nullopt;
  ProcessStat stat;
  stat.name = text.substr(open + 1, close - open - 1);
  stat.state = fields[0][0];
  stat.start_time = *ticks;
  stat.parent = static_cast<pid_t>(parse_unsigned(fields[4 - 3]).value_or(0));
  stat.session = static_cast<pid_t>(parse_unsigned(fields[6 - 3]).value_or(0));
  constexpr std::size_t exit_code = 52 - 3;
  if (fields.size() > exit_code) stat.wait_status = static_cast<int>(parse_unsigned(fields[exit_code]).value_or(0));
  return stat;
}

std::optional<ProcessStat> stat_of(pid_t pid) {
  auto text = read_file(fmt::format("/proc/{}/stat", pid), 4096);
  if (!text) return std::nullopt;
  return parse_stat(*text);
}

std::optional<Executable> executable_of(pid_t pid) {
  struct stat info{};
  if (::stat(fmt::format("/proc/{}/exe", pid).c_str(), &info) != 0) return std::nullopt;
  return Executable{.device = info.st_dev, .inode = info.st_ino};
}

std::optional<ExitStatus> end_of(const Fd& pidfd) {
  siginfo_t info{};
  if (::waitid(P_PIDFD, static_cast<id_t>(pidfd.get()), &info, WEXITED | WNOHANG) == 0 && info.si_pid != 0) {
    if (info.si_code == CLD_EXITED) return ExitStatus{.code = info.si_status};
    return ExitStatus{.code = 128 + info.si_status, .signal = info.si_status};
  }
  PidfdInfo answer{};
  answer.mask = pidfd_info_exit;
  if (::ioctl(pidfd.get(), pidfd_get_info, &answer) == 0 && (answer.mask & pidfd_info_exit))
    return from_wait_status(answer.exit_code);
  return std::nullopt;
}

}  // namespace wick::container
