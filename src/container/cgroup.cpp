#include "cgroup.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "wick/base/text.hpp"
#include "wick/os/files.hpp"

namespace wick::container {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t file_bytes_max = 1 << 20;

Result<void> write_file_in_place(const fs::path& file, std::string_view text) {
  auto opened = open_file(file.string(), O_WRONLY);
  if (!opened) return fail(std::move(opened.error()));
  return write_all(opened->get(), text);
}

/// A file that holds one number; "max" and anything else is `otherwise`.
std::uint64_t number_in(const fs::path& file, std::uint64_t otherwise = 0) {
  auto text = read_file(file, file_bytes_max);
  if (!text) return otherwise;
  return parse_unsigned(trim(*text)).value_or(otherwise);
}

/// "key value" lines.
std::uint64_t field_in(const fs::path& file, std::string_view key) {
  auto text = read_file(file, file_bytes_max);
  if (!text) return 0;
  for (const auto line : split(*text, '\n')) {
    if (line.size() <= key.size() || !line.starts_with(key) || line[key.size()] != ' ') continue;
    return parse_unsigned(trim(line.substr(key.size() + 1))).value_or(0);
  }
  return 0;
}

}  // namespace

Cgroups::Cgroups(fs::path mount) : mount_(std::move(mount)) {
  std::error_code error;
  unified_ = fs::exists(mount_ / "cgroup.controllers", error);
}

std::string Cgroups::path_of(const InstanceId& id) { return "/wick/" + std::string(id.text()); }

fs::path Cgroups::group(std::string_view controller, const InstanceId& id) const {
  return (unified_ ? mount_ : mount_ / controller) / "wick" / id.text();
}

bool Cgroups::exists(const InstanceId& id) const {
  std::error_code error;
  return fs::exists(group("memory", id), error);
}

Result<void> Cgroups::set_frozen(const InstanceId& id, bool frozen) const {
  const auto freezer = group("freezer", id) / (unified_ ? "cgroup.freeze" : "freezer.state");
  std::error_code error;
  if (!fs::exists(freezer, error))
    return fail(Errc::unsupported, "there is no cgroup freezer here: " + freezer.string(),
                "mount the freezer controller, or use cgroup v2");
  if (frozen && !unified_) keep_freezing();
  const std::string_view word = unified_ ? (frozen ? "1" : "0") : (frozen ? "FROZEN" : thawed_word);
  return write_file_in_place(freezer, word);
}

Fd Cgroups::quick_freezer(const InstanceId& id) const {
  if (unified_) return {};
  auto file = open_file((group("freezer", id) / "freezer.state").string(), O_WRONLY);
  return file ? std::move(*file) : Fd();
}

void Cgroups::keep_freezing() const {
  std::error_code error;
  fs::create_directory(freezing(), error);
  (void)write_file_in_place(freezing() / "freezer.state", "FROZEN");
}

void Cgroups::forget_freezing() const { ::rmdir(freezing().c_str()); }

bool Cgroups::is_frozen(const InstanceId& id) const {
  const auto freezer = group("freezer", id);
  if (unified_) return field_in(freezer / "cgroup.events", "frozen") == 1;
  // Reading is also what makes version 1 look again whether everybody has stopped.
  auto state = read_file(freezer / "freezer.state", file_bytes_max);
  return state && trim(*state) == "FROZEN";
}

bool Cgroups::reclaim(const InstanceId& id, std::uint64_t bytes) const {
  const auto memory = group("memory", id);
  // Version 1 can only throw out everything at once (memory.force_empty), the program's own pages too: measured, the
  // thaw after that took 4 ms in place of 0.3. There the kernel takes what it needs when it needs it.
  return unified_ && write_file_in_place(memory / "memory.reclaim", std::to_string(bytes)).has_value();
}

std::uint64_t Cgroups::oom_kills(const InstanceId& id) const {
  const auto memory = group("memory", id);
  return unified_ ? field_in(memory / "memory.events", "oom_kill")
                  : field_in(memory / "memory.oom_control", "oom_kill");
}

Result<Usage> Cgroups::usage(const InstanceId& id) const {
  if (!exists(id)) return fail(Errc::not_found, "the instance has no control group any more");
  const auto memory = group("memory", id);
  Usage usage;
  usage.oom_kills = oom_kills(id);
  usage.pids = static_cast<std::uint32_t>(number_in(group("pids", id) / "pids.current"));
  if (unified_) {
    usage.memory_bytes = number_in(memory / "memory.current");
    usage.memory_peak_bytes = number_in(memory / "memory.peak", usage.memory_bytes);
    usage.memory_limit_bytes = number_in(memory / "memory.max");
    usage.cpu_usec = field_in(memory / "cpu.stat", "usage_usec");
  } else {
    usage.memory_bytes = number_in(memory / "memory.usage_in_bytes");
    usage.memory_peak_bytes = number_in(memory / "memory.max_usage_in_bytes");
    usage.memory_limit_bytes = number_in(memory / "memory.limit_in_bytes");
    usage.cpu_usec = number_in(group("cpuacct", id) / "cpuacct.usage") / 1000;
  }
  return usage;
}

std::vector<pid_t> Cgroups::processes(const InstanceId& id) const {
  std::vector<pid_t> found;
  if (auto members = read_file(group("pids", id) / "cgroup.procs", file_bytes_max))
    for (const auto line : split(*members, '\n'))
      if (const auto pid = parse_unsigned(line); pid && *pid > 1) found.push_back(static_cast<pid_t>(*pid));
  return found;
}

void Cgroups::remove(const InstanceId& id) const {
  std::error_code error;
  std::vector<fs::path> groups;
  if (unified_) {
    groups.push_back(group("", id));
  } else {
    for (const auto& hierarchy : fs::directory_iterator(mount_, error)) {
      if (hierarchy.is_symlink(error)) continue;
      if (const auto found = hierarchy.path() / "wick" / id.text(); fs::exists(found, error)) groups.push_back(found);
    }
  }
  for (const auto& folder : groups) {
    if (auto members = read_file(folder / "cgroup.procs", file_bytes_max))
      for (const auto line : split(*members, '\n'))
        if (const auto pid = parse_unsigned(line); pid && *pid > 1) ::kill(static_cast<pid_t>(*pid), SIGKILL);
    ::rmdir(folder.c_str());
  }
}

}  // namespace wick::container
