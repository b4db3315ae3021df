// What the kernel tells about a process that may not be our child.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "wick/base/error.hpp"
#include "wick/os/child_process.hpp"
#include "wick/os/fd.hpp"

namespace wick::container {

Result<Fd> open_pidfd(pid_t pid);
Result<void> signal_pidfd(const Fd& pidfd, int number);

/// True when the process has ended, reaped or not.
bool has_ended(const Fd& pidfd);

struct ProcessStat {
  std::string name;  // "comm"
  char state = '?';
  pid_t parent = 0;
  pid_t session = 0;
  std::uint64_t start_time = 0;  // clock ticks since boot
  int wait_status = 0;           // of a zombie ('Z'); only root may read it
};
std::optional<ProcessStat> stat_of(pid_t pid);
/// "/proc/PID/stat": the name is in parentheses and may hold any byte, parentheses and spaces too. Pure.
std::optional<ProcessStat> parse_stat(std::string_view text);

/// Which file a process executes: device and inode. Nothing for one that has no memory any more.
struct Executable {
  dev_t device = 0;
  ino_t inode = 0;
  bool operator==(const Executable&) const = default;
};
std::optional<Executable> executable_of(pid_t pid);

/// What wait(2) would have said.
ExitStatus from_wait_status(int status);

/// The status of a process that has ended. Reaps it when it is our child; otherwise asks the kernel (PIDFD_GET_INFO,
/// Linux 6.15), which knows only after its parent has reaped it. Nothing when neither knows.
std::optional<ExitStatus> end_of(const Fd& pidfd);

}  // namespace wick::container
