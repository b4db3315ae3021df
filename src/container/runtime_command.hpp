// The OCI runtime as a command: `runc --root R create|start|delete`.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "wick/container/runner.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/files.hpp"

namespace wick::container {

/// What a command in a container has for its streams: descriptors, or the socket that its terminal is sent to.
struct ExecStreams {
  int in = -1;  // -1: /dev/null
  int out = -1;
  int err = -1;
  std::string console;  // path of a listening socket; empty: no terminal
};

class RuntimeCommand {
 public:
  RuntimeCommand(std::string program, std::filesystem::path root, std::vector<std::string> flags = {})
      : program_(std::move(program)), root_(std::move(root)), flags_(std::move(flags)) {}

  /// `bundle` holds config.json and gets "pid" and "runtime.log"; `log` becomes the container's stdout and stderr.
  /// Errors: the runtime's own message, cleaned; timed_out.
  /// `door`, when not -1, becomes the container's descriptor 3.
  awaitable<Result<pid_t>> create(Executor executor, InstanceId id, std::filesystem::path bundle, int log,
                                  int door = -1) const;
  awaitable<Result<void>> start(InstanceId id) const;
  /// One more process in a running container. `folder` holds process.json and gets "pid" and "runtime.log". What runs
  /// longer than `limit` is killed: timed_out. `network` is a path of the container's network namespace. Errors: those
  /// of explain_runtime_failure().
  awaitable<Result<Executed>> execute(InstanceId id, std::filesystem::path folder, const Process& process,
                                      std::string network, std::chrono::milliseconds limit) const;
  /// The same for one that goes on by itself, as a child of the nearest subreaper, in a session of its own. Returns its
  /// process id once it was executed.
  awaitable<Result<pid_t>> begin_exec(InstanceId id, std::filesystem::path folder, const Process& process,
                                      std::string network, ExecStreams streams) const;
  /// For an instance whose processes are dead. Unknown ids are fine.
  awaitable<Result<void>> remove(InstanceId id) const;
  awaitable<Result<void>> remove_by_force(InstanceId id) const;  // kills it first

  /// Kills what an earlier life of ours left running of the runtime's commands (told by their --root), and waits for
  /// their ends: a `create` that goes on would make what nobody knows of.
  void end_strays() const;
  bool knows(const InstanceId& id) const;
  std::filesystem::path start_fifo(const InstanceId& id) const { return root_ / id.text() / "exec.fifo"; }
  bool has_start_fifo() const { return program_.ends_with("runc"); }  // its documented create/start protocol
  const std::filesystem::path& root() const { return root_; }

 private:
  std::vector<std::string> command(std::vector<std::string> rest) const { return command(root_, std::move(rest)); }
  std::vector<std::string> command(const std::filesystem::path& root, std::vector<std::string> rest) const;
  Result<std::optional<TemporaryFolder>> compose_exec(ProcessOptions& options, const InstanceId& id,
                                                      const std::filesystem::path& folder, const std::string& network,
                                                      std::vector<std::string> flags) const;
  awaitable<Result<void>> run(std::vector<std::string> verb, InstanceId id) const;
  std::string program_;
  std::filesystem::path root_;
  std::vector<std::string> flags_;
};

/// runc's state.json as if the container had no network namespace of its own. runc enters the namespaces of a container
/// one by one, the user namespace first, and may not enter the network's after it: that one belongs to the host. So it
/// is entered before, and must not be looked for again. Pure. Error: unsupported when it is not the state that runc
/// writes.
Result<std::string> state_without_network(std::string_view state);

/// A sentence for people from what the runtime logged (logfmt lines). Pure.
Error explain_runtime_failure(std::string_view log, const Process& process);

}  // namespace wick::container
