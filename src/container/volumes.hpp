// Volumes of a service's instance: on the wire, and as places that the runtime binds from.
//
// Each is a tmpfs of its own, made in the runner's mount namespace and taken away there as soon as the runtime has
// cloned it: it lives as long as the instance, its pages count as the instance's memory, and nothing of it is on disk.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "namespaces.hpp"
#include "step_mounts.hpp"
#include "wick/container/runner.hpp"

namespace wick::container {

/// On the wire: the files, and for each of them and of the rest a path and a few numbers.
inline constexpr std::size_t volumes_wire_max = volume_bytes_max + volume_files_max * 1100 + 2 * volumes_max * 2200;

/// `spec.volumes`, `spec.volume_mounts` and `spec.message_path`, length-prefixed.
std::string bytes_of_volumes(const InstanceSpec& spec);
/// Fills them in. Errors: invalid, for whatever is out of bounds.
Result<void> parse_volumes(std::string_view bytes, InstanceSpec& spec);
/// What the runner acts on without looking again. Errors: invalid, too_large.
Result<void> check_volumes(const InstanceSpec& spec);

/// Attached below `area` until dropped.
class Volumes {
 public:
  /// Those of `spec`; with `shared`, a pod's, only its mounts of these.
  static Result<Volumes> attach(const InstanceSpec& spec, const std::filesystem::path& area,
                                const Volumes* shared = nullptr);
  /// Those of a pod, for several attach() until it is dropped.
  static Result<Volumes> of_pod(const InstanceSpec& spec, const std::filesystem::path& area);
  Volumes() = default;
  Volumes(Volumes&& other) noexcept
      : entries_(std::move(other.entries_)),
        folder_(std::exchange(other.folder_, {})),
        count_(other.count_),
        message_(std::move(other.message_)) {}
  Volumes& operator=(Volumes&&) = delete;
  ~Volumes();
  const std::vector<BundleMount>& entries() const { return entries_; }
  /// The file of `spec.message_path`, to read; empty where there is none.
  Fd take_message() { return std::move(message_); }

 private:
  Result<void> open_folder(const std::filesystem::path& folder);
  Result<void> mount_all(const InstanceSpec& spec);
  Result<std::filesystem::path> mount_next(uid_t root, std::string_view mode, std::uint64_t size);
  Result<void> attach_message(const std::string& target, uid_t root);

  std::vector<BundleMount> entries_;  // outer ones first
  std::filesystem::path folder_;      // empty: nothing is attached
  std::size_t count_ = 0;
  Fd message_;
};

/// Brings the files of volumes that `process`, an instance's, has mounted as a whole to what `spec` says (its volumes,
/// mounts and id range count). Blocks. Errors: not_found for a volume that is not mounted there, io.
Result<void> update_volumes(const InstanceSpec& spec, const Fd& process);

}  // namespace wick::container
