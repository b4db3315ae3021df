// Folder to tar, the same bytes for the same tree: sorted names, numbers for owners, whole seconds. The tree may be
// hostile (the upper folder of a build step): nothing in it is followed, and only regular files are ever opened for
// reading.
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>

#include "tar_writer.hpp"
#include "tree.hpp"
#include "wick/base/text.hpp"
#include "wick/image/layer.hpp"

namespace wick::image {

namespace {

constexpr std::size_t depth_max = 2048;  // path_resolution(7): 4,096 bytes of path; descriptors are held one a level
constexpr std::size_t pack_buffer_bytes = 256 << 10;
constexpr std::size_t xattr_names_bytes_max = 64 << 10;  // Linux XATTR_LIST_MAX
constexpr std::string_view whiteout_prefix = ".wh.";
constexpr std::string_view opaque_name = ".wh..wh..opq";

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

class Packer {
 public:
  Packer(int fd, const PackOptions& options) : writer_(fd), options_(options), buffer_(pack_buffer_bytes, '\0') {}

  Result<void> add_top_folder(int folder, const std::string& name, const struct stat& status);
  Result<void> add_top_file(Fd file, const std::string& name);
  /// `name` empty: the top of the archive.
  Result<void> add_contents(Fd folder, const std::string& name, std::size_t depth);
  Result<Unpacked> finish();

 private:
  Result<void> add_entry(TarEntry entry);
  Result<void> add_file(Fd file, TarEntry entry, const struct stat& status);
  Result<void> add_folder(int parent, const std::string& on_disk, TarEntry entry, std::size_t depth);
  Result<void> add_any(int parent, const std::string& on_disk, const std::string& name, const struct stat& status,
                       std::size_t depth);
  Result<void> add_present(int parent, const std::string& on_disk, const std::string& name, const struct stat& status,
                           std::size_t depth);
  Result<void> add_deletion(const std::string& name);
  Result<void> read_xattrs(int fd, TarEntry& entry, bool& opaque) const;
  Result<TarEntry> entry_of(const std::string& name, const struct stat& status) const;

  TarWriter writer_;
  PackOptions options_;
  std::string buffer_;
  Unpacked done_;
  std::map<std::pair<dev_t, ino_t>, std::string> linked_;  // first names of files with several
};

std::string child_name(const std::string& folder, const std::string& name) {
  return folder.empty() ? name : folder + "/" + name;
}

std::string_view last_component(std::string_view path) { return path.substr(path.rfind('/') + 1); }

// Linux keeps the capabilities of a file made in a user namespace with that namespace's root (v3); in an archive they
// are without (v2). linux/capability.h: v2 is 20 bytes, v3 has the root's id behind them.
void forget_namespace(std::string& capability) {
  constexpr unsigned char revision_3 = 3;
  constexpr char revision_2 = 2;
  if (capability.size() != 24 || static_cast<unsigned char>(capability[3]) != revision_3) return;
  capability.resize(20);
  capability[3] = revision_2;
}

Result<TarEntry> Packer::entry_of(const std::string& name, const struct stat& status) const {
  if (status.st_uid < options_.id_offset || status.st_gid < options_.id_offset)
    return fail(Errc::invalid, fmt::format("{} is owned by {}:{}, below the range that starts at {}", printable(name),
                                           status.st_uid, status.st_gid, options_.id_offset));
  TarEntry entry;
  entry.name = name;
  entry.mode = status.st_mode & 07777;
  entry.uid = status.st_uid - options_.id_offset;
  entry.gid = status.st_gid - options_.id_offset;
  entry.mtime = status.st_mtim.tv_sec;
  if (options_.clamp_mtime >= 0) entry.mtime = std::min(entry.mtime, options_.clamp_mtime);
  return entry;
}

Result<void> Packer::add_entry(TarEntry entry) {
  ++done_.entries;
  return writer_.add(entry);
}

Result<void> Packer::add_top_folder(int folder, const std::string& name, const struct stat& status) {
  return add_any(folder, ".", name, status, 0);
}

Result<void> Packer::add_top_file(Fd file, const std::string& name) {
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) return fail(system_error("stat", errno));
  if (!S_ISREG(status.st_mode)) return fail(Errc::invalid, printable(name) + " is neither a file nor a folder");
  auto entry = entry_of(name, status);
  if (!entry) return fail(std::move(entry.error()));
  return add_file(std::move(file), std::move(*entry), status);
}

Result<void> Packer::add_any(int parent, const std::string& on_disk, const std::string& name, const struct stat& status,
                             std::size_t depth) {
  if (options_.overlay_upper && is_whiteout(parent, on_disk, status)) return add_deletion(name);
  if (last_component(name).starts_with(whiteout_prefix))
    return fail(Errc::invalid,
                fmt::format("{}: names that start with '.wh.' mean a deletion in a layer", printable(name)),
                "rename the file");
  if (S_ISSOCK(status.st_mode)) return {};  // tar has none; it means nothing without its server
  if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) {
    if (name.starts_with("dev/")) {
      ++done_.devices_left_out;
      return {};
    }
    return fail(Errc::invalid, fmt::format("{}: a device ({}:{}) cannot be part of an image", printable(name),
                                           major(status.st_rdev), minor(status.st_rdev)));
  }
  if (auto added = add_present(parent, on_disk, name, status, depth); !added) return added;
  if (!options_.overlay_upper || options_.clamp_mtime < 0 || status.st_mtim.tv_sec <= options_.clamp_mtime) return {};
  const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, {.tv_sec = options_.clamp_mtime, .tv_nsec = 0}};
  if (::utimensat(parent, on_disk.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0)
    return fail(system_error("set the time of " + printable(name), errno));
  return {};
}

Result<void> Packer::add_present(int parent, const std::string& on_disk, const std::string& name,
                                 const struct stat& status, std::size_t depth) {
  auto entry = entry_of(name, status);
  if (!entry) return fail(std::move(entry.error()));
  if (S_ISDIR(status.st_mode)) return add_folder(parent, on_disk, std::move(*entry), depth);
  if (S_ISREG(status.st_mode)) {
    Fd file(::openat(parent, on_disk.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!file) return fail(system_error("open " + printable(name), errno));
    return add_file(std::move(file), std::move(*entry), status);
  }
  if (S_ISFIFO(status.st_mode)) {
    entry->type = TarType::fifo;
    return add_entry(std::move(*entry));
  }
  entry->type = TarType::symlink;
  entry->link.resize(4096);
  const auto size = ::readlinkat(parent, on_disk.c_str(), entry->link.data(), entry->link.size());
  if (size < 0) return fail(system_error("read symlink " + printable(name), errno));
  entry->link.resize(static_cast<std::size_t>(size));
  entry->mode = 0777;
  return add_entry(std::move(*entry));
}

// A whiteout's own time and owner mean nothing, so they are always the same.
Result<void> Packer::add_deletion(const std::string& name) {
  const auto last = last_component(name);
  TarEntry entry;
  entry.name = std::string(name).insert(name.size() - last.size(), whiteout_prefix);
  return add_entry(std::move(entry));
}

Result<void> Packer::add_file(Fd file, TarEntry entry, const struct stat& status) {
  if (status.st_nlink > 1) {
    const auto [first, is_first] = linked_.try_emplace({status.st_dev, status.st_ino}, entry.name);
    if (!is_first) {
      entry.type = TarType::hard_link;
      entry.link = first->second;
      return add_entry(std::move(entry));
    }
  }
  entry.size = static_cast<std::uint64_t>(status.st_size);
  if (entry.size > options_.bytes_max - done_.bytes)
    return fail(Errc::too_large, fmt::format("{}: the files are larger than {} in all", printable(entry.name),
                                             human_bytes(options_.bytes_max)));
  done_.bytes += entry.size;
  const std::string name = entry.name;
  std::uint64_t left = entry.size;
  bool opaque = false;
  if (auto read = read_xattrs(file.get(), entry, opaque); !read) return read;
  if (auto added = add_entry(std::move(entry)); !added) return added;
  while (left != 0) {
    const auto got = ::read(file.get(), buffer_.data(), std::min<std::uint64_t>(left, buffer_.size()));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(system_error("read " + printable(name), errno));
    if (got == 0) return fail(Errc::conflict, fmt::format("{} became shorter while it was read", printable(name)));
    if (auto put = writer_.data(std::string_view(buffer_).substr(0, static_cast<std::size_t>(got))); !put) return put;
    left -= static_cast<std::uint64_t>(got);
  }
  return {};
}

Result<void> Packer::add_folder(int parent, const std::string& on_disk, TarEntry entry, std::size_t depth) {
  Fd folder(::openat(parent, on_disk.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder) return fail(system_error("open " + printable(entry.name), errno));
  const std::string name = entry.name;
  bool opaque = false;
  if (auto read = read_xattrs(folder.get(), entry, opaque); !read) return read;
  entry.type = TarType::folder;
  entry.name += '/';
  if (auto added = add_entry(std::move(entry)); !added) return added;
  if (opaque) {
    TarEntry marker;
    marker.name = child_name(name, std::string(opaque_name));
    if (auto added = add_entry(std::move(marker)); !added) return added;
  }
  return add_contents(std::move(folder), name, depth + 1);
}

Result<void> Packer::add_contents(Fd folder, const std::string& name, std::size_t depth) {
  if (depth > depth_max)
    return fail(Errc::too_large, fmt::format("{}: deeper than {} folders", printable(name, 60), depth_max));
  const std::unique_ptr<DIR, CloseDir> dir(::fdopendir(folder.get()));
  if (!dir) return fail(system_error("list " + printable(name), errno));
  const int raw = folder.release();
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* found = ::readdir(dir.get()))
    if (const std::string_view child = found->d_name; child != "." && child != "..") names.emplace_back(child);
  if (errno != 0) return fail(system_error("list " + printable(name), errno));
  std::sort(names.begin(), names.end());
  for (const auto& child : names) {
    auto status = stat_at(raw, child);
    if (!status) return fail(std::move(status.error()).within(printable(name)));
    if (!*status)
      return fail(Errc::conflict, fmt::format("{} went away meanwhile", printable(child_name(name, child))));
    if (auto added = add_any(raw, child, child_name(name, child), **status, depth); !added) return added;
  }
  return {};
}

Result<void> Packer::read_xattrs(int fd, TarEntry& entry, bool& opaque) const {
  std::string names(xattr_names_bytes_max, '\0');
  const auto size = ::flistxattr(fd, names.data(), names.size());
  if (size < 0 && errno == ENOTSUP) return {};
  if (size < 0) return fail(system_error("list xattrs of " + printable(entry.name), errno));
  names.resize(static_cast<std::size_t>(size));
  for (const auto name_view : split(names, '\0')) {
    const std::string name(name_view);
    const bool overlay = name.starts_with("user.overlay.") || name.starts_with("trusted.overlay.");
    if (!overlay && !name.starts_with("user.") && name != "security.capability") continue;
    auto value = get_xattr(fd, name.c_str());
    if (!value) continue;
    if (!overlay) {
      if (name == "security.capability") forget_namespace(*value);
      entry.xattrs[name] = std::move(*value);
    } else if (options_.overlay_upper && name.ends_with(".opaque")) {
      opaque = *value == "y";
    } else if (options_.overlay_upper && (name.ends_with(".redirect") || name.ends_with(".metacopy"))) {
      return fail(Errc::unsupported,
                  fmt::format("{} is only a reference ({}) to a lower layer", printable(entry.name), name),
                  "mount the step with redirect_dir=off,metacopy=off");
    }
  }
  return {};
}

Result<Unpacked> Packer::finish() {
  if (auto finished = writer_.finish(); !finished) return fail(std::move(finished.error()));
  return done_;
}

// "/a//b/" is "a/b".
std::string tidy(std::string_view path) {
  std::string tidied;
  for (const auto part : split(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (!tidied.empty()) tidied += '/';
    tidied += part;
  }
  return tidied;
}

}  // namespace

Result<Unpacked> pack(const std::filesystem::path& root, int fd, const PackOptions& options) {
  auto tree = Tree::open(root);
  if (!tree) return fail(std::move(tree.error()));
  const std::string subpath = tidy(options.subpath);
  const std::string name = tidy(options.prefix.empty() ? last_component(subpath) : std::string_view(options.prefix));
  if (name == ".." || name.starts_with("../") || name.find("/../") != std::string::npos || name.ends_with("/.."))
    return fail(Errc::invalid, fmt::format("'{}' cannot be the name of an entry", printable(name)));

  const Fd target = tree->try_open(subpath, O_PATH);
  if (!target && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
    return fail(Errc::not_found, fmt::format("there is no /{}", printable(subpath)));
  if (!target) return fail(system_error("open /" + printable(subpath), errno));
  struct stat status{};
  if (::fstat(target.get(), &status) != 0) return fail(system_error("stat /" + printable(subpath), errno));

  Packer packer(fd, options);
  Result<void> added;
  if (S_ISDIR(status.st_mode) && name.empty()) {
    auto folder = tree->open_at(subpath, O_RDONLY | O_DIRECTORY);
    if (!folder) return fail(std::move(folder.error()));
    added = packer.add_contents(std::move(*folder), "", 0);
  } else if (name.empty()) {
    return fail(Errc::invalid, fmt::format("/{} is a file and needs a name in the archive", printable(subpath)));
  } else if (S_ISDIR(status.st_mode)) {
    added = packer.add_top_folder(target.get(), name, status);
  } else {
    auto file = tree->open_at(subpath, O_RDONLY | O_NONBLOCK);
    if (!file) return fail(std::move(file.error()));
    added = packer.add_top_file(std::move(*file), name);
  }
  if (!added) return fail(std::move(added.error()));
  return packer.finish();
}

}  // namespace wick::image
