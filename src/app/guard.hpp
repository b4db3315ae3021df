// The process that a front with --linger is a child of: what it was started as, for systemd and for a person.
//
//   guard ──fork──► front ──"released"──► goes on with its tunnels and streams alone; nobody waits for it
//     │ SIGTERM        and ends, or
//     └ SIGUSR2        becomes `wick serve` as it is on the disk now, with the listening sockets: an upgrade in place
//
// It reads nothing from outside: one byte a report of its child. When it dies, the child dies with it, unless that was
// released.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/os/fd.hpp"

namespace wick::app {

/// What a front tells its guard, or systemd where it has none.
class Reports {
 public:
  Reports() = default;
  explicit Reports(Fd line) : line_(std::move(line)) {}

  void ready() const { send('r', "READY=1\nSTATUS=serving"); }
  void alive() const { send('w', "WATCHDOG=1"); }
  void stopping() const { send('s', "STOPPING=1"); }
  /// Everything is given up but the connections in which something flows. To be said once, by a front with a guard.
  void released();
  bool guarded() const { return static_cast<bool>(line_); }

 private:
  void send(char report, const char* to_systemd) const;
  Fd line_;
};

struct GuardedFork {
  pid_t guard = 0;
  pid_t front = 0;  // 0: this is the front
  Fd line;          // the guard's end to read from, the front's to report to
};
/// Errors: io. Before there are threads.
Result<GuardedFork> fork_guarded();
/// In the front, once its user is the one it keeps: it dies with its guard from here on. Errors: unavailable (too
/// late).
Result<void> die_with_guard(pid_t guard);

struct Listener {
  std::string name;  // as systemd names it
  const Fd* fd;
};
/// The guard's life; returns the exit code. `program` with `arguments` is what SIGUSR2 starts, `listeners` what it is
/// given.
int guard(GuardedFork forked, const std::string& program, std::vector<std::string> arguments,
          const std::vector<Listener>& listeners);

}  // namespace wick::app
