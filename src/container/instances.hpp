// Everything that runs, as the runner knows it.
//
// Which verb is allowed when is life.hpp's. What the verbs do is in instance_lifetime.cpp (from nothing, and back),
// instance_rungs.cpp (parked, running, frozen) and instances.cpp (the rest).
//
// 1. An id is in the table from the first moment of prepare() to the last of remove(); a failure inside prepare(),
//    park(), start() or thaw() gives everything back before it is answered.
// 2. What is needed to find an instance again is in <run>/instances/<id>/record before the runtime is asked to make it.
// 3. Verbs of one instance run one after the other (`turn`).
// 4. Prepared and parked ones wait on us: a parkable one whose runner is gone sees the end of file and ends.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>

#include "bundle.hpp"
#include "cgroup.hpp"
#include "commands.hpp"
#include "layer_folders.hpp"
#include "life.hpp"
#include "networks.hpp"
#include "pods.hpp"
#include "process_facts.hpp"
#include "protocol.hpp"
#include "runtime_command.hpp"
#include "step_mounts.hpp"
#include "volumes.hpp"
#include "wick/os/shelf.hpp"
#include "wick/os/slots.hpp"
#include "wick/os/task_group.hpp"
#include "wick/os/worker.hpp"

namespace wick::container {

/// What survives the runner, as the file `record`: no parsing, checked by size and magic.
struct InstanceRecord {
  std::uint32_t magic = 0x32524357;  // "WCR2"
  std::int32_t pid = 0;              // 0: half-made
  std::uint64_t start_time = 0;      // /proc/PID/stat field 22: tells a reused pid
  char id[InstanceId::size] = {};
  std::uint32_t id_range = 0;
  std::uint32_t has_step = 0;
  std::uint32_t waits_for_us = 0;  // it has a door (InstanceSpec::parkable) that was not opened yet
  std::uint32_t told_to_end = 0;   // it was sent SIGTERM: whoever adopts it shall not use it
  protocol::Text<protocol::runtime_name_bytes_max> runtime;  // class; empty: the default
  std::uint32_t link = 0;                                    // its number (networks.hpp); 0: none
  protocol::EgressBody egress;
  protocol::LayerList layers;
};
static_assert(protocol::Plain<InstanceRecord>);

/// By class name; "" is the default.
using Runtimes = std::map<std::string, RuntimeCommand, std::less<>>;

class Instances {
 public:
  Instances(Executor executor, Roots& roots, LayerFolders& layers, WorkerPool& workers, Runtimes runtimes,
            Networks& networks, std::filesystem::path folder);
  ~Instances();

  /// Adopts what runs, gives back what does not. `kept` is what the runner before this one left on a shelf.
  awaitable<Result<void>> recover(std::vector<Shelf::Kept> kept);
  /// The listeners inside those that are left running.
  void keep_listening(const Shelf& shelf) const;
  awaitable<void> stop();

  void on_exit(std::function<void(const Exit&)> callback) { on_exit_ = std::move(callback); }
  Pods& pods() { return pods_; }
  awaitable<Result<Prepared>> prepare(InstanceSpec spec, Fd log);
  awaitable<Result<void>> park(InstanceId id);
  awaitable<Result<void>> start(InstanceId id);
  awaitable<Result<Fd>> freeze(InstanceId id);
  awaitable<Result<void>> thaw(InstanceId id);
  Result<void> signal(const InstanceId& id, int number);
  awaitable<Result<void>> remove(InstanceId id);
  std::vector<Existing> list() const;
  Result<std::vector<Fd>> connect(const InstanceId& id, std::uint16_t port, std::size_t count) const;
  awaitable<Result<Fd>> await_listening(InstanceId id, std::uint16_t port, std::chrono::milliseconds patience);
  /// The front's listeners inside the instance, and what it may reach beside them.
  Result<std::pair<Inside, protocol::EgressBody>> listen_inside(const InstanceId& id) const;
  awaitable<Result<Executed>> execute(InstanceId id, Process process, std::chrono::milliseconds limit);
  awaitable<Result<BegunCommand>> begin_command(InstanceId id, Process process, CommandOptions options);
  awaitable<Result<void>> update_volumes(InstanceSpec spec);
  Result<Usage> usage(const InstanceId& id) const;
  Result<std::vector<Listening>> listening(const InstanceId& id) const;
  bool uses(const Digest& layer) const;

 private:
  struct Entry;
  using EntryPointer = std::shared_ptr<Entry>;
  static constexpr std::size_t instances_max = 4096;
  static constexpr std::size_t executing_max = 8;  // commands at once: each has a runtime beside it that takes 20 MiB

  std::filesystem::path folder_of(const InstanceId& id) const { return folder_ / id.text(); }
  std::filesystem::path scratch_of(const InstanceId& id) const { return roots_.area() / "s" / id.text(); }
  const RuntimeCommand& runtime_of(const Entry& entry) const;
  Result<EntryPointer> find(const InstanceId& id) const;
  Result<EntryPointer> find_for_command(const InstanceId& id, const Process& process) const;
  struct Turn;
  awaitable<Result<Turn>> begin(InstanceId id, LifeVerb verb);
  awaitable<Result<void>> finish_or_give_back(EntryPointer entry, Result<void> done);
  awaitable<Result<void>> give_network(EntryPointer entry, const InstanceSpec& spec);
  awaitable<void> adopt_network(EntryPointer entry, std::filesystem::path folder);
  awaitable<Result<void>> create(EntryPointer entry, const InstanceSpec& spec, const Fd& log);
  Result<std::string> write_bundle(const Entry& entry, const InstanceSpec& spec, const MountedRoot& root,
                                   std::vector<BundleMount> mounts) const;
  Result<void> write_record(const Entry& entry) const;
  Result<void> watch(EntryPointer entry);
  awaitable<void> await_end(EntryPointer entry);
  void note_end(Entry& entry);
  awaitable<Result<void>> let_go(EntryPointer entry);
  awaitable<Result<void>> await_park(EntryPointer entry);
  awaitable<bool> wait_frozen(EntryPointer entry);
  awaitable<void> reclaim(EntryPointer entry);
  awaitable<Result<void>> open_start_fifo(EntryPointer entry);
  awaitable<Result<void>> wait_for_exec(EntryPointer entry, Executable init);
  awaitable<void> kill_and_wait(EntryPointer entry);
  awaitable<void> give_back(EntryPointer entry);
  awaitable<void> remove_unknown(const RuntimeCommand& runtime);
  awaitable<void> recover_one(std::filesystem::path folder);

  Executor executor_;
  Roots& roots_;
  LayerFolders& layers_;
  WorkerPool& workers_;
  Runtimes runtimes_;
  Networks& networks_;
  Pods pods_;
  std::filesystem::path folder_;
  Cgroups cgroups_;
  HostFacts host_;
  std::function<void(const Exit&)> on_exit_;
  std::map<InstanceId, EntryPointer> entries_;
  Slots executing_;
  Commands commands_;
  int looking_ = 0;  // who looks for a port or an exec now: they share the time there is for looking
  TaskGroup watchers_;
};

}  // namespace wick::container
