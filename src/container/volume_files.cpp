#include "volume_files.hpp"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <set>
#include <thread>

#include "wick/base/text.hpp"
#include "wick/os/files.hpp"

namespace wick::container {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view data_link = "..data";
constexpr std::string_view new_data_link = "..data_tmp";

Result<void> give(const fs::path& path, uid_t root, mode_t mode) {
  if (::lchown(path.c_str(), root, root) != 0 || ::chmod(path.c_str(), mode) != 0)
    return fail(system_error("give away " + path.string(), errno));
  return {};
}

Result<void> make_link(const std::string& to, const fs::path& path, uid_t root) {
  if (::symlink(to.c_str(), path.c_str()) != 0 || ::lchown(path.c_str(), root, root) != 0)
    return fail(system_error("make link " + path.string(), errno));
  return {};
}

std::string read_link(const fs::path& path) {
  std::error_code error;
  const auto to = fs::read_symlink(path, error);
  return error ? std::string() : to.string();
}

std::string moment_name() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(now);
  return fmt::format("..{:%Y_%m_%d_%H_%M_%S}.{:09}", fmt::gmtime(seconds.count()),
                     std::chrono::nanoseconds(now - seconds).count());
}

Result<void> fill(const fs::path& place, const std::vector<VolumeFile>& files, uid_t root) {
  for (const auto& file : files) {
    const fs::path relative(file.path);
    if (auto made = make_folders_inside(place, relative.parent_path(), root, 0755); !made) return made;
    if (auto written = write_file(place / relative, file.content, 0600); !written) return written;
    if (auto given = give(place / relative, root, file.mode); !given) return given;
  }
  return {};
}

/// Whether `place` holds exactly `files`. What cannot be read is different.
bool holds(const fs::path& place, const std::vector<VolumeFile>& files) {
  std::error_code error;
  std::size_t found = 0;
  for (fs::recursive_directory_iterator at(place, error), end; !error && at != end; at.increment(error))
    if (!at->is_directory(error)) ++found;
  if (error || found != files.size()) return false;
  return std::ranges::all_of(files, [&](const VolumeFile& file) {
    struct stat info{};
    if (::stat((place / file.path).c_str(), &info) != 0 || (info.st_mode & 0777) != file.mode) return false;
    const auto content = read_file(place / file.path, file.content.size() + 1);
    return content && *content == file.content;
  });
}

std::set<std::string> top_names(const std::vector<VolumeFile>& files) {
  std::set<std::string> names;
  for (const auto& file : files) names.emplace(split(file.path, '/').front());
  return names;
}

Result<void> enter_mounts(const Fd& process) {
  if (::unshare(CLONE_FS) != 0 || ::setns(process.get(), CLONE_NEWNS) != 0)
    return fail(system_error("enter an instance's mounts", errno));
  return {};
}

/// This thread alone, for good: the rights of a process of that user. Raw calls, as those of glibc are for all threads.
Result<void> become(uid_t user) {
  if (::syscall(SYS_setgroups, 0, nullptr) != 0 || ::syscall(SYS_setresgid, user, user, user) != 0 ||
      ::syscall(SYS_setresuid, user, user, user) != 0)
    return fail(system_error("become the root of an instance", errno));
  return {};
}

/// A mount of its own, in no namespace, of what is mounted on `target` here.
Result<Fd> clone_writable(const std::string& target) {
  Fd mount(static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD, target.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)));
  if (!mount) return fail(system_error("open the volume on " + target, errno));
  mount_attr change{};
  change.attr_clr = MOUNT_ATTR_RDONLY;
  if (::syscall(SYS_mount_setattr, mount.get(), "", AT_EMPTY_PATH, &change, sizeof change) != 0)
    return fail(system_error("write to the volume on " + target, errno));
  struct statfs info{};
  struct stat link{};
  if (::fstatfs(mount.get(), &info) != 0 || info.f_type != TMPFS_MAGIC ||
      ::fstatat(mount.get(), data_link.data(), &link, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISLNK(link.st_mode))
    return fail(Errc::not_found, fmt::format("no volume of files is mounted on {}", printable(target, 200)));
  return mount;
}

Result<Fd> open_tmpfs_file(const std::string& path) {
  Fd file(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct statfs system{};
  struct stat info{};
  if (!file || ::fstatfs(file.get(), &system) != 0 || system.f_type != TMPFS_MAGIC || ::fstat(file.get(), &info) != 0 ||
      !S_ISREG(info.st_mode))
    return fail(Errc::not_found, fmt::format("no file is mounted on {}", printable(path, 200)));
  return file;
}

/// `work` in the mount namespace of `process`. A thread cannot leave one again, so it is one for this.
template <class Work>
auto inside(const Fd& process, Work work) {
  decltype(work()) outcome = fail(Errc::io, "the thread did not run");
  std::thread([&] {
    auto entered = enter_mounts(process);
    outcome = entered ? work() : fail(std::move(entered.error()));
  }).join();
  return outcome;
}

}  // namespace

Result<void> make_folders_inside(const fs::path& top, const fs::path& relative, uid_t root, mode_t mode) {
  fs::path at = top;
  for (const auto& part : relative) {
    at /= part;
    if (::mkdir(at.c_str(), 0700) != 0) {
      if (errno == EEXIST) continue;
      return fail(system_error("make folder " + at.string(), errno));
    }
    if (auto given = give(at, root, mode); !given) return given;
  }
  return {};
}

Result<void> publish_files(const fs::path& folder, const std::vector<VolumeFile>& files, uid_t root) {
  const auto before = read_link(folder / data_link);
  if (!before.empty() && holds(folder / before, files)) return {};
  const auto now = moment_name();
  if (auto made = make_folders_inside(folder, now, root, 0755); !made) return made;
  auto done = fill(folder / now, files, root);
  (void)::unlink((folder / new_data_link).c_str());  // of an attempt that was cut short
  if (done) done = make_link(now, folder / new_data_link, root);
  if (done && ::rename((folder / new_data_link).c_str(), (folder / data_link).c_str()) != 0)
    done = fail(system_error("publish files", errno));
  if (!done) {
    (void)remove_tree(folder / now);
    return done;
  }
  // From here on readers see the new files; the rest is names that come and go, and may be done again.
  const auto names = top_names(files);
  for (const auto& name : names)
    if (const auto to = std::string(data_link) + "/" + name; read_link(folder / name) != to)
      if (auto made = make_link(to, folder / name, root); !made) return made;
  std::error_code error;
  std::vector<fs::path> stale;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    const auto name = at->path().filename().string();
    const bool is_link = read_link(at->path()).starts_with(std::string(data_link) + "/");
    if ((is_link && !names.contains(name)) || (name.starts_with("..2") && name != now)) stale.push_back(at->path());
  }
  for (const auto& path : stale)
    if (auto removed = remove_tree(path); !removed) return removed;
  return {};
}

Result<void> publish_files_in(const Fd& process, const std::string& target, const std::vector<VolumeFile>& files,
                              uid_t root) {
  return inside(process, [&]() -> Result<void> {
    auto volume = clone_writable(target);
    if (!volume) return fail(std::move(volume.error()));
    if (::fchdir(volume->get()) != 0) return fail(system_error("enter the volume on " + target, errno));
    if (auto became = become(root); !became) return became;
    auto published = publish_files(".", files, root);
    if (!published) return fail(std::move(published.error()).within("volume on " + target));
    return {};
  });
}

Result<Fd> open_file_in(const Fd& process, const std::string& path) {
  return inside(process, [&] { return open_tmpfs_file(path); });
}

}  // namespace wick::container
