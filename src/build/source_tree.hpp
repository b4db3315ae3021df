// The files a build takes from: listed once, then read below the folder only. Symlinks are followed as if the folder
// were "/", so nothing of the host can be reached however the source was made.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/digest.hpp"
#include "wick/base/error.hpp"
#include "wick/os/fd.hpp"

namespace wick::build {

struct SourceEntry {
  enum class Kind { file, folder, symlink } kind = Kind::file;
  std::string path;  // relative, no leading slash
  unsigned mode = 0644;
  std::uint64_t size = 0;
  std::int64_t mtime = 0;
  std::string target;  // of a symlink
};

/// Sorted by path; a pure value.
struct Listing {
  std::vector<SourceEntry> entries;

  const SourceEntry* find(std::string_view path) const;
  /// What `path` means with its symlinks followed inside the listing; "" is the top. nullopt: nothing is there.
  std::optional<std::string> resolve(std::string_view path) const;
  bool has_folder(std::string_view path) const;
  /// Everything below a folder ("" is all).
  std::vector<const SourceEntry*> below(std::string_view folder) const;
};

class SourceTree {
 public:
  static constexpr std::size_t entries_max = 1'000'000;
  static constexpr std::size_t depth_max = 128;

  /// Walks the folder. Sockets, pipes and devices are left out. Blocks.
  static Result<SourceTree> open(const std::filesystem::path& folder);

  const Listing& listing() const { return listing_; }
  Result<Fd> open_file(std::string_view path) const;
  Result<std::string> read(std::string_view path, std::size_t bytes_max) const;
  Result<Digest> hash(std::string_view path) const;

 private:
  Fd root_;
  Listing listing_;
};

}  // namespace wick::build
