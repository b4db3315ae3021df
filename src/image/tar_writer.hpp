// Writes a tar stream: ustar headers, PAX in front only for what does not fit (long names, large numbers, xattrs, times
// before 1970). The same entries give the same bytes.
#pragma once

#include <string>
#include <string_view>

#include "tar.hpp"
#include "wick/base/error.hpp"

namespace wick::image {

/// The blocks before a member's bytes, the zeros after `size` of them, and those that end the archive. Pure.
std::string tar_header(const TarEntry& entry);
std::string tar_padding(std::uint64_t size);
std::string tar_end();

class TarWriter {
 public:
  explicit TarWriter(int fd) : fd_(fd) {}

  /// The header. A regular file's `size` bytes follow by data(); the next add() or finish() pads them.
  Result<void> add(const TarEntry& entry);
  Result<void> data(std::string_view bytes);
  /// The end marker, and everything is written.
  Result<void> finish();

 private:
  Result<void> put(std::string_view bytes);
  Result<void> flush();

  int fd_;
  std::string buffer_;
  std::string padding_;  // of the member before
};

}  // namespace wick::image
