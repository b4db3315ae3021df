// A child process with one owner: spawned with nothing inherited, watched by pidfd, killed and reaped when its owner
// goes.
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <optional>
#include <string>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/os/fd.hpp"
#include "wick/os/loop.hpp"

namespace wick {

struct ExitStatus {
  int code = 0;    // meaningful when signal == 0
  int signal = 0;  // 0: exited by itself
  bool ok() const { return code == 0 && signal == 0; }
  /// "exit 1", "signal 9 (Killed)".
  std::string text() const;
};

struct ProcessOptions {
  std::vector<std::string> argv;                        // argv[0] is looked up in PATH unless it has a slash
  std::optional<std::vector<std::string>> environment;  // "K=V"; inherited when absent
  std::string working_folder;                           // empty: inherited
  int stdin_fd = -1;                                    // -1: /dev/null
  int stdout_fd = -1;                                   // -1: /dev/null
  int stderr_fd = -1;                                   // -1: /dev/null
  std::vector<std::pair<int, int>> extra_fds;           // {ours, the number the child sees, >= 3}
};

class ChildProcess {
 public:
  /// posix_spawn with reset signal mask and handlers, own process group, and every descriptor but the named ones
  /// closed.
  static Result<ChildProcess> spawn(Executor executor, const ProcessOptions& options);

  ChildProcess(ChildProcess&&) = default;
  ChildProcess& operator=(ChildProcess&&) = delete;
  /// Sends SIGKILL to the process group if the child still runs, and reaps it.
  ~ChildProcess();

  pid_t pid() const { return pid_; }
  /// Waits for the end and reaps. Cancelling leaves the child running (the destructor ends it).
  awaitable<ExitStatus> wait();
  /// To the child's process group. Nothing happens once it was reaped.
  void signal(int number);

 private:
  ChildProcess(pid_t pid, asio::posix::stream_descriptor pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  pid_t pid_;
  asio::posix::stream_descriptor pidfd_;
  bool reaped_ = false;
};

struct Finished {
  ExitStatus status;
  std::string output;  // stdout and stderr as they came, the last `output_bytes_max` bytes
};

/// Runs to the end with stdout and stderr captured into one tail; `options.stdout_fd` and `stderr_fd` are ignored.
/// Cancelling kills the child.
awaitable<Result<Finished>> run_process(ProcessOptions options, std::size_t output_bytes_max = 64 << 10);

/// A pipe, both ends close-on-exec: {read, write}.
Result<std::pair<Fd, Fd>> make_pipe();

}  // namespace wick
