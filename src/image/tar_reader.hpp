// Reads a tar stream member by member: POSIX ustar and PAX, GNU long names, old GNU and PAX sparse files (0.0,
// 0.1, 1.0). Made for hostile input: everything is bounded, checksums are checked, contradictions and NULs in names are
// refused.
#pragma once

#include <array>
#include <optional>
#include <span>

#include "byte_source.hpp"
#include "tar.hpp"

namespace wick::image {

class TarReader {
 public:
  explicit TarReader(ByteSource& source) : source_(source) {}

  /// The next member, after skipping what was not read of the last one; nullopt after the end marker (then the stream
  /// is read to its end, so that checksums behind it count, and anything but zeros there is corrupt) or at an end
  /// between members.
  Result<std::optional<TarEntry>> next();

  /// Stored bytes of the current member; 0 at their end. For a sparse file these are its runs, one after the other.
  Result<std::size_t> read(std::span<char> into);

 private:
  using Block = std::array<char, tar_block>;
  using Records = std::map<std::string, std::string, std::less<>>;
  struct Extras;  // what the metadata members before a header said

  Result<bool> read_block(Block& block);
  Result<std::string> read_metadata();
  Result<void> skip_data();
  Result<void> read_to_the_end();
  Result<void> read_header(const Block& block, TarEntry& entry);
  Result<void> apply_extras(Extras& extras, TarEntry& entry);
  Result<void> read_old_sparse_map(const Block& block, TarEntry& entry);
  Result<void> read_sparse_map_from_data(TarEntry& entry);

  ByteSource& source_;
  std::uint64_t stored_ = 0;   // unread data bytes of the current member
  std::uint64_t padding_ = 0;  // to the next block
  bool ended_ = false;
};

}  // namespace wick::image
