// What a RUN step sees besides its root: on the wire, and as places that the runtime binds from.
#pragma once

#include <array>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "layer_folders.hpp"
#include "roots.hpp"
#include "wick/container/runner.hpp"

namespace wick::container {

/// A mount is this many NUL-terminated strings.
inline constexpr std::size_t mount_strings = 11;
std::array<std::string, mount_strings> strings_of(const StepMount& mount);
/// Errors: invalid, for whatever is out of bounds.
Result<StepMount> parse_mount(std::span<const std::string_view> strings);

/// One entry of config.json's "mounts".
struct BundleMount {
  std::string target;
  std::string type;
  std::string source;
  std::string options;  // JSON strings, comma-separated
};

/// Attached in the runner's own mount namespace until the runtime has cloned it.
class StepMounts {
 public:
  /// Folders of other steps are held in `holds` for as long as the instance needs them.
  static Result<StepMounts> attach(const InstanceSpec& spec, Roots& roots, LayerFolders& layers,
                                   const std::filesystem::path& caches, std::vector<LayerFolders::Hold>& holds);
  StepMounts() = default;
  StepMounts(StepMounts&& other) noexcept = default;
  StepMounts& operator=(StepMounts&& other) noexcept {
    detach();
    entries_ = std::move(other.entries_);
    folder_ = std::exchange(other.folder_, {});
    roots_ = std::move(other.roots_);
    return *this;
  }
  ~StepMounts() { detach(); }
  const std::vector<BundleMount>& entries() const { return entries_; }

 private:
  void detach();
  std::vector<BundleMount> entries_;
  std::filesystem::path folder_;  // empty: nothing is attached
  std::vector<MountedRoot> roots_;
};

}  // namespace wick::container
