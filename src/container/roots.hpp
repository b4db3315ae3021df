// Root file systems: overlays of layer folders, mounted in the runner's own mount namespace for as long as somebody
// needs them.
//
// A service's root lives in the mount namespace that the runtime clones for it, so ours is unmounted as soon as the
// runtime has cloned: a running instance has no mount of the runner's, and nothing is left when the runner dies.
#pragma once

#include <filesystem>
#include <vector>

#include "helper_source.hpp"
#include "namespaces.hpp"
#include "wick/base/error.hpp"

namespace wick::container {

/// A mounted root; unmounted when dropped. Its place goes with it unless it is one of a name (Roots::place_of).
class MountedRoot {
 public:
  MountedRoot(std::filesystem::path path, bool keeps_place) : path_(std::move(path)), keeps_place_(keeps_place) {}
  MountedRoot(MountedRoot&& other) noexcept : path_(std::exchange(other.path_, {})), keeps_place_(other.keeps_place_) {}
  MountedRoot& operator=(MountedRoot&&) = delete;
  ~MountedRoot();
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  bool keeps_place_;
};

class Roots {
 public:
  /// Makes `area` a private tmpfs that every user may pass through but not list (a container's root reaches its own
  /// root folder by path), and the skeletons and the empty layer in `disk`. `area` and its parents must be reachable by
  /// every user.
  static Result<Roots> open(std::filesystem::path area, std::filesystem::path disk);
  Roots(Roots&& other) noexcept = default;
  Roots& operator=(Roots&&) = delete;
  ~Roots();

  /// What a root needs on top of its image: /proc, /dev, /sys and /tmp as real folders (whatever the image has there,
  /// e.g. a symlink: CVE-2025-31133) and the files of /etc that the runtime or the network gives.
  enum class Skeleton { none, service, build };

  /// `layers` bottom first; ids shifted from the store's range to `id_range`. With a `name` it is mounted at
  /// place_of(name), and the folder stays behind.
  Result<MountedRoot> mount_read_only(const std::vector<std::filesystem::path>& layers, std::uint32_t id_range,
                                      Skeleton skeleton, std::string_view name = {});
  /// The same, but what mounts itself into it may make the places it needs: they go to `scratch`, a new folder of the
  /// area that is removed by the caller when nothing runs on the root any more.
  Result<MountedRoot> mount_with_places(const std::vector<std::filesystem::path>& layers, std::uint32_t id_range,
                                        Skeleton skeleton, const std::filesystem::path& scratch, std::string_view name);
  /// Writes go to `upper`; `work` is emptied first. One mount a time for an upper.
  Result<MountedRoot> mount_writable(const std::vector<std::filesystem::path>& layers,
                                     const std::filesystem::path& upper, const std::filesystem::path& work,
                                     Skeleton skeleton);

  const std::filesystem::path& area() const { return area_; }
  /// Where the runtime has the root of container `name` on record. A later command in it (`runc exec`) begins with a
  /// step into that folder, so it must be there, if empty, for as long as the container is.
  std::filesystem::path place_of(std::string_view name) const { return area_ / "r" / name; }
  /// "resolv.conf" and "hosts" as instances have them, for a root whose own must not change.
  std::filesystem::path name_files() const { return area_ / "e"; }
  /// The user namespace of the store's range: what the helpers run in.
  HelperSource& helpers() { return helpers_; }
  Result<int> store_namespace() { return namespaces_.map(0, first_id(store_id_range)); }

 private:
  Roots(std::filesystem::path area, std::filesystem::path disk) : area_(std::move(area)), disk_(std::move(disk)) {}
  Result<MountedRoot> mount(std::vector<std::filesystem::path> layers, std::uint32_t id_range, Skeleton skeleton,
                            const std::string& upper, std::string_view name);

  std::filesystem::path area_;  // empty after a move
  std::filesystem::path disk_;
  UserNamespaces namespaces_;
  HelperSource helpers_;
  std::uint64_t next_ = 0;
};

/// Makes `path` a folder of the store's root user, mode 0755.
Result<void> make_store_folder(const std::filesystem::path& path, mode_t mode = 0755);

}  // namespace wick::container
