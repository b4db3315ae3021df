// One member of a tar archive, as the reader gives it and the writer takes it: bytes for names, numbers for owners, no
// locale. Own code instead of libarchive's: names in PAX headers are bytes here (libarchive turns them into the
// locale's characters, '?' under LANG=C), the same tree gives the same archive byte for byte, and what is odd is
// refused instead of guessed at.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace wick::image {

inline constexpr std::size_t tar_block = 512;

enum class TarType : char {
  regular = '0',
  hard_link = '1',
  symlink = '2',
  character_device = '3',
  block_device = '4',
  folder = '5',
  fifo = '6',
};

/// A stretch of a sparse file that has bytes; what lies between is a hole.
struct SparseRun {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

struct TarEntry {
  std::string name;
  std::string link;  // of hard_link and symlink
  TarType type = TarType::regular;
  std::uint32_t mode = 0;  // 07777
  std::uint64_t uid = 0;
  std::uint64_t gid = 0;
  std::int64_t mtime = 0;
  std::uint32_t mtime_nanoseconds = 0;
  std::uint64_t size = 0;  // as the file will show it; a sparse file stores less
  bool sparse = false;
  std::vector<SparseRun> runs;  // of a sparse file: ascending, apart, inside size
  std::uint32_t device_major = 0;
  std::uint32_t device_minor = 0;
  std::map<std::string, std::string> xattrs;  // sorted, so that archives are
};

}  // namespace wick::image
