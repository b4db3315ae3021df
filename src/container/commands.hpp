// Commands inside instances that somebody talks with: `runc exec --detach`, so that nothing of the runtime stays beside
// them. The runner, who is the subreaper, becomes their parent; it fetches their end and tells it on the leash.
//
//   begin() ──► running ──its process ends──► told on the leash, gone
//                  └──the leash is let go──► killed, gone
//
// Pipes are made here and belong to the command's user (a program may open /dev/stdout again); a terminal is made
// inside the instance, and its master comes out by the runtime's console socket.
#pragma once

#include <filesystem>
#include <string>

#include "cgroup.hpp"
#include "runtime_command.hpp"
#include "wick/container/runner.hpp"
#include "wick/os/files.hpp"
#include "wick/os/task_group.hpp"

namespace wick::container {

/// The front's ends.
struct BegunCommand {
  Fd leash;
  Fd in;
  Fd out;
  Fd err;
  Fd terminal;
};

struct CommandPlace {
  InstanceId id;
  std::filesystem::path folder;  // the instance's
  std::string network;           // a path of its network namespace
  std::uint32_t uid = 0;         // of the command, as the host counts
  std::uint32_t gid = 0;
};

class Commands {
 public:
  Commands(Executor executor, const Cgroups& cgroups) : executor_(executor), cgroups_(cgroups), tasks_(executor) {}

  /// `process_json` as compose_process() writes it. Errors: overloaded past commands_max; the runtime's.
  awaitable<Result<BegunCommand>> begin(CommandPlace place, const RuntimeCommand& runtime, const Process& process,
                                        std::string process_json, CommandOptions options);
  /// Kills what an earlier life of ours began in the instance.
  void end_strays(const CommandPlace& place) const;
  /// Kills them all.
  awaitable<void> stop() { return tasks_.stop(); }

 private:
  struct Running;
  awaitable<void> watch(std::unique_ptr<Running> running);
  void kill_session(const InstanceId& id, pid_t leader) const;

  Executor executor_;
  const Cgroups& cgroups_;
  int count_ = 0;
  TaskGroup tasks_;
};

}  // namespace wick::container
