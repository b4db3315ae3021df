// A layer as a tar stream (OCI image-spec layer.md) and as a folder that overlayfs can use as it is.
// Both functions meet hostile bytes or hostile trees and are meant to run in a short-lived child that has nothing to lose: its own user
// namespace, chrooted into the folder, no network. They must be safe outside of one as well.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "wick/base/error.hpp"

namespace wick::image {

struct UnpackLimits {
  std::uint64_t bytes_max = 20ull << 30;
  std::uint64_t entries_max = 2'000'000;
  std::size_t path_bytes_max = 4095;
};

enum class Whiteouts {
  translate,  // ".wh.x" becomes an overlay whiteout (0/0 char device), ".wh..wh..opq" a user.overlay.opaque xattr
  refuse,     // not a layer: such names are Errc::invalid
};

struct Unpacked {
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;
};

/// Unpacks a tar stream (plain, gzip or zstd, told by its first bytes) from `fd` below `root`. Symlinks that are part of the tree or of
/// the archive are resolved as if `root` were "/" and never lead out of it; names with ".." or an absolute path stay inside or are
/// Errc::invalid. Devices other than whiteouts are Errc::invalid. Owners, modes, mtimes and xattrs (user.*, security.capability) are kept.
Result<Unpacked> unpack(int fd, const std::filesystem::path& root, Whiteouts whiteouts, const UnpackLimits& limits = {});

struct PackOptions {
  std::string subpath;             // pack only this file or folder below root (symlinks resolved inside root); empty: everything
  std::string prefix;              // names in the archive start with this instead of the subpath's own name
  bool overlay_upper = false;      // translate overlay whiteouts and opaque xattrs (trusted.* and user.*) back to ".wh." entries
  std::int64_t clamp_mtime = -1;   // later mtimes become this one (SOURCE_DATE_EPOCH); -1 keeps them
  std::uint32_t id_offset = 0;     // subtracted from every uid and gid on disk (0 inside a user namespace)
};

/// Writes `root` as a deterministic tar to `fd`: sorted names, numeric ids, no user names, PAX only where needed.
Result<Unpacked> pack(const std::filesystem::path& root, int fd, const PackOptions& options);

}  // namespace wick::image
