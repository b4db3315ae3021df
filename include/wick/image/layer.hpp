// A layer as a tar stream (OCI image-spec layer.md) and as a folder that overlayfs can use as it is.
// Both functions meet hostile bytes or hostile trees and are meant to run in a short-lived child that has nothing to
// lose: its own user namespace, chrooted into the folder, no network. They must be safe outside of one as well.
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
  std::size_t depth_max = 256;
  // A compressed archive may grow by this factor; the first bytes are free, since short ones of zeros are honest.
  std::uint64_t ratio_max = 200;
  std::uint64_t ratio_free_bytes = 100ull << 20;
};

enum class Whiteouts {
  /// A layer, into a folder of its own: ".wh.x" becomes an overlay whiteout (0/0 character device), ".wh..wh..opq" the
  /// xattr
  /// user.overlay.opaque. A later entry replaces what an earlier one made, folders too; a folder entry sets its
  /// attributes.
  translate,
  /// Not a layer (COPY), into a tree that is there already: ".wh." names are Errc::invalid. Folders that exist, or are
  /// reached through a
  /// symlink, stay as they are; files and symlinks are replaced; a file over a folder or a folder over a file is
  /// Errc::conflict.
  refuse,
  /// As `refuse`, but what is in the way is replaced, and folders get what the archive says of them: ADD of a tar.
  refuse_and_replace,
};

enum class Owners {
  kept,
  mine,  // everything belongs to this process: what a process without rights can do
};

struct Unpacked {
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;
  std::uint64_t xattr_whiteouts =
      0;  // made as files with user.overlay.whiteout, since mknod was denied: needs Linux 6.7 to mount
  std::uint64_t devices_left_out = 0;
};

/// Unpacks a tar stream (plain, gzip or zstd, told by its first bytes) from `fd` below `root`. Symlinks that are part
/// of the tree or of the archive are resolved as if `root` were "/" and never lead out of it; an absolute name is taken
/// from there, ".." is Errc::invalid. Devices below dev/ are left out (every runtime mounts its own /dev), other
/// devices are Errc::invalid. Owners, modes (setuid too), mtimes and xattrs (user.*, security.capability) are kept;
/// other xattrs and user.overlay.* are left out. Errors: invalid, corrupt (also bytes after the end), too_large,
/// conflict, unsupported, io. What was written by then stays: throw the folder away.
Result<Unpacked> unpack(int fd, const std::filesystem::path& root, Whiteouts whiteouts, const UnpackLimits& limits = {},
                        Owners owners = Owners::kept);

struct PackOptions {
  std::string subpath;  // pack only this file or folder below root (symlinks resolved inside root); empty: everything
  /// Names in the archive start with this; it names the file or folder itself. Empty is the subpath's own last
  /// component ("." or "/" with a folder: its contents become the top of the archive). Folders above it get no entries.
  std::string prefix;
  bool overlay_upper =
      false;  // translate overlay whiteouts and opaque xattrs (trusted.* and user.*) back to ".wh." entries
  std::int64_t clamp_mtime = -1;  // later mtimes become this one (SOURCE_DATE_EPOCH), on disk too, so that packing
                                  // again gives the same bytes; -1 keeps them
  std::uint32_t id_offset = 0;    // subtracted from every uid and gid on disk (0 inside a user namespace)
  std::uint64_t bytes_max = 20ull << 30;  // sparse files count and are written in full
};

/// Writes `root` as a deterministic tar to `fd`: sorted names, numeric ids, no user names, whole seconds, PAX only
/// where needed. The top folder itself has no entry unless the prefix names it. Sockets are left out, as are devices
/// below dev/. Errors: not_found (no such subpath), invalid (a device, a name no layer can hold, an owner below
/// id_offset), too_large, conflict (a file shrank meanwhile), io.
Result<Unpacked> pack(const std::filesystem::path& root, int fd, const PackOptions& options);

}  // namespace wick::image
