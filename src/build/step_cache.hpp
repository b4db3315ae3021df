// Which step made which layer: one small file a key. A lost or torn file only means that the step runs again.
#pragma once

#include <ctime>
#include <filesystem>
#include <optional>
#include <vector>

#include "wick/base/digest.hpp"
#include "wick/image/content_store.hpp"

namespace wick::build {

/// What a step left behind: a layer, or nothing (WORKDIR of a folder that was there).
struct StepResult {
  std::optional<image::Descriptor> layer;
};

/// Blocks on disk (small files).
class StepCache {
 public:
  StepCache() = default;  // finds nothing
  static Result<StepCache> open(std::filesystem::path folder);
  /// Counts as a use.
  std::optional<StepResult> find(const Digest& key) const;
  struct Entry {
    Digest key;
    StepResult result;
    std::time_t used = 0;
  };
  std::vector<Entry> entries() const;
  Result<void> put(const Digest& key, const StepResult& result) const;
  void forget(const Digest& key) const;

 private:
  std::optional<StepResult> read(const Digest& key) const;
  explicit StepCache(std::filesystem::path folder) : folder_(std::move(folder)) {}
  std::filesystem::path folder_;
};

}  // namespace wick::build
