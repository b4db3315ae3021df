// Readings from an instance's control group, version 1 (one hierarchy a controller) or 2.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "wick/container/runner.hpp"

namespace wick::container {

class Cgroups {
 public:
  /// `mount` is /sys/fs/cgroup; tests have their own tree.
  explicit Cgroups(std::filesystem::path mount = "/sys/fs/cgroup");

  /// The path that the OCI config names: "/wick/<id>".
  static std::string path_of(const InstanceId& id);

  /// Errors: not_found when the group is gone.
  Result<Usage> usage(const InstanceId& id) const;
  /// How many processes of the group the kernel killed for want of memory; 0 when the group is gone.
  std::uint64_t oom_kills(const InstanceId& id) const;
  bool exists(const InstanceId& id) const;
  /// Numbers of its processes, as the host counts them.
  std::vector<pid_t> processes(const InstanceId& id) const;
  /// Asks the kernel to hold or to let go every process of the group. Holding takes the kernel a moment: is_frozen()
  /// tells. Errors: unsupported where there is no freezer.
  Result<void> set_frozen(const InstanceId& id, bool frozen) const;
  /// Version 1: freezer.state, open for writing. Empty with version 2, whose cgroup.freeze waits for whoever is making
  /// or removing a group.
  Fd quick_freezer(const InstanceId& id) const;
  bool is_frozen(const InstanceId& id) const;
  /// At the runner's end: gives back what set_frozen() made beside the groups.
  void forget_freezing() const;
  /// Pushes at most `bytes` of the group's memory out to disk or swap; blocks for as long as that takes. False when
  /// nothing more can go.
  bool reclaim(const InstanceId& id, std::uint64_t bytes) const;
  /// Kills what is left in the group and removes it where the runtime did not.
  void remove(const InstanceId& id) const;

 private:
  /// Version 1 only. The kernel turns its freezing code on with the first frozen group and off with the last, by
  /// patching itself on every processor: 2.6 ms of the thaw that somebody waits for, in place of 0.1. So one group
  /// without a process stays frozen.
  void keep_freezing() const;
  std::filesystem::path freezing() const { return mount_ / "freezer/wick/freezing"; }
  std::filesystem::path group(std::string_view controller, const InstanceId& id) const;
  std::filesystem::path mount_;
  bool unified_ = false;
};

}  // namespace wick::container
