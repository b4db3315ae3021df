// The OCI runtime as a command: `runc --root R create|start|delete`.
#pragma once

#include <filesystem>
#include <string>

#include "wick/container/runner.hpp"
#include "wick/os/clock.hpp"

namespace wick::container {

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
  std::vector<std::string> command(std::vector<std::string> rest) const;
  awaitable<Result<void>> run(std::vector<std::string> verb, InstanceId id) const;
  std::string program_;
  std::filesystem::path root_;
  std::vector<std::string> flags_;
};

/// A sentence for people from what the runtime logged (logfmt lines). Pure.
Error explain_runtime_failure(std::string_view log, const Process& process);

}  // namespace wick::container
