#include "cache_folders.hpp"

#include <sys/stat.h>

#include <algorithm>

namespace wick::container {

namespace fs = std::filesystem;

std::uint64_t disk_bytes_of(const fs::path& folder) {
  constexpr std::uint64_t block_bytes = 512;  // stat(2)
  std::uint64_t bytes = 0;
  std::error_code error;
  for (auto at = fs::recursive_directory_iterator(folder, error); !error && at != fs::end(at); at.increment(error)) {
    struct stat status{};
    if (::lstat(at->path().c_str(), &status) != 0) continue;
    const auto names = S_ISDIR(status.st_mode) ? 1 : status.st_nlink;
    bytes += static_cast<std::uint64_t>(status.st_blocks) * block_bytes / std::max<std::uint64_t>(names, 1);
  }
  return bytes;
}

std::uint64_t cache_bytes_max(const fs::path& caches) {
  constexpr std::uint64_t least = 1ull << 30;
  constexpr std::uint64_t most = 20ull << 30;
  std::error_code error;
  const auto disk = fs::space(caches, error);
  return error ? most : std::clamp<std::uint64_t>(disk.capacity / 20, least, most);
}

std::vector<CacheFolder> measured_caches(const fs::path& caches) {
  std::vector<CacheFolder> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(caches, error)) {
    std::error_code gone;
    const auto used = entry.last_write_time(gone);
    if (!gone) found.push_back({.path = entry.path(), .bytes = disk_bytes_of(entry.path()), .used = used});
  }
  return found;
}

std::vector<fs::path> superfluous(std::vector<CacheFolder> caches, std::uint64_t bytes_max) {
  std::ranges::sort(caches, {}, &CacheFolder::used);
  std::uint64_t total = 0;
  for (const auto& cache : caches) total += cache.bytes;
  std::vector<fs::path> given_up;
  for (const auto& cache : caches) {
    if (total <= bytes_max) break;
    total -= cache.bytes;
    given_up.push_back(cache.path);
  }
  return given_up;
}

}  // namespace wick::container
