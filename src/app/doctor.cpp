#include "app/doctor.hpp"

#include <fmt/format.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>

#include "wick/base/text.hpp"
#include "wick/os/child_process.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/deadline.hpp"
#include "wick/os/files.hpp"

namespace wick::app {

namespace {

constexpr std::uint64_t disk_floor_bytes = 2ull << 30;
constexpr auto runtime_limit = std::chrono::seconds(10);

using Version = std::array<unsigned, 3>;

/// The first "N.N[.N]" in `text`.
std::optional<Version> find_version(std::string_view text) {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (!digit(text[i])) continue;
    Version version{};
    std::size_t part = 0;
    std::size_t at = i;
    for (; part < version.size() && at < text.size() && digit(text[at]); ++part) {
      for (; at < text.size() && digit(text[at]); ++at)
        version[part] = version[part] * 10 + static_cast<unsigned>(text[at] - '0');
      if (at >= text.size() || text[at] != '.') {
        ++part;
        break;
      }
      ++at;
    }
    if (part >= 2) return version;
    i = at;
  }
  return std::nullopt;
}

Check check_kernel() {
  utsname name{};
  ::uname(&name);
  const auto version = find_version(name.release);
  Check check{.name = "kernel", .because = fmt::format("Linux {}", name.release)};
  // 5.19: overlayfs over id-mapped layers; 5.12 has id-mapped mounts, but not of overlay's lower folders.
  if (!version || *version < Version{5, 19, 0}) {
    check.level = Check::Level::fail;
    check.hint = "Wick needs Linux 5.19 or newer (overlayfs over id-mapped layers); Debian 12's own kernel is 6.1";
  }
  return check;
}

Check check_cgroups() {
  Check check{.name = "cgroup"};
  const auto there = [](std::string_view name) {
    return ::access(fmt::format("/sys/fs/cgroup/{}", name).c_str(), F_OK) == 0;
  };
  const auto warn = [&check](std::string hint) {
    check.level = Check::Level::warn;
    check.hint += (check.hint.empty() ? "" : "; ") + hint;
  };
  if (const auto controllers = read_file("/sys/fs/cgroup/cgroup.controllers")) {
    check.because = "version 2, controllers: " + std::string(trim(*controllers));
    for (std::string_view wanted : {"memory", "pids", "cpu"})
      if (controllers->find(wanted) == std::string::npos)
        warn(
            fmt::format("the {} controller is missing: instances run without that limit; enable it on the kernel "
                        "command line (cgroup_enable={})",
                        wanted, wanted));
    return check;
  }
  check.because = there("unified") ? "version 1 with an empty version 2 beside it (hybrid):" : "version 1:";
  for (const char* wanted : {"memory", "pids", "cpu", "freezer"}) {
    if (there(wanted))
      check.because += fmt::format(" {}", wanted);
    else
      warn(fmt::format("the {} controller is not mounted: instances run without it", wanted));
  }
  if (there("memory") && !there("memory/memory.memsw.limit_in_bytes"))
    warn("swap is not counted: an instance over its memory swaps before it is ended; boot with swapaccount=1");
  return check;
}

/// Layers keep one owner on disk and are shown to each service with its own: the file system must map ids at mounts.
Check check_id_mapping(const Config& config) {
  struct Known {
    long magic;
    std::string_view name;
    Version since;  // id-mapped mounts, linux/fs/*/super.c FS_ALLOW_IDMAP
  };
  static constexpr std::array known{Known{.magic = 0xEF53, .name = "ext4", .since = {5, 12, 0}},
                                    Known{.magic = 0x58465342, .name = "xfs", .since = {5, 12, 0}},
                                    Known{.magic = 0x9123683EL, .name = "btrfs", .since = {5, 15, 0}},
                                    Known{.magic = 0x01021994, .name = "tmpfs", .since = {6, 3, 0}},
                                    Known{.magic = 0xF2F52010L, .name = "f2fs", .since = {5, 18, 0}}};
  Check check{.name = "id-mapped mounts"};
  struct statfs info{};
  if (::statfs(config.state.c_str(), &info) != 0) {
    check.level = Check::Level::fail;
    check.because = system_error("look at " + config.state.string(), errno).message();
    check.hint = "make the state folder, or name another one with --state";
    return check;
  }
  utsname name{};
  ::uname(&name);
  const auto kernel = find_version(name.release).value_or(Version{});
  for (const auto& system : known) {
    if (system.magic != info.f_type) continue;
    check.because = fmt::format("{} has them ({})", config.state.string(), system.name);
    if (kernel >= system.since) return check;
    check.level = Check::Level::fail;
    check.because = fmt::format("{} is {}, which has them from Linux {}.{} on", config.state.string(), system.name,
                                system.since[0], system.since[1]);
    check.hint = "move the state folder to ext4, xfs or btrfs, or boot a newer kernel";
    return check;
  }
  check.level = Check::Level::warn;
  check.because = fmt::format("{} is on a file system of type {:#x}, which may have none", config.state.string(),
                              static_cast<unsigned long>(info.f_type));
  check.hint = "services fail to start if it has none: keep the state folder on ext4, xfs or btrfs";
  return check;
}

/// Instances reach the internet by a link, our nftables table and forwarding.
Check check_egress() {
  Check check{.name = "egress", .because = "nft is there and packets are forwarded"};
  const auto warn = [&check](std::string because, std::string hint) {
    check.level = Check::Level::warn;
    check.because = std::move(because);
    check.hint = std::move(hint);
  };
  const bool has_nft = ::access("/usr/sbin/nft", X_OK) == 0 || ::access("/sbin/nft", X_OK) == 0 ||
                       ::access("/usr/local/sbin/nft", X_OK) == 0;
  const auto forwards = read_file("/proc/sys/net/ipv4/ip_forward", 16);
  if (!has_nft)
    warn("nft is missing: instances and build steps reach nothing outside", "apt install nftables, then restart wick");
  else if (!forwards || trim(*forwards) != "1")
    warn("the kernel forwards no packets: instances and build steps reach nothing outside",
         "sysctl net.ipv4.ip_forward=1 (wick does it at its start where it may write /proc/sys)");
  else if (::access("/sys/class/net/docker0", F_OK) == 0)
    warn("Docker is here and drops what it does not know in its FORWARD chain",
         "iptables -I DOCKER-USER -i wick+ -j ACCEPT; iptables -I DOCKER-USER -o wick+ -j ACCEPT");
  return check;
}

Check check_user_namespaces() {
  Check check{.name = "user namespaces"};
  const auto limit = read_file("/proc/sys/user/max_user_namespaces");
  if (!limit) {
    check.level = Check::Level::fail;
    check.because = "the kernel has none";
    check.hint = "Wick gives every service its own user namespace: use a kernel with CONFIG_USER_NS";
    return check;
  }
  check.because = fmt::format("at most {}, one range of 65,536 ids a service from 524288", trim(*limit));
  if (parse_unsigned(trim(*limit)).value_or(0) < 100) {
    check.level = Check::Level::fail;
    check.hint = "sysctl user.max_user_namespaces=28633";
  }
  return check;
}

Check check_overlay() {
  Check check{.name = "overlayfs", .because = "the kernel has it"};
  const auto known = read_file("/proc/filesystems");
  if (!known || known->find("\toverlay\n") == std::string::npos) {
    check.level = Check::Level::warn;
    check.because = "not loaded";
    check.hint = "modprobe overlay";
  }
  return check;
}

Check check_disk(const Config& config) {
  Check check{.name = "disk"};
  const auto free = free_bytes(config.state);
  if (!free) {
    check.level = Check::Level::fail;
    check.because = free.error().what();
    check.hint = fmt::format("make {} a folder the daemon can write to", config.state.string());
    return check;
  }
  check.because = fmt::format("{} free for {}", human_bytes(*free), config.state.string());
  if (*free < disk_floor_bytes) {
    check.level = Check::Level::warn;
    check.hint = "builds need room: free some, or move the state folder with --state";
  }
  return check;
}

Check check_clock() {
  Check check{.name = "clock", .because = to_rfc3339(wall_now())};
  if (wall_now() < WallTime(std::chrono::sys_days(std::chrono::year(2024) / 1 / 1))) {
    check.level = Check::Level::warn;
    check.hint = "the clock is years behind: TLS and event times will be wrong; set up NTP (timedatectl set-ntp true)";
  }
  return check;
}

/// What upstream fixed in which runc. Debian's packages carry some fixes under an older number; their own version is
/// in the "commit" line ("1.1.5+ds1-1+deb12u1").
struct RuncFix {
  std::string_view names;
  std::vector<Version> in;              // in each series, the newest last
  std::string_view debian_commit = {};  // a Debian build that has it too
};
const std::vector<RuncFix>& runc_fixes() {
  static const std::vector<RuncFix> fixes{
      {.names = "CVE-2019-5736", .in = {{1, 0, 0}}},
      {.names = "CVE-2024-21626", .in = {{1, 1, 12}}, .debian_commit = "1.1.5+ds1-1+deb12u1"},
      {.names = "CVE-2024-45310", .in = {{1, 1, 14}}},
      {.names = "CVE-2025-31133, CVE-2025-52565, CVE-2025-52881", .in = {{1, 2, 8}, {1, 3, 3}}},
  };
  return fixes;
}

std::string missing_fixes(std::string_view output) {
  const auto version = find_version(output);
  std::string missing;
  for (const auto& fix : runc_fixes()) {
    if (!fix.debian_commit.empty() && output.find(fix.debian_commit) != std::string_view::npos) continue;
    const bool has = version && std::ranges::any_of(fix.in, [&](const Version& from) {
                       const bool same_series = from[0] == (*version)[0] && from[1] == (*version)[1];
                       const bool later_series = from == fix.in.back() && *version > from;
                       return same_series ? *version >= from : later_series;
                     });
    if (!has) missing += (missing.empty() ? "" : ", ") + std::string(fix.names);
  }
  return missing;
}

/// `runtime` without a name is the default.
awaitable<Check> check_runtime(container::RuntimeClass runtime) {
  const bool is_default = runtime.name.empty();
  Check check{.name = is_default ? runtime.program : fmt::format("runtime class {}", runtime.name)};
  SteadyClock clock;
  ProcessOptions options{.argv = {runtime.program, "--version"}};
  std::optional<Finished> finished;
  std::string why;
  try {
    auto run = run_process(std::move(options));
    auto ended = co_await with_deadline(clock, runtime_limit, std::move(run));
    if (ended)
      finished = std::move(*ended);
    else
      why = ended.error().what();
  } catch (const DeadlineExceeded&) {
    why = fmt::format("'{} --version' did not end within {} s", runtime.program, runtime_limit.count());
  }
  if (!finished || !finished->status.ok()) {
    check.level = is_default ? Check::Level::fail : Check::Level::warn;
    check.because = finished ? fmt::format("'{} --version': {}", runtime.program, finished->status.text()) : why;
    check.hint = is_default ? "apt install runc, or name another OCI runtime with --runtime"
                            : fmt::format("install {}: services with runtimeClassName: {} do not start",
                                          runtime.program, runtime.name);
    co_return check;
  }
  const std::string_view first = std::string_view(finished->output).substr(0, finished->output.find('\n'));
  check.because = printable(trim(first));
  if (!first.starts_with("runc")) co_return check;
  if (const auto missing = missing_fixes(finished->output); !missing.empty()) {
    check.level = Check::Level::warn;
    check.because += " lacks the fixes of " + missing;
    check.hint =
        "user namespaces, real folders for /proc and /dev and sealed descriptors (always on) block the known "
        "escapes; for hostile code install runc 1.3.3 or newer, or use a runtimeClassName with a kernel of its own";
  }
  co_return check;
}

Check check_builds() {
  Check check{.name = "base images", .because = "mmdebstrap is there for FROM debian:bookworm"};
  if (::access("/usr/bin/mmdebstrap", X_OK) != 0) {
    check.level = Check::Level::warn;
    check.because = "mmdebstrap is missing";
    check.hint = "apt install mmdebstrap, or build FROM scratch only";
  }
  return check;
}

}  // namespace

awaitable<std::vector<Check>> run_doctor(const Config& config) {
  std::vector<Check> checks{check_kernel(),           check_cgroups(), check_user_namespaces(),
                            check_id_mapping(config), check_overlay(), check_egress(),
                            check_disk(config),       check_clock(),   check_builds()};
  std::vector<Check> runtimes;
  auto main = co_await check_runtime({.name = {}, .program = config.runtime, .flags = {}});
  runtimes.push_back(std::move(main));
  auto classes = config.runtime_classes;
  if (::access("/usr/bin/crun", X_OK) == 0 && !config.runtime.ends_with("crun"))
    classes.push_back({.name = "crun", .program = "crun", .flags = {}});
  for (auto& given : classes) {
    auto check = co_await check_runtime(std::move(given));
    runtimes.push_back(std::move(check));
  }
  checks.insert(checks.begin() + 1, runtimes.begin(), runtimes.end());
  co_return checks;
}

}  // namespace wick::app
