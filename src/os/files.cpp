#include "wick/os/files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "wick/base/log.hpp"
#include "wick/base/text.hpp"

namespace wick {

namespace fs = std::filesystem;

namespace {

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};
using DirHandle = std::unique_ptr<DIR, CloseDir>;

bool is_dot(std::string_view name) { return name == "." || name == ".."; }

// By descriptor all the way down, so that a symlink swapped in meanwhile cannot lead out of the tree.
Result<void> remove_entries(Fd folder, const fs::path& shown) {
  ::fchmod(folder.get(), 0700);  // owners may remove what they locked
  const int raw = folder.release();
  DirHandle dir(::fdopendir(raw));
  if (!dir) {
    const int error = errno;
    ::close(raw);
    return fail(system_error(fmt::format("list {}", shown.string()), error));
  }
  while (const dirent* entry = ::readdir(dir.get())) {
    const std::string name = entry->d_name;
    if (is_dot(name)) continue;
    if (::unlinkat(raw, name.c_str(), 0) == 0 || errno == ENOENT) continue;
    if (errno != EISDIR && errno != EPERM)
      return fail(system_error(fmt::format("remove {}", (shown / name).string()), errno));
    Fd child(::openat(raw, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!child && errno == EACCES) {
      ::fchmodat(raw, name.c_str(), 0700, 0);
      child.reset(::openat(raw, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    }
    if (!child) return fail(system_error(fmt::format("open {}", (shown / name).string()), errno));
    if (auto inner = remove_entries(std::move(child), shown / name); !inner) return inner;
    if (::unlinkat(raw, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT)
      return fail(system_error(fmt::format("remove {}", (shown / name).string()), errno));
  }
  return {};
}

}  // namespace

Result<Fd> open_file(const fs::path& path, int flags, mode_t mode) {
  Fd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd) return fail(system_error("open " + path.string(), errno));
  return fd;
}

Result<std::string> read_all(int fd, std::size_t bytes_max) {
  std::string bytes;
  std::size_t used = 0;
  while (true) {
    bytes.resize(std::min(bytes_max + 1, std::max<std::size_t>(used + 16384, used * 2)));
    const auto got = ::read(fd, bytes.data() + used, bytes.size() - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(system_error("read", errno));
    if (got == 0) break;
    used += static_cast<std::size_t>(got);
    if (used > bytes_max) return fail(Errc::too_large, fmt::format("more than {}", human_bytes(bytes_max)));
  }
  bytes.resize(used);
  return bytes;
}

Result<std::string> read_file(const fs::path& path, std::size_t bytes_max) {
  auto fd = open_file(path, O_RDONLY);
  if (!fd) return fail(std::move(fd.error()));
  auto bytes = read_all(fd->get(), bytes_max);
  if (!bytes) return fail(std::move(bytes.error()).within(path.string()));
  return bytes;
}

Result<void> write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const auto written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail(system_error("write", errno));
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

Result<void> write_file(const fs::path& path, std::string_view bytes, mode_t mode) {
  auto fd = open_file(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
  if (!fd) return fail(std::move(fd.error()));
  if (auto written = write_all(fd->get(), bytes); !written)
    return fail(std::move(written.error()).within(path.string()));
  return {};
}

Result<void> write_file_atomically(const fs::path& path, std::string_view bytes, mode_t mode) {
  const fs::path beside = path.string() + "." + random_hex(6);
  const auto give_up = [&](Error error) {
    ::unlink(beside.c_str());
    return fail(std::move(error));
  };
  auto fd = open_file(beside, O_WRONLY | O_CREAT | O_EXCL, mode);
  if (!fd) return fail(std::move(fd.error()));
  if (auto written = write_all(fd->get(), bytes); !written)
    return give_up(std::move(written.error()).within(path.string()));
  if (::fsync(fd->get()) != 0) return give_up(system_error("fsync " + path.string(), errno));
  if (::rename(beside.c_str(), path.c_str()) != 0) return give_up(system_error("rename to " + path.string(), errno));
  const auto parent = path.has_parent_path() ? path.parent_path() : fs::path(".");
  auto folder = open_file(parent, O_RDONLY | O_DIRECTORY);
  if (!folder) return fail(std::move(folder.error()));
  if (::fsync(folder->get()) != 0) return fail(system_error("fsync " + parent.string(), errno));
  return {};
}

Result<void> remove_tree(const fs::path& path) {
  Fd folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder && errno == EACCES && ::chmod(path.c_str(), 0700) == 0)
    folder.reset(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder) {
    if (errno == ENOENT) return {};
    if (errno != ENOTDIR && errno != ELOOP) return fail(system_error("open " + path.string(), errno));
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail(system_error("remove " + path.string(), errno));
    return {};
  }
  if (auto removed = remove_entries(std::move(folder), path); !removed) return removed;
  if (::rmdir(path.c_str()) != 0 && errno != ENOENT) return fail(system_error("remove " + path.string(), errno));
  return {};
}

Result<void> make_folders(const fs::path& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) == 0) return {};
  if (errno == EEXIST && fs::is_directory(path)) return {};
  if (errno != ENOENT || !path.has_parent_path()) return fail(system_error("make folder " + path.string(), errno));
  if (auto parent = make_folders(path.parent_path(), mode); !parent) return parent;
  if (::mkdir(path.c_str(), mode) != 0 && errno != EEXIST)
    return fail(system_error("make folder " + path.string(), errno));
  return {};
}

Result<std::uint64_t> free_bytes(const fs::path& path) {
  struct statvfs stat{};
  if (::statvfs(path.c_str(), &stat) != 0) return fail(system_error("statvfs " + path.string(), errno));
  return static_cast<std::uint64_t>(stat.f_bavail) * stat.f_frsize;
}

std::uint64_t bytes_of_files_in(const fs::path& folder) {
  std::uint64_t bytes = 0;
  std::error_code error;
  for (const auto& file : fs::directory_iterator(folder, error)) {
    std::error_code gone;
    const auto size = file.file_size(gone);
    if (!gone) bytes += size;
  }
  return bytes;
}

Result<TemporaryFolder> TemporaryFolder::make(const fs::path& parent, std::string_view prefix) {
  std::string pattern = (parent / (std::string(prefix) + "XXXXXX")).string();
  if (::mkdtemp(pattern.data()) == nullptr) return fail(system_error("make folder " + pattern, errno));
  return TemporaryFolder(pattern);
}

TemporaryFolder::~TemporaryFolder() {
  if (path_.empty()) return;
  if (auto removed = remove_tree(path_); !removed)
    log::warn("temporary folder left behind", {{"path", path_.string()}, {"error", removed.error().what()}});
}

}  // namespace wick
