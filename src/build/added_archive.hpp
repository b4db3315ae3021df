// ADD of a local archive: told by its content, read by a child without rights, and handed on as a plain tar.
#pragma once

#include <string>

#include "wick/base/error.hpp"
#include "wick/os/fd.hpp"
#include "wick/os/loop.hpp"

namespace wick::build {

/// The first bytes are those of gzip, bzip2, xz, zstd, or of a tar's header. Leaves the offset at the start.
bool may_be_archive(int file);

/// Writes what is in `archive` (tar; plain, gzip, bzip2, xz, zstd) to `out` as a tar with names below `destination`.
/// `owner` ("uid:gid") in place of the entries' own, unless empty. False: it is no archive after all. Errors: corrupt,
/// too_large.
awaitable<Result<bool>> rewrite_added_archive(Fd archive, Fd out, std::string destination, std::string owner);

/// The child's side: archive on descriptor 0, tar to `out`.
Result<bool> rewrite_archive_here(int out, const std::string& destination, const std::string& owner);

}  // namespace wick::build
