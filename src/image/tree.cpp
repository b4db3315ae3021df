#include "tree.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "wick/base/text.hpp"

namespace wick::image {

namespace {

// RESOLVE_IN_ROOT gives EAGAIN when something is renamed meanwhile; nothing should be, so few tries are enough.
constexpr int open_tries = 16;

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

}  // namespace

Result<Tree> Tree::open(const std::filesystem::path& root) {
  Fd fd(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fail(system_error("open " + root.string(), errno));
  return Tree(std::move(fd));
}

Fd Tree::try_open(const std::string& path, int flags) const {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags) | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  const char* inside = path.empty() ? "." : path.c_str();
  for (int i = 0; i < open_tries; ++i) {
    const long fd = ::syscall(SYS_openat2, root_.get(), inside, &how, sizeof how);
    if (fd >= 0) return Fd(static_cast<int>(fd));
    if (errno != EAGAIN && errno != EINTR) break;
  }
  return Fd();
}

Result<Fd> Tree::open_at(const std::string& path, int flags) const {
  Fd fd = try_open(path, flags);
  if (!fd) return fail(system_error("open " + printable(path), errno));
  return fd;
}

Result<std::vector<std::string>> safe_components(std::string_view path, std::size_t bytes_max, std::size_t depth_max) {
  if (path.size() > bytes_max)
    return fail(Errc::invalid,
                fmt::format("{}: a name of {} bytes; at most {}", printable(path, 60), path.size(), bytes_max));
  if (path.find('\0') != std::string_view::npos)
    return fail(Errc::invalid, printable(path) + ": a name with a NUL in it");
  std::vector<std::string> components;
  for (const auto part : split(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == "..") return fail(Errc::invalid, printable(path) + ": a name with '..' in it");
    if (part.size() > 255)
      return fail(Errc::invalid, fmt::format("{}: a name longer than 255 bytes", printable(part, 60)));
    if (components.size() == depth_max)
      return fail(Errc::invalid, fmt::format("{}: deeper than {} folders", printable(path, 60), depth_max));
    components.emplace_back(part);
  }
  return components;
}

std::string join(const std::vector<std::string>& components, std::size_t count) {
  std::string path;
  for (std::size_t i = 0; i < count; ++i) {
    if (i != 0) path += '/';
    path += components[i];
  }
  return path;
}

Result<std::optional<struct stat>> stat_at(int folder, const std::string& name) {
  struct stat status{};
  if (::fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) return status;
  if (errno == ENOENT) return std::nullopt;
  return fail(system_error("stat " + printable(name), errno));
}

Result<void> remove_at(int folder, const std::string& name) {
  if (::unlinkat(folder, name.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR && errno != EPERM) return fail(system_error("remove " + printable(name), errno));
  Fd inner(::openat(folder, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!inner) return fail(system_error("remove " + printable(name), errno));
  const std::unique_ptr<DIR, CloseDir> dir(::fdopendir(inner.get()));
  if (!dir) return fail(system_error("list " + printable(name), errno));
  const int raw = inner.release();
  while (const dirent* entry = ::readdir(dir.get())) {
    const std::string child = entry->d_name;
    if (child == "." || child == "..") continue;
    if (auto removed = remove_at(raw, child); !removed) return removed;
  }
  if (::unlinkat(folder, name.c_str(), AT_REMOVEDIR) == 0) return {};
  return fail(system_error("remove " + printable(name), errno));
}

std::optional<std::string> get_xattr(int fd, const char* name) {
  std::string value(64 << 10, '\0');  // XATTR_SIZE_MAX
  const auto size = ::fgetxattr(fd, name, value.data(), value.size());
  if (size < 0) return std::nullopt;
  value.resize(static_cast<std::size_t>(size));
  return value;
}

bool is_whiteout(int folder, const std::string& name, const struct stat& status) {
  if (S_ISCHR(status.st_mode)) return status.st_rdev == 0;
  if (!S_ISREG(status.st_mode) || status.st_size != 0) return false;
  Fd file(::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  return file && get_xattr(file.get(), "user.overlay.whiteout").has_value();
}

}  // namespace wick::image
