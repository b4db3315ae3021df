#include "app/drain_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/files.hpp"

namespace wick::app {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view suffix = ".drain";
constexpr int count_max = 999'999;
constexpr std::size_t file_bytes_max = 4 << 20;

std::string lines_of(const RequestCounts& counts) {
  std::string text;
  for (const auto& [id, count] : counts) text += fmt::format("{} {:6}\n", id.text(), std::clamp(count, 0, count_max));
  return text;
}

/// False where it is no more.
Result<bool> add_file(const fs::path& path, RequestCounts& counts) {
  auto file = open_file(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (!file) return fail(std::move(file.error()));
  if (::flock(file->get(), LOCK_SH | LOCK_NB) == 0) {
    ::unlink(path.c_str());
    return false;
  }
  auto text = read_all(file->get(), file_bytes_max);
  if (!text) return fail(std::move(text.error()));
  if (auto added = add_drain_lines(*text, counts); !added) return fail(std::move(added.error()));
  return true;
}

}  // namespace

Result<DrainFile> DrainFile::make(const fs::path& folder, RequestCounts counts) {
  if (auto made = make_folders(folder, 0700); !made) return fail(std::move(made.error()));
  // It gets its name once it is locked and whole.
  const auto path = folder / (random_hex(8) + std::string(suffix));
  const auto unnamed = path.string() + ".new";
  auto file = open_file(unnamed, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (!file) return fail(std::move(file.error()));
  if (::flock(file->get(), LOCK_EX | LOCK_NB) != 0) return fail(system_error("lock " + unnamed, errno));
  DrainFile made(path, std::move(*file), std::move(counts));
  const auto text = lines_of(made.counts_);
  if (auto written = write_all(made.file_.get(), text); !written) return fail(std::move(written.error()));
  if (::rename(unnamed.c_str(), path.c_str()) != 0) {
    auto error = system_error("rename " + unnamed, errno);
    ::unlink(unnamed.c_str());
    return fail(std::move(error));
  }
  return made;
}

DrainFile::~DrainFile() {
  if (file_) ::unlink(path_.c_str());
}

Result<void> DrainFile::update(const RequestCounts& counts) {
  bool changed = false;
  for (auto& [id, count] : counts_) {
    const auto found = counts.find(id);
    const int now = found == counts.end() ? 0 : found->second;
    changed |= std::exchange(count, now) != now;
  }
  if (!changed) return {};
  const auto text = lines_of(counts_);
  if (::pwrite(file_.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()))
    return fail(system_error("write " + path_.string(), errno));
  return {};
}

Result<void> add_drain_lines(std::string_view text, RequestCounts& counts) {
  std::size_t number = 0;
  while (!text.empty()) {
    ++number;
    const auto end = text.find('\n');
    const auto line = text.substr(0, end);
    auto id = container::InstanceId::parse(line.substr(0, container::InstanceId::size));
    const auto count = line.size() > container::InstanceId::size
                           ? parse_unsigned(trim(line.substr(container::InstanceId::size)))
                           : std::nullopt;
    if (end == std::string_view::npos || !id || !count || *count > static_cast<std::uint64_t>(count_max))
      return fail(Errc::corrupt,
                  fmt::format("line {}: expected an instance and a count, found '{}'", number, printable(line, 60)));
    counts[*id] += static_cast<int>(*count);
    text.remove_prefix(end + 1);
  }
  return {};
}

RequestCounts read_drain_files(const fs::path& folder) {
  RequestCounts counts;
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(folder, missing)) {
    if (!entry.path().filename().string().ends_with(suffix)) continue;
    RequestCounts own;
    auto added = add_file(entry.path(), own);
    if (!added && added.error().code() != Errc::not_found)
      log::warn("requests of an earlier process are not counted",
                {{"file", entry.path().string()}, {"error", added.error().what()}});
    if (added && *added)
      for (const auto& [id, count] : own) counts[id] += count;
  }
  return counts;
}

}  // namespace wick::app
