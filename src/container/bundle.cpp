#include "bundle.hpp"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "embedded.hpp"
#include "namespaces.hpp"
#include "wick/base/text.hpp"
#include "wick/os/files.hpp"

namespace wick::container {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t open_files_wanted = 65536;
constexpr int oom_score_wanted = 500;  // the kernel takes an instance before it takes us

#if defined(__x86_64__)
constexpr std::string_view architecture = "SCMP_ARCH_X86_64";
#elif defined(__aarch64__)
constexpr std::string_view architecture = "SCMP_ARCH_AARCH64";
#elif defined(__riscv) && __riscv_xlen == 64
constexpr std::string_view architecture = "SCMP_ARCH_RISCV64";
#else
#error "name this machine's seccomp architecture"
#endif

/// Docker's default set (moby daemon/pkg/oci/caps/defaults.go). They count inside the user namespace only.
constexpr std::string_view build_capabilities =
    R"(["CAP_AUDIT_WRITE","CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_FOWNER","CAP_FSETID","CAP_KILL","CAP_MKNOD","CAP_NET_BIND_SERVICE",)"
    R"("CAP_NET_RAW","CAP_SETFCAP","CAP_SETGID","CAP_SETPCAP","CAP_SETUID","CAP_SYS_CHROOT"])";

using Values = std::map<std::string_view, std::string>;

/// Puts values in place of @NAMES@ in one pass: an '@' inside a value stays what it is.
std::string fill(std::string_view text, const Values& values) {
  std::string out;
  while (true) {
    const auto begin = text.find('@');
    const auto end = begin == std::string_view::npos ? begin : text.find('@', begin + 1);
    if (end == std::string_view::npos) return out.append(text);
    out.append(text.substr(0, begin));
    if (auto value = values.find(text.substr(begin + 1, end - begin - 1)); value != values.end()) {
      out += value->second;
      text.remove_prefix(end + 1);
    } else {
      out += '@';
      text.remove_prefix(begin + 1);
    }
  }
}

std::string json_strings(const std::vector<std::string>& texts) {
  std::string out = "[";
  for (const auto& text : texts) out += (out.size() > 1 ? "," : "") + json_string(text);
  return out + "]";
}

std::string mount_entry(std::string_view destination, std::string_view type, std::string_view source,
                        std::string_view options) {
  return fmt::format(R"(,
    {{ "destination": "{}", "type": "{}", "source": {}, "options": [{}] }})",
                     destination, type, json_string(source), options);
}

std::string mounts(const InstanceSpec& spec, const Bundle& bundle) {
  std::string out;
  // Mounted from inside the network namespace by the runner, who owns it: a container's root may not mount it.
  out += mount_entry("/sys", "bind", bundle.sys, R"("bind", "ro", "nosuid", "noexec", "nodev")");
  out += mount_entry("/sys/fs/cgroup", "cgroup", "cgroup", R"("nosuid", "noexec", "nodev", "relatime", "ro")");
  if (spec.privileges == Privileges::none)  // what a step leaves in /tmp belongs to its layer, as with Docker
    out += mount_entry("/tmp", "tmpfs", "tmpfs",
                       fmt::format(R"("nosuid", "nodev", "mode=1777", "size={}")", spec.limits.tmp_bytes));
  constexpr std::string_view read_only_file = R"("bind", "ro", "nosuid", "nodev", "noexec")";
  if (!bundle.resolv_conf.empty()) out += mount_entry("/etc/resolv.conf", "bind", bundle.resolv_conf, read_only_file);
  if (!bundle.hosts.empty()) out += mount_entry("/etc/hosts", "bind", bundle.hosts, read_only_file);
  for (const auto& mount : bundle.mounts)
    out += fmt::format(R"(,
    {{ "destination": {}, "type": "{}", "source": {}, "options": [{}] }})",
                       json_string(mount.target), mount.type, json_string(mount.source), mount.options);
  return out;
}

std::string join_numbers(const std::vector<std::uint32_t>& numbers) {
  return fmt::format("[{}]", fmt::join(numbers, ","));
}

std::string fill_process(const Process& process, const HostFacts& host, std::string_view capabilities,
                         bool terminal = false) {
  const Values values{
      {"TERMINAL", terminal ? "true" : "false"},
      {"UID", std::to_string(process.uid)},
      {"GID", std::to_string(process.gid)},
      {"GROUPS", join_numbers(process.groups)},
      {"ARGV", json_strings(process.argv)},
      {"ENVIRONMENT", json_strings(process.environment)},
      {"WORKING_FOLDER", json_string(process.working_folder)},
      {"OOM_SCORE", std::to_string(std::max(oom_score_wanted, host.oom_score_min))},
      {"CAPABILITIES", std::string(capabilities)},
      {"NOFILE", std::to_string(std::min(open_files_wanted, host.open_files_max))},
  };
  std::string text(trim(fill(embedded::process, values)));
  return text;
}

}  // namespace

std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

HostFacts HostFacts::look() {
  HostFacts facts;
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) facts.open_files_max = files.rlim_max;
  if (auto score = read_file("/proc/self/oom_score_adj", 64))
    if (auto value = parse_unsigned(trim(*score))) facts.oom_score_min = static_cast<int>(*value);
  std::error_code error;
  // Version 1 counts swap only when the kernel was told to; version 2 always does.
  facts.limits_swap = !fs::exists("/sys/fs/cgroup/memory", error) ||
                      fs::exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", error);
  for (const auto& cpu : fs::directory_iterator("/sys/devices/system/cpu", error)) {
    const auto folder = cpu.path() / "thermal_throttle";
    if (fs::exists(folder, error)) facts.thermal_throttle.push_back(folder.string());
  }
  std::ranges::sort(facts.thermal_throttle);
  return facts;
}

std::string compose_process(const Process& process, const HostFacts& host, bool terminal) {
  return fill_process(process, host, "[]", terminal);
}

std::string compose_config(const InstanceSpec& spec, const Bundle& bundle, const HostFacts& host) {
  const bool build = spec.privileges == Privileges::build;
  const bool limited = spec.limits.cpu_millis > 0;
  std::string masked;
  for (const auto& folder : host.thermal_throttle) masked += ", " + json_string(folder);
  const Values seccomp{{"ARCHITECTURE", std::string(architecture)},
                       {"BUILD_SYSCALLS", build ? "," + std::string(embedded::seccomp_build) : ""}};
  const Values values{
      {"HOSTNAME", "wick"},
      {"ROOT", bundle.root},
      {"READONLY", build ? "false" : "true"},
      {"PROCESS", fill_process(spec.process, host, build ? build_capabilities : "[]")},
      {"MOUNTS", mounts(spec, bundle)},
      {"ID_BASE", std::to_string(first_id(spec.id_range))},
      {"ID_COUNT", std::to_string(id_range_size)},
      {"NETWORK", json_string(bundle.network)},
      {"CGROUP", bundle.cgroup},
      {"MEMORY", std::to_string(spec.limits.memory_bytes)},
      {"SWAP", host.limits_swap ? fmt::format(R"(, "swap": {})", spec.limits.memory_bytes) : ""},
      {"CPU_SHARES",
       std::to_string(limited ? std::max<std::uint64_t>(2, spec.limits.cpu_millis * 1024ULL / 1000) : 1024)},
      {"CPU_QUOTA", limited ? std::to_string(spec.limits.cpu_millis * 100ULL) : "-1"},
      {"SHM", std::to_string(spec.limits.tmp_bytes)},
      {"PIDS", std::to_string(spec.limits.pids)},
      {"MASKED", masked},
      {"SECCOMP", fill(embedded::seccomp, seccomp)},
  };
  return fill(embedded::config, values);
}

}  // namespace wick::container
