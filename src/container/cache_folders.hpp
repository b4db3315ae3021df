// How much of the disk cache mounts may take, and which of them go when it is more.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace wick::container {

struct CacheFolder {
  std::filesystem::path path;
  std::uint64_t bytes = 0;
  std::filesystem::file_time_type used;  // when a step had it last: the folder's own time, set by StepMounts
};

/// What the blocks of everything below `folder` take; a file with several names counts for each of them in part.
std::uint64_t disk_bytes_of(const std::filesystem::path& folder);

/// A twentieth of the file system that `caches` is on, at least 1 GiB and at most 20.
std::uint64_t cache_bytes_max(const std::filesystem::path& caches);

/// Every cache, measured: reads all of their folders.
std::vector<CacheFolder> measured_caches(const std::filesystem::path& caches);

/// Those to give up, longest unused first, so that the others take `bytes_max` at most.
std::vector<std::filesystem::path> superfluous(std::vector<CacheFolder> caches, std::uint64_t bytes_max);

}  // namespace wick::container
