// Tar to folder. Idea: names are only ever used one component at a time on a descriptor of their parent folder, and
// that descriptor comes from openat2 with RESOLVE_IN_ROOT (tree.hpp). A file is always new (O_EXCL after unlink), never
// written through.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "tar_reader.hpp"
#include "tree.hpp"
#include "wick/base/text.hpp"
#include "wick/image/layer.hpp"
#include "wick/os/files.hpp"

namespace wick::image {

namespace {

constexpr std::string_view whiteout_prefix = ".wh.";
constexpr std::string_view opaque_name = ".wh..wh..opq";
// Names of folders whose times are set at the end; keeps a hostile archive of long folder names from taking all memory.
constexpr std::size_t pending_name_bytes_max = 256 << 20;
// The kernel gives up after 40 symlinks (path_resolution(7)); so do folders made behind dangling ones.
constexpr int symlinks_max = 40;
constexpr std::size_t unpack_buffer_bytes = 256 << 10;

class Unpacker {
 public:
  Unpacker(Tree& tree, Whiteouts whiteouts, const UnpackLimits& limits, Owners owners)
      : tree_(tree),
        layer_(whiteouts == Whiteouts::translate),
        replace_(whiteouts == Whiteouts::refuse_and_replace),
        limits_(limits),
        owners_(owners),
        buffer_(unpack_buffer_bytes, '\0') {}

  Result<Unpacked> run(TarReader& reader);

 private:
  /// Where an entry goes: its parent's descriptor and its own name there.
  struct Place {
    int folder = -1;
    std::string name;
    std::string path;
  };

  Result<void> add(const TarEntry& entry, TarReader& reader);
  Result<void> add_root(const TarEntry& entry);
  Result<Place> place_of(const std::string& path, const std::vector<std::string>& components);
  Result<Fd> make_folders(const std::string& path, int symlinks_left);
  Result<Fd> make_folder_at(int parent, const std::string& name, const std::string& path);
  Result<void> make_way(const Place& place);
  Result<void> remove(const Place& place);

  Result<void> add_file(const Place& place, const TarEntry& entry, TarReader& reader);
  Result<void> write_data(int file, const TarEntry& entry, TarReader& reader);
  Result<void> add_folder(const Place& place, const TarEntry& entry);
  Result<void> add_symlink(const Place& place, const TarEntry& entry);
  Result<void> add_hard_link(const Place& place, const TarEntry& entry);
  Result<void> add_fifo(const Place& place, const TarEntry& entry);
  Result<void> add_whiteout(const Place& place);
  Result<void> make_whiteout(const Place& place);

  Result<void> set_attributes(int fd, const TarEntry& entry);
  Result<void> set_later(const std::string& path, int fd, mode_t mode, timespec mtime);
  Result<void> set_pending();

  struct Pending {
    std::string path;
    std::size_t order;
    ino_t inode;
    mode_t mode;
    timespec mtime;
  };

  Tree& tree_;
  bool layer_;
  bool replace_;
  UnpackLimits limits_;
  Owners owners_;
  std::string buffer_;
  Unpacked done_;
  bool root_seen_ = false;
  // The last parent folder; archives list a folder's files in a row. Dropped when anything is removed, since that may
  // change what a path means.
  std::string parent_path_;
  Fd parent_;
  bool parent_stale_ = true;
  std::vector<Pending> pending_;
  std::size_t pending_name_bytes_ = 0;
};

timespec mtime_of(const TarEntry& entry) {
  return {.tv_sec = entry.mtime, .tv_nsec = static_cast<long>(entry.mtime_nanoseconds)};
}

Result<void> check(int result, std::string_view what) {
  if (result == 0) return {};
  return fail(system_error(what, errno));
}

Result<void> set_opaque(int folder, const char* value) {
  return check(::fsetxattr(folder, "user.overlay.opaque", value, 1, 0), "set user.overlay.opaque");
}

bool keeps_xattr(std::string_view name) {
  return name == "security.capability" || (name.starts_with("user.") && !name.starts_with("user.overlay."));
}

bool is_device(const TarEntry& entry) {
  return entry.type == TarType::character_device || entry.type == TarType::block_device;
}

bool is_device_whiteout(const TarEntry& entry) {
  return entry.type == TarType::character_device && entry.device_major == 0 && entry.device_minor == 0;
}

Result<void> set_owner(int result_of_stat, const struct stat& status, const TarEntry& entry, auto chown) {
  if (result_of_stat != 0) return fail(system_error("stat", errno));
  // 4294967295 means "leave it" to chown(2), and what is larger would be cut.
  if (entry.uid >= UINT32_MAX || entry.gid >= UINT32_MAX)
    return fail(Errc::invalid, fmt::format("owner {}:{} is not an id", entry.uid, entry.gid));
  if (status.st_uid == entry.uid && status.st_gid == entry.gid) return {};
  if (chown() == 0) return {};
  if (errno == EINVAL)
    return fail(Errc::invalid,
                fmt::format("owner {}:{} is outside the ids that can be used here", entry.uid, entry.gid));
  return fail(system_error(fmt::format("chown to {}:{}", entry.uid, entry.gid), errno));
}

Result<Unpacked> Unpacker::run(TarReader& reader) {
  while (true) {
    auto entry = reader.next();
    if (!entry) return fail(std::move(entry.error()));
    if (!*entry) break;
    if (owners_ == Owners::mine) {
      (*entry)->uid = ::geteuid();
      (*entry)->gid = ::getegid();
    }
    if (++done_.entries > limits_.entries_max)
      return fail(Errc::too_large, fmt::format("more than {} entries", limits_.entries_max));
    if ((*entry)->size > limits_.bytes_max - done_.bytes)
      return fail(Errc::too_large, fmt::format("{}: the files are larger than {} in all", printable((*entry)->name),
                                               human_bytes(limits_.bytes_max)));
    done_.bytes += (*entry)->size;
    if (auto added = add(**entry, reader); !added)
      return fail(std::move(added.error()).within(printable((*entry)->name)));
  }
  if (layer_ && !root_seen_) {
    // Overlay shows the attributes of the topmost layer's root.
    auto root = tree_.open_at("", O_RDONLY | O_DIRECTORY);
    if (!root) return fail(std::move(root.error()));
    if (auto set = set_later("", root->get(), 0755, timespec{}); !set) return fail(std::move(set.error()));
  }
  if (auto set = set_pending(); !set) return fail(std::move(set.error()));
  return done_;
}

Result<void> Unpacker::add(const TarEntry& entry, TarReader& reader) {
  auto components = safe_components(entry.name, limits_.path_bytes_max, limits_.depth_max);
  if (!components) return fail(std::move(components.error()));
  if (components->empty()) return add_root(entry);
  for (const auto& component : *components)
    if (component.starts_with(whiteout_prefix) && (!layer_ || &component != &components->back()))
      return fail(Errc::invalid,
                  "names that start with '.wh.' mean a deletion in a layer and cannot be used otherwise");

  if (is_device(entry) && !(layer_ && is_device_whiteout(entry))) {
    if (components->front() == "dev") {
      ++done_.devices_left_out;
      return {};
    }
    return fail(Errc::invalid,
                fmt::format("a device ({}:{}) cannot be part of an image", entry.device_major, entry.device_minor),
                "leave it out of the image; /dev is made when a container starts");
  }
  auto place = place_of(join(*components, components->size()), *components);
  if (!place) return fail(std::move(place.error()));
  if (place->name.starts_with(whiteout_prefix)) {
    if (entry.type != TarType::regular && entry.type != TarType::hard_link)
      return fail(Errc::invalid, "a whiteout must be an empty file");
    return add_whiteout(*place);
  }
  if (is_device(entry)) {
    place->name.insert(0, whiteout_prefix);
    return add_whiteout(*place);
  }
  switch (entry.type) {
    case TarType::regular:
      return add_file(*place, entry, reader);
    case TarType::folder:
      return add_folder(*place, entry);
    case TarType::symlink:
      return add_symlink(*place, entry);
    case TarType::hard_link:
      return add_hard_link(*place, entry);
    case TarType::fifo:
      return add_fifo(*place, entry);
    case TarType::character_device:
    case TarType::block_device:
      break;
  }
  return fail(Errc::internal, "a type of entry that should have been handled");
}

// An archive may say what the root is like, never that it is something other than a folder (CVE-2021-29136).
Result<void> Unpacker::add_root(const TarEntry& entry) {
  if (entry.type != TarType::folder) return fail(Errc::invalid, "the root of an archive must be a folder");
  if (!layer_) return {};
  root_seen_ = true;
  auto root = tree_.open_at("", O_RDONLY | O_DIRECTORY);
  if (!root) return fail(std::move(root.error()));
  if (auto set = set_attributes(root->get(), entry); !set) return set;
  return set_later("", root->get(), entry.mode, mtime_of(entry));
}

Result<Unpacker::Place> Unpacker::place_of(const std::string& path, const std::vector<std::string>& components) {
  std::string parent = join(components, components.size() - 1);
  if (parent_stale_ || parent != parent_path_) {
    parent_.reset();
    Fd folder = tree_.try_open(parent, O_PATH | O_DIRECTORY);
    if (!folder) {
      auto made = make_folders(parent, symlinks_max);
      if (!made) return fail(std::move(made.error()));
      folder = std::move(*made);
    }
    parent_ = std::move(folder);
    parent_path_ = std::move(parent);
    parent_stale_ = false;
  }
  return Place{.folder = parent_.get(), .name = components.back(), .path = path};
}

// `path` may have ".." in it here, from a symlink; it is resolved by the kernel component by component, inside the
// root.
Result<Fd> Unpacker::make_folders(const std::string& path, int symlinks_left) {
  std::string done;
  Fd folder = tree_.try_open("", O_PATH | O_DIRECTORY);
  for (const auto part : split(path, '/')) {
    if (part.empty() || part == ".") continue;
    const std::string name(part);
    const std::string next = done.empty() ? name : done + "/" + name;
    Fd inner = tree_.try_open(next, O_PATH | O_DIRECTORY);
    if (!inner && errno == ELOOP)
      return fail(Errc::invalid,
                  printable(next) + " is a symlink that leads in circles or through more than 40 others");
    if (!inner && errno != ENOENT && errno != ENOTDIR) return fail(system_error("open " + printable(next), errno));
    if (!inner) {
      auto made = make_folder_at(folder.get(), name, next);
      if (!made && made.error().code() == Errc::already_exists) {
        // A symlink to what is not there yet (/var/run -> /run): the folder is made where it leads, inside the root.
        char target[4096];
        const auto size = ::readlinkat(folder.get(), name.c_str(), target, sizeof target);
        if (size <= 0 || size == sizeof target || symlinks_left == 0)
          return fail(Errc::invalid, fmt::format("{} is not a folder", printable(next)));
        const std::string link(target, static_cast<std::size_t>(size));
        made = make_folders(link.starts_with('/') ? link : done + "/" + link, symlinks_left - 1);
      }
      if (!made) return made;
      inner = std::move(*made);
    }
    folder = std::move(inner);
    done = next;
  }
  return folder;
}

// A parent that the archive names only in passing. In a layer it must not depend on the day: time 0.
Result<Fd> Unpacker::make_folder_at(int parent, const std::string& name, const std::string& path) {
  bool over_whiteout = false;
  if (layer_) {
    auto status = stat_at(parent, name);
    if (!status) return fail(std::move(status.error()));
    if (*status && is_whiteout(parent, name, **status)) {
      over_whiteout = true;
      if (auto removed = remove_at(parent, name); !removed) return fail(std::move(removed.error()));
    }
  }
  if (::mkdirat(parent, name.c_str(), 0700) != 0) return fail(system_error("make folder " + printable(path), errno));
  Fd folder(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder) return fail(system_error("open " + printable(path), errno));
  if (over_whiteout)
    if (auto opaque = set_opaque(folder.get(), "y"); !opaque) return fail(std::move(opaque.error()));
  if (!layer_) {
    if (::fchmod(folder.get(), 0755) != 0) return fail(system_error("chmod " + printable(path), errno));
  } else if (auto set = set_later(path, folder.get(), 0755, timespec{}); !set) {
    return fail(std::move(set.error()));
  }
  return folder;
}

Result<void> Unpacker::remove(const Place& place) {
  parent_stale_ = true;  // the descriptor itself is still in use for this entry
  return remove_at(place.folder, place.name);
}

// Before something other than a folder is made.
Result<void> Unpacker::make_way(const Place& place) {
  auto status = stat_at(place.folder, place.name);
  if (!status) return fail(std::move(status.error()));
  if (!*status) return {};
  if (!layer_ && !replace_ && S_ISDIR((*status)->st_mode))
    return fail(Errc::conflict, "there is a folder of that name already");
  return remove(place);
}

Result<void> Unpacker::add_file(const Place& place, const TarEntry& entry, TarReader& reader) {
  if (auto way = make_way(place); !way) return way;
  Fd file(::openat(place.folder, place.name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return fail(system_error("create", errno));
  if (auto written = write_data(file.get(), entry, reader); !written) return written;
  if (auto set = set_attributes(file.get(), entry); !set) return set;
  if (auto mode = check(::fchmod(file.get(), entry.mode), "chmod"); !mode) return mode;
  const timespec times[2] = {mtime_of(entry), mtime_of(entry)};
  return check(::futimens(file.get(), times), "set the time");
}

Result<void> Unpacker::write_data(int file, const TarEntry& entry, TarReader& reader) {
  if (!entry.sparse) {
    while (true) {
      auto got = reader.read(buffer_);
      if (!got) return fail(std::move(got.error()));
      if (*got == 0) return {};
      if (auto written = write_all(file, std::string_view(buffer_).substr(0, *got)); !written) return written;
    }
  }
  for (const auto& run : entry.runs) {
    if (::lseek(file, static_cast<off_t>(run.offset), SEEK_SET) < 0) return fail(system_error("seek", errno));
    for (std::uint64_t left = run.size; left != 0;) {
      auto got = reader.read(std::span(buffer_).first(std::min<std::uint64_t>(left, buffer_.size())));
      if (!got) return fail(std::move(got.error()));
      if (*got == 0) return fail(Errc::corrupt, "a sparse file has fewer bytes than its map says");
      if (auto written = write_all(file, std::string_view(buffer_).substr(0, *got)); !written) return written;
      left -= *got;
    }
  }
  return check(::ftruncate(file, static_cast<off_t>(entry.size)), "set the size");
}

Result<void> Unpacker::add_folder(const Place& place, const TarEntry& entry) {
  auto status = stat_at(place.folder, place.name);
  if (!status) return fail(std::move(status.error()));
  bool over_whiteout = false;
  bool make = !*status;
  if (*status && !S_ISDIR((*status)->st_mode)) {
    if (!layer_) {
      if (S_ISLNK((*status)->st_mode) && tree_.try_open(place.path, O_PATH | O_DIRECTORY)) return {};
      if (!replace_) return fail(Errc::conflict, "there is a file of that name already");
    }
    over_whiteout = layer_ && is_whiteout(place.folder, place.name, **status);
    if (auto removed = remove(place); !removed) return removed;
    make = true;
  }
  if (!make && !layer_ && !replace_) return {};
  if (make)
    if (auto made = check(::mkdirat(place.folder, place.name.c_str(), 0700), "make folder"); !made) return made;
  Fd folder(::openat(place.folder, place.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder) return fail(system_error("open", errno));
  if (over_whiteout)
    if (auto opaque = set_opaque(folder.get(), "y"); !opaque) return opaque;
  if (auto set = set_attributes(folder.get(), entry); !set) return set;
  return set_later(place.path, folder.get(), entry.mode, mtime_of(entry));
}

Result<void> Unpacker::add_symlink(const Place& place, const TarEntry& entry) {
  if (entry.link.empty() || entry.link.size() > limits_.path_bytes_max)
    return fail(Errc::invalid, fmt::format("a symlink of {} bytes", entry.link.size()));
  if (auto way = make_way(place); !way) return way;
  if (auto made = check(::symlinkat(entry.link.c_str(), place.folder, place.name.c_str()), "make symlink"); !made)
    return made;
  struct stat status{};
  const int stat_result = ::fstatat(place.folder, place.name.c_str(), &status, AT_SYMLINK_NOFOLLOW);
  auto owner = set_owner(stat_result, status, entry, [&] {
    return ::fchownat(place.folder, place.name.c_str(), entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW);
  });
  if (!owner) return owner;
  const timespec times[2] = {mtime_of(entry), mtime_of(entry)};
  return check(::utimensat(place.folder, place.name.c_str(), times, AT_SYMLINK_NOFOLLOW), "set the time");
}

// The target's parent is resolved inside the root; the target itself is not followed, so a link to a symlink is a
// second symlink.
Result<void> Unpacker::add_hard_link(const Place& place, const TarEntry& entry) {
  auto target = safe_components(entry.link, limits_.path_bytes_max, limits_.depth_max);
  if (!target) return fail(std::move(target.error()).within("hard link"));
  if (target->empty()) return fail(Errc::invalid, "a hard link to the root");
  const std::string shown = printable(entry.link);
  const Fd folder = tree_.try_open(join(*target, target->size() - 1), O_PATH | O_DIRECTORY);
  if (!folder) return fail(Errc::invalid, fmt::format("a hard link to {}, which is not there", shown));
  auto status = stat_at(folder.get(), target->back());
  if (!status) return fail(std::move(status.error()));
  if (!*status) return fail(Errc::invalid, fmt::format("a hard link to {}, which is not there", shown));
  if (S_ISDIR((*status)->st_mode) || is_whiteout(folder.get(), target->back(), **status))
    return fail(Errc::invalid, fmt::format("a hard link to {}, which is not a file", shown));
  auto existing = stat_at(place.folder, place.name);
  if (!existing) return fail(std::move(existing.error()));
  if (*existing && (*existing)->st_ino == (*status)->st_ino && (*existing)->st_dev == (*status)->st_dev) return {};
  if (auto way = make_way(place); !way) return way;
  return check(::linkat(folder.get(), target->back().c_str(), place.folder, place.name.c_str(), 0),
               "make hard link to " + shown);
}

Result<void> Unpacker::add_fifo(const Place& place, const TarEntry& entry) {
  if (auto way = make_way(place); !way) return way;
  if (auto made = check(::mkfifoat(place.folder, place.name.c_str(), 0600), "make fifo"); !made) return made;
  Fd fifo(::openat(place.folder, place.name.c_str(), O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC));
  if (!fifo) return fail(system_error("open", errno));
  if (auto set = set_attributes(fifo.get(), entry); !set) return set;
  if (auto mode = check(::fchmod(fifo.get(), entry.mode), "chmod"); !mode) return mode;
  const timespec times[2] = {mtime_of(entry), mtime_of(entry)};
  return check(::futimens(fifo.get(), times), "set the time");
}

// OCI image-spec layer.md "Whiteouts": they speak of lower layers only, so what this layer has itself stays.
Result<void> Unpacker::add_whiteout(const Place& place) {
  if (place.name == opaque_name) {
    if (place.path == opaque_name)
      return fail(Errc::unsupported, "the layer hides everything below it, which an overlay's root cannot",
                  "build the image from scratch instead of deleting all of its base");
    Fd folder(::openat(place.folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder) return fail(system_error("open", errno));
    return set_opaque(folder.get(), "y");
  }
  const std::string name = place.name.substr(whiteout_prefix.size());
  if (name.empty() || name == "." || name == ".." || name.starts_with(whiteout_prefix))
    return fail(Errc::invalid, "a whiteout of a name that cannot exist");
  auto status = stat_at(place.folder, name);
  if (!status) return fail(std::move(status.error()));
  if (!*status) return make_whiteout({.folder = place.folder, .name = name, .path = place.path});
  if (!S_ISDIR((*status)->st_mode)) return {};  // hides the lower one by being there
  Fd folder(::openat(place.folder, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder) return fail(system_error("open", errno));
  return set_opaque(folder.get(), "y");
}

Result<void> Unpacker::make_whiteout(const Place& place) {
  if (::mknodat(place.folder, place.name.c_str(), S_IFCHR, makedev(0, 0)) == 0) return {};
  if (errno != EPERM) return fail(system_error("make whiteout", errno));
  // Documentation/filesystems/overlayfs.rst "Whiteouts and opaque directories": the parent must say that it has such
  // ones.
  Fd file(::openat(place.folder, place.name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return fail(system_error("make whiteout", errno));
  auto marked = check(::fsetxattr(file.get(), "user.overlay.whiteout", "y", 1, 0), "set user.overlay.whiteout");
  if (!marked) return marked;
  ++done_.xattr_whiteouts;
  Fd folder(::openat(place.folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return fail(system_error("open", errno));
  if (get_xattr(folder.get(), "user.overlay.opaque") == "y") return {};
  return set_opaque(folder.get(), "x");
}

// Owner first: chown takes setuid and file capabilities away. Mode and times are the caller's.
Result<void> Unpacker::set_attributes(int fd, const TarEntry& entry) {
  struct stat status{};
  const int stat_result = ::fstat(fd, &status);
  auto owner = set_owner(stat_result, status, entry, [&] { return ::fchown(fd, entry.uid, entry.gid); });
  if (!owner) return owner;
  for (const auto& [name, value] : entry.xattrs) {
    if (!keeps_xattr(name) || name.find('\0') != std::string::npos) continue;
    if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) continue;  // xattr(7): nothing else can have them
    if (::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) == 0) continue;
    if (errno == ENOSPC || errno == E2BIG || errno == ERANGE || errno == ENOTSUP)
      return fail(Errc::unsupported,
                  fmt::format("the file system cannot hold the xattr {} of {} bytes", printable(name), value.size()));
    return fail(system_error("set xattr " + printable(name), errno));
  }
  return {};
}

// Folders get mode and time when nothing is added to them any more.
Result<void> Unpacker::set_later(const std::string& path, int fd, mode_t mode, timespec mtime) {
  struct stat status{};
  if (::fstat(fd, &status) != 0) return fail(system_error("stat", errno));
  pending_name_bytes_ += path.size() + sizeof(Pending);
  if (pending_name_bytes_ > pending_name_bytes_max)
    return fail(Errc::too_large,
                fmt::format("the names of the folders take more than {}", human_bytes(pending_name_bytes_max)));
  pending_.push_back({.path = path, .order = pending_.size(), .inode = status.st_ino, .mode = mode, .mtime = mtime});
  return {};
}

Result<void> Unpacker::set_pending() {
  // Inner folders first, since an outer one may become unreadable; of two entries for one folder the later wins.
  std::sort(pending_.begin(), pending_.end(),
            [](const Pending& a, const Pending& b) { return a.path != b.path ? a.path > b.path : a.order < b.order; });
  for (const auto& pending : pending_) {
    const Fd folder = tree_.try_open(pending.path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    struct stat status{};
    // Replaced by a later entry: then its attributes are not these.
    if (!folder || ::fstat(folder.get(), &status) != 0 || status.st_ino != pending.inode) continue;
    const timespec times[2] = {pending.mtime, pending.mtime};
    if (::fchmod(folder.get(), pending.mode) != 0 || ::futimens(folder.get(), times) != 0)
      return fail(system_error("set attributes of " + printable(pending.path), errno));
  }
  return {};
}

}  // namespace

Result<Unpacked> unpack(int fd, const std::filesystem::path& root, Whiteouts whiteouts, const UnpackLimits& limits,
                        Owners owners) {
  auto tree = Tree::open(root);
  if (!tree) return fail(std::move(tree.error()));
  ByteSource source(fd, limits);
  TarReader reader(source);
  Unpacker unpacker(*tree, whiteouts, limits, owners);
  return unpacker.run(reader);
}

}  // namespace wick::image
