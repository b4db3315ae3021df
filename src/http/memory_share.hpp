// How much of its own cgroup's memory limit this process' cgroup uses: what the server sheds load by. Both cgroup
// versions; where no limit is set there is nothing to share.
#pragma once

#include <filesystem>
#include <optional>

namespace wick::http {

/// Percent of the limit in use, page cache that can be dropped at once not counted; nullopt without a limit.
/// `cgroup_of_process` is proc_pid_cgroup(5) of the process, `mount` where the cgroups are.
std::optional<int> memory_percent(const std::filesystem::path& cgroup_of_process = "/proc/self/cgroup",
                                  const std::filesystem::path& mount = "/sys/fs/cgroup");

}  // namespace wick::http
