// The OCI config.json of an instance, composed from our own template (runtime/config.json) and checked fields. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "step_mounts.hpp"
#include "wick/container/runner.hpp"

namespace wick::container {

/// What this machine allows; looked at once.
struct HostFacts {
  std::uint64_t open_files_max = 65536;
  int oom_score_min = 0;  // without CAP_SYS_RESOURCE a child's score cannot be below its parent's
  bool limits_swap = true;
  std::vector<std::string> thermal_throttle;  // sysfs folders that tell one tenant what the others do

  static HostFacts look();
};

struct Bundle {
  std::string root;     // the mounted root file system
  std::string cgroup;   // "/wick/<id>"
  std::string network;  // path of the network namespace to join
  std::string sys;      // a sysfs that shows that namespace
  // Of a build step, whose root is written to: shown in place of the skeleton's, so that no layer gets them.
  std::string resolv_conf = {};
  std::string hosts = {};
  std::vector<BundleMount> mounts = {};  // of a step, or volumes
};

std::string compose_config(const InstanceSpec& spec, const Bundle& bundle, const HostFacts& host);

/// The process of such an instance, also for one more inside it: without any capability.
std::string compose_process(const Process& process, const HostFacts& host, bool terminal = false);

/// `text` as a JSON string with its quotes. Bytes that are not UTF-8 stay as they are (the runtime replaces them).
std::string json_string(std::string_view text);

}  // namespace wick::container
