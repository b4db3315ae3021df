// How much of the disk images may have, as journald has it: a ceiling for what they use, and a floor for what stays
// free for everybody else. Pure.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string_view>

#include "wick/base/error.hpp"

namespace wick::app {

/// Bytes, or a share of the file system, but then no more than `bytes`.
struct SpaceLimit {
  unsigned percent = 0;  // 0: just bytes
  std::uint64_t bytes = std::numeric_limits<std::uint64_t>::max();

  std::uint64_t of(std::uint64_t file_system) const {
    return percent ? std::min(file_system / 100 * percent, bytes) : bytes;
  }
  /// "20G" (K, M, G, T are powers of 1024), "1073741824", "50%". Errors: invalid.
  static Result<SpaceLimit> parse(std::string_view text);
};

struct ImageLimits {
  SpaceLimit use_max{.percent = 50};
  SpaceLimit free_min{.percent = 10, .bytes = 10ull << 30};
};

struct ImageSpace {
  std::uint64_t used = 0;         // by images: blobs and unpacked layers
  std::uint64_t free = 0;         // of the file system, for us
  std::uint64_t file_system = 0;  // all of it
};

/// What must go: 0 within the limits, else a tenth of the limit more than that, so that not every build is followed by
/// a collection.
std::uint64_t bytes_over(const ImageSpace& space, const ImageLimits& limits);

}  // namespace wick::app
