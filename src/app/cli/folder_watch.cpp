#include "app/cli/folder_watch.hpp"

#include <fmt/format.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

namespace wick::app::cli {

namespace fs = std::filesystem;

namespace {

// Not IN_MODIFY: a file that is being written is not saved yet, and a log that grows in the folder is no save at all.
constexpr std::uint32_t saves = IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB |
                                IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK;

std::int64_t nanoseconds_of(const timespec& time) { return time.tv_sec * 1'000'000'000LL + time.tv_nsec; }

}  // namespace

Result<FolderWatch> FolderWatch::open() {
  Fd inotify(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!inotify) return fail(system_error("watch folders", errno).hint("sysctl fs.inotify.max_user_instances=512"));
  return FolderWatch(std::move(inotify));
}

Result<bool> FolderWatch::cover(const fs::path& path) {
  const int watch = ::inotify_add_watch(inotify_.get(), path.c_str(), saves);
  if (watch >= 0) {
    if (root_ < 0) root_ = watch;
    return watches_.insert(watch).second;
  }
  if (errno == ENOENT || errno == ENOTDIR) return true;  // gone since it was listed: list again
  if (errno == ENOSPC)
    return fail(
        Errc::too_large, fmt::format("{} is one folder more than may be watched", path.string()),
        "leave out what the build does not need (.dockerignore), or: sysctl fs.inotify.max_user_watches=524288");
  return fail(system_error("watch " + path.string(), errno));
}

Result<bool> FolderWatch::cover(const Folder& folder) {
  // All of them each time: a folder that was moved has kept its watch, and the one in its place has none.
  auto any = cover(folder.root);
  if (!any) return any;
  for (const auto& entry : folder.entries) {
    if (entry.kind != FolderEntry::Kind::folder) continue;
    const auto added = cover(folder.root / entry.path);
    if (!added) return added;
    *any = *any || *added;
  }
  return any;
}

Result<bool> FolderWatch::take() {
  alignas(inotify_event) std::array<char, 16384> events;
  bool any = false;
  while (true) {
    const auto got = ::read(inotify_.get(), events.data(), events.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return any;
    if (got <= 0) return fail(system_error("read what changed", errno));
    for (const char* at = events.data(); at < events.data() + got;) {
      const auto* event = reinterpret_cast<const inotify_event*>(at);
      at += sizeof(inotify_event) + event->len;
      if (event->wd == root_ && (event->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT)))
        return fail(Errc::not_found, "the folder was removed or renamed", "run wick dev where it is now");
      if (event->mask & IN_IGNORED) {
        watches_.erase(event->wd);
        continue;
      }
      if (event->len == 0 || !is_editor_file(event->name)) any = true;  // IN_Q_OVERFLOW has no name either
    }
  }
}

bool is_editor_file(std::string_view name) {
  constexpr std::array<std::string_view, 8> ends{"~",         ".swp",  ".swo",         ".swx",
                                                 ".kate-swp", ".swpx", "___jb_tmp___", "___jb_old___"};
  for (const auto end : ends)
    if (name.ends_with(end)) return true;
  if (name.starts_with(".#") || (name.starts_with('#') && name.ends_with('#') && name.size() > 1))
    return true;  // Emacs
  if (name.starts_with(".goutputstream-") || (name.starts_with(".~lock.") && name.ends_with('#'))) return true;
  // Vim asks with 4913, then 5036, 5159 … whether it may write here.
  int number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  return error == std::errc() && end == name.data() + name.size() && number >= 4913 && (number - 4913) % 123 == 0;
}

FolderStamp::FolderStamp(const Folder& folder) {
  for (const auto& entry : folder.entries) {
    struct stat status{};
    if (::lstat((folder.root / entry.path).c_str(), &status) != 0) continue;
    const bool is_folder = S_ISDIR(status.st_mode);  // its times change with what is in it, editor's files too
    files_[entry.path] = is_folder ? File{.mode = status.st_mode}
                                   : File{.modified_ns = nanoseconds_of(status.st_mtim),
                                          .changed_ns = nanoseconds_of(status.st_ctim),
                                          .inode = status.st_ino,
                                          .bytes = static_cast<std::uint64_t>(status.st_size),
                                          .mode = status.st_mode};
  }
}

std::vector<std::string> FolderStamp::changes_since(const FolderStamp& before) const {
  std::vector<std::string> changed;
  for (const auto& [path, file] : files_) {
    const auto was = before.files_.find(path);
    if (was == before.files_.end() || was->second != file) changed.push_back(path);
  }
  for (const auto& [path, file] : before.files_)
    if (!files_.contains(path)) changed.push_back(path);
  std::ranges::sort(changed);
  return changed;
}

}  // namespace wick::app::cli
