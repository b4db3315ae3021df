#include "memory_share.hpp"

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <string>

#include "wick/base/text.hpp"

namespace wick::http {

namespace fs = std::filesystem;

namespace {

struct Files {
  fs::path folder;
  const char* limit;
  const char* usage;
  const char* droppable;  // the line of memory.stat
};

std::optional<std::uint64_t> read_number(const fs::path& file) {
  std::ifstream in(file);
  std::string text;
  if (!(in >> text)) return std::nullopt;
  return parse_unsigned(text);  // "max" is none
}

std::uint64_t stat_line(const fs::path& file, std::string_view name) {
  std::ifstream in(file);
  std::string key;
  std::uint64_t value = 0;
  while (in >> key >> value)
    if (key == name) return value;
  return 0;
}

std::optional<int> percent(const Files& files) {
  constexpr std::uint64_t no_limit = 1ull << 60;  // version 1 writes "none" as the largest page-aligned number
  const auto limit = read_number(files.folder / files.limit);
  const auto usage = read_number(files.folder / files.usage);
  if (!limit || !usage || *limit == 0 || *limit > no_limit) return std::nullopt;
  const auto droppable = stat_line(files.folder / "memory.stat", files.droppable);
  return static_cast<int>((*usage - std::min(*usage, droppable)) * 100 / *limit);
}

}  // namespace

std::optional<int> memory_percent(const fs::path& cgroup_of_process, const fs::path& mount) {
  std::ifstream in(cgroup_of_process);
  std::string line;
  while (std::getline(in, line)) {  // "4:memory:/path", and "0::/path" for version 2
    const auto first = line.find(':');
    const auto second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const auto controllers = line.substr(first + 1, second - first - 1);
    const auto path = fs::path(line.substr(second + 1)).relative_path();
    if (controllers.empty()) {
      if (auto share = percent({mount / path, "memory.max", "memory.current", "inactive_file"})) return share;
    } else if (controllers == "memory") {
      const Files files{mount / "memory" / path, "memory.limit_in_bytes", "memory.usage_in_bytes",
                        "total_inactive_file"};
      if (auto share = percent(files)) return share;
    }
  }
  return std::nullopt;
}

}  // namespace wick::http
