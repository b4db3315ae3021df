#include "app/doctor.hpp"

#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
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
  const auto controllers = read_file("/sys/fs/cgroup/cgroup.controllers");
  if (controllers) {
    check.because = "version 2, controllers: " + std::string(trim(*controllers));
    for (std::string_view wanted : {"memory", "pids", "cpu"}) {
      if (controllers->find(wanted) != std::string::npos) continue;
      check.level = Check::Level::warn;
      check.hint = fmt::format(
          "the {} controller is missing: instances run without that limit; enable it on the kernel command line",
          wanted);
    }
    return check;
  }
  check.because = "version 1";
  for (const char* wanted : {"memory", "pids", "cpu"}) {
    if (::access(fmt::format("/sys/fs/cgroup/{}", wanted).c_str(), F_OK) == 0) {
      check.because += fmt::format(", {}", wanted);
      continue;
    }
    check.level = Check::Level::warn;
    check.hint = fmt::format("the {} controller is not mounted: instances run without that limit", wanted);
  }
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

awaitable<Check> check_runtime(std::string runtime) {
  Check check{.name = runtime};
  SteadyClock clock;
  ProcessOptions options{.argv = {runtime, "--version"}};
  auto run = run_process(std::move(options));
  auto finished = co_await with_deadline(clock, runtime_limit, std::move(run));
  if (!finished || !finished->status.ok()) {
    check.level = Check::Level::fail;
    check.because = finished ? finished->status.text() : finished.error().what();
    check.hint = "apt install runc, or name another OCI runtime with --runtime";
    co_return check;
  }
  const std::string_view first = std::string_view(finished->output).substr(0, finished->output.find('\n'));
  check.because = printable(trim(first));
  const auto version = find_version(finished->output);
  if (runtime.ends_with("runc") && (!version || *version < Version{1, 2, 8})) {
    check.level = Check::Level::warn;
    check.because += " lacks upstream's fixes for CVE-2025-31133, CVE-2025-52565 and CVE-2025-52881";
    check.hint = "user namespaces (always on) block the known escapes; for untrusted code install runc 1.2.8 or newer";
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
  std::vector<Check> checks{check_kernel(),     check_cgroups(), check_user_namespaces(), check_overlay(),
                            check_disk(config), check_clock(),   check_builds()};
  checks.push_back(
      {.level = Check::Level::warn,
       .name = "build network",
       .because = "RUN steps of a build share this host's network, so they can reach its loopback services",
       .hint = "build only sources you trust, or keep loopback services behind authentication"});
  auto runtime = co_await check_runtime(config.runtime);
  checks.insert(checks.begin() + 1, std::move(runtime));
  co_return checks;
}

}  // namespace wick::app
