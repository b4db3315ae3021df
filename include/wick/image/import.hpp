// Images that come as files: an OCI layout (folder or tar) or what `docker save` writes.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/image/content_store.hpp"

namespace wick::image {

/// An import does not take the last of the disk: databases and logs are there too.
inline constexpr std::uint64_t free_bytes_kept = 512ull << 20;
/// Errors: unavailable when less than that is free below `folder`.
Result<void> check_room(const std::filesystem::path& folder);

struct Imported {
  Image image;
  std::vector<std::string> names;  // that it has in the store now
};

/// Copies every image at `source` into `store` under the names it has there; with a `reference` only the one of that
/// name, or, where there is no other, that one under this name.
///
/// Layers are stored uncompressed, each under its DiffID, so the manifest is a new one; the config keeps every field.
/// Every digest and size is checked on the way. A tar is unpacked below `scratch` first. Of an image for several
/// platforms this machine's is taken. Blocks. Reads hostile bytes: run it in a child without rights. Errors: invalid
/// (no image in there, one without a name, or several and `reference` is none of them), corrupt, not_found (a blob is
/// missing), too_large, unsupported (no variant for this machine), unavailable (check_room).
Result<std::vector<Imported>> import_images(const ContentStore& store, const std::filesystem::path& source,
                                            const std::filesystem::path& scratch, std::string_view reference = "");
/// The same from a tar that is read from `archive` (plain, gzip or zstd), which need not be a file.
Result<std::vector<Imported>> import_archive(const ContentStore& store, int archive,
                                             const std::filesystem::path& scratch, std::string_view reference = "");

}  // namespace wick::image
