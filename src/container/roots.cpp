#include "roots.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/mount.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "embedded.hpp"
#include "wick/base/log.hpp"
#include "wick/os/files.hpp"

namespace wick::container {

namespace fs = std::filesystem;

namespace {

// glibc 2.36 has no wrappers with these names in every header order; the numbers are the kernel's.
int open_tree_at(const char* path) {
  return static_cast<int>(
      ::syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW));
}
int set_attributes(int tree, mount_attr& attributes) {
  return static_cast<int>(::syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attributes, sizeof attributes));
}
int attach(int tree, const char* path) {
  return static_cast<int>(::syscall(SYS_move_mount, tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH));
}

/// A layer folder attached under a short name, its ids shifted; detached when dropped. Overlayfs clones what it is
/// given, so this lives only until the overlay is mounted. Short names matter: mount(2) takes one page of options for
/// up to 100 lowers.
class Lower {
 public:
  static Result<Lower> attach_layer(const fs::path& layer, const fs::path& place, int user_namespace) {
    Fd tree(open_tree_at(layer.c_str()));
    if (!tree) return fail(system_error("open layer " + layer.string(), errno));
    mount_attr attributes{};
    attributes.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID;
    if (user_namespace >= 0) {
      attributes.attr_set |= MOUNT_ATTR_IDMAP;
      attributes.userns_fd = static_cast<std::uint64_t>(user_namespace);
    }
    if (set_attributes(tree.get(), attributes) != 0)
      return fail(
          Errc::unsupported, system_error("id-map layer " + layer.string(), errno).message(),
          "keep the state folder on a file system with id-mapped mounts: ext4, xfs or btrfs, Linux 5.19 or newer");
    if (::mkdir(place.c_str(), 0700) != 0 && errno != EEXIST)
      return fail(system_error("make folder " + place.string(), errno));
    if (attach(tree.get(), place.c_str()) != 0) return fail(system_error("attach layer " + layer.string(), errno));
    return Lower(place);
  }
  Lower(Lower&& other) noexcept : place_(std::exchange(other.place_, {})) {}
  Lower& operator=(Lower&&) = delete;
  ~Lower() {
    if (!place_.empty()) ::umount2(place_.c_str(), MNT_DETACH);
  }
  const fs::path& place() const { return place_; }

 private:
  explicit Lower(fs::path place) : place_(std::move(place)) {}
  fs::path place_;
};

Result<void> check_reachable(const fs::path& folder) {
  for (fs::path path = folder; path != path.root_path(); path = path.parent_path()) {
    struct stat info{};
    if (::stat(path.c_str(), &info) != 0) return fail(system_error("look at " + path.string(), errno));
    if (!(info.st_mode & S_IXOTH))
      return fail(Errc::invalid,
                  fmt::format("the run folder must be reachable by every user, but {} has mode {:o}", path.string(),
                              info.st_mode & 07777),
                  "chmod o+x " + path.string());
  }
  return {};
}

Result<void> put_file(const fs::path& path, std::string_view bytes) {
  if (auto written = write_file(path, bytes); !written) return written;
  if (::chown(path.c_str(), first_id(store_id_range), first_id(store_id_range)) != 0)
    return fail(system_error("chown " + path.string(), errno));
  return {};
}

/// The daemon's own resolver (runner.hpp: inside_dns). Names of one or two labels are services first: "hello" and
/// "hello.default" are found as on a cluster.
constexpr std::string_view resolv_conf =
    "nameserver 127.0.0.53\nsearch svc.cluster.local\noptions ndots:2 timeout:3 attempts:2\n";

Result<void> put_name_files(const fs::path& folder) {
  if (auto put = put_file(folder / "resolv.conf", resolv_conf); !put) return put;
  return put_file(folder / "hosts", "127.0.0.1\tlocalhost wick\n::1\tlocalhost ip6-localhost\n");
}

Result<void> make_skeletons(const fs::path& disk) {
  for (const char* kind : {"empty", "service", "build"}) {
    const fs::path root = disk / kind;
    if (auto removed = remove_tree(root); !removed) return removed;
    if (auto made = make_store_folder(root); !made) return made;
    if (std::string_view(kind) == "empty") continue;
    for (const char* name : {"proc", "dev", "sys", "etc"})
      if (auto made = make_store_folder(root / name); !made) return made;
    if (auto put = put_name_files(root / "etc"); !put) return put;
  }
  if (auto put = put_file(disk / "service/etc/hostname", "wick\n"); !put) return put;
  for (const char* name : {".wick", ".wick/park", ".wick/park/python"})
    if (auto made = make_store_folder(disk / "service" / name); !made) return made;
  if (auto put = put_file(disk / "service/.wick/park/node.cjs", embedded::park_node); !put) return put;
  if (auto put = put_file(disk / "service/.wick/park/python/sitecustomize.py", embedded::park_python); !put) return put;
  return make_store_folder(disk / "service/tmp", 01777);
}

}  // namespace

Result<void> make_store_folder(const fs::path& path, mode_t mode) {
  if (::mkdir(path.c_str(), 0700) != 0) return fail(system_error("make folder " + path.string(), errno));
  if (::chown(path.c_str(), first_id(store_id_range), first_id(store_id_range)) != 0 ||
      ::chmod(path.c_str(), mode) != 0)
    return fail(system_error("give folder " + path.string() + " to the store's range", errno));
  return {};
}

MountedRoot::~MountedRoot() {
  if (path_.empty()) return;
  if (::umount2(path_.c_str(), MNT_DETACH) != 0)
    log::warn("root left mounted", {{"path", path_.string()}, {"error", system_error("umount", errno).message()}});
  if (!keeps_place_) ::rmdir(path_.c_str());
}

Result<Roots> Roots::open(fs::path area, fs::path disk) {
  if (auto made = make_folders(area, 0711); !made) return fail(std::move(made.error()));
  if (auto checked = check_reachable(area); !checked) return fail(std::move(checked.error()));
  while (::umount2(area.c_str(), MNT_DETACH) == 0) {
  }  // of an earlier life in this mount namespace
  if (::mount("wick", area.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=0711,size=256m") != 0)
    return fail(system_error("mount a tmpfs on " + area.string(), errno));
  if (::mount(nullptr, area.c_str(), nullptr, MS_PRIVATE, nullptr) != 0)
    return fail(system_error("make " + area.string() + " private", errno));
  Roots roots(std::move(area), std::move(disk));
  for (const char* name : {"r", "l", "e"})
    if (auto made = make_folders(roots.area_ / name, 0711); !made) return fail(std::move(made.error()));
  if (auto put = put_name_files(roots.area_ / "e"); !put) return fail(std::move(put.error()));
  if (auto made = make_folders(roots.disk_, 0700); !made) return fail(std::move(made.error()));
  if (auto made = make_skeletons(roots.disk_); !made) return fail(std::move(made.error()));
  return roots;
}

Roots::~Roots() {
  if (!area_.empty()) ::umount2(area_.c_str(), MNT_DETACH);
}

Result<MountedRoot> Roots::mount_read_only(const std::vector<fs::path>& layers, std::uint32_t id_range,
                                           Skeleton skeleton, std::string_view name) {
  return mount(layers, id_range, skeleton, {}, name);
}

Result<MountedRoot> Roots::mount_with_places(const std::vector<fs::path>& layers, std::uint32_t id_range,
                                             Skeleton skeleton, const fs::path& scratch, std::string_view name) {
  const fs::path upper = scratch / "u";
  const fs::path work = scratch / "w";
  for (const auto& folder : {scratch, upper, work})
    if (auto made = make_folders(folder, 0700); !made) return fail(std::move(made.error()));
  // The root folder's owner and mode are those of the upper one.
  if (::chown(upper.c_str(), first_id(id_range), first_id(id_range)) != 0 || ::chmod(upper.c_str(), 0755) != 0)
    return fail(system_error("give away " + upper.string(), errno));
  return mount(layers, id_range, skeleton, fmt::format(",upperdir={},workdir={}", upper.string(), work.string()), name);
}

Result<MountedRoot> Roots::mount_writable(const std::vector<fs::path>& layers, const fs::path& upper,
                                          const fs::path& work, Skeleton skeleton) {
  // "volatile" (below) leaves a mark in the work folder that refuses the next mount.
  if (auto removed = remove_tree(work); !removed) return fail(std::move(removed.error()));
  if (auto made = make_folders(work, 0700); !made) return fail(std::move(made.error()));
  // volatile: no fsync reaches the disk. Who publishes the upper syncs it once.
  return mount(layers, store_id_range, skeleton,
               fmt::format(",upperdir={},workdir={},volatile", upper.string(), work.string()), {});
}

Result<MountedRoot> Roots::mount(std::vector<fs::path> layers, std::uint32_t id_range, Skeleton skeleton,
                                 const std::string& upper, std::string_view name) {
  if (skeleton != Skeleton::none) layers.push_back(disk_ / (skeleton == Skeleton::service ? "service" : "build"));
  if (layers.empty() || (upper.empty() && layers.size() < 2))
    layers.insert(layers.begin(), disk_ / "empty");  // overlayfs wants two

  int user_namespace = -1;
  if (id_range != store_id_range) {
    auto mapped = namespaces_.map(first_id(store_id_range), first_id(id_range));
    if (!mapped) return fail(std::move(mapped.error()));
    user_namespace = *mapped;
  }
  std::vector<Lower> lowers;
  std::string options = "userxattr,lowerdir=";
  for (std::size_t i = layers.size(); i-- > 0;) {  // overlayfs wants the top first
    auto lower = Lower::attach_layer(layers[i], area_ / "l" / std::to_string(i), user_namespace);
    if (!lower) return fail(std::move(lower.error()));
    options += lower->place().string() + (i == 0 ? "" : ":");
    lowers.push_back(std::move(*lower));
  }
  options += upper;
  if (options.size() >= 4096)
    return fail(Errc::too_large, "the run folder's path is too long for an overlay of that many layers");
  const fs::path place = place_of(name.empty() ? std::to_string(next_++) : std::string(name));
  if (::mkdir(place.c_str(), 0755) != 0) return fail(system_error("make folder " + place.string(), errno));
  const unsigned long flags = MS_NODEV | (upper.empty() ? MS_RDONLY : 0UL);
  if (::mount("wick", place.c_str(), "overlay", flags, options.c_str()) != 0) {
    const int error = errno;
    ::rmdir(place.c_str());
    return fail(system_error("mount an overlay of " + std::to_string(layers.size()) + " layers", error));
  }
  return MountedRoot(place, !name.empty());
}

}  // namespace wick::container
