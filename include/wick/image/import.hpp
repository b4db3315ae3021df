// Images that come as files: an OCI layout (folder or tar) or what `docker save` writes.
#pragma once

#include <filesystem>
#include <string_view>

#include "wick/base/error.hpp"
#include "wick/image/content_store.hpp"

namespace wick::image {

/// Copies the image at `source` into `store` under the name `reference`, or under the name it has there when that is
/// empty.
///
/// Layers are stored uncompressed, each under its DiffID, so the manifest is a new one; the config keeps every field.
/// Every digest and size is checked on the way. A tar is unpacked below `scratch` first. Of an image for several
/// platforms this machine's is taken. Blocks. Reads hostile bytes: run it in a child without rights. Errors: invalid
/// (no image in there, or several and no name that chooses), corrupt, not_found (a blob is missing), too_large,
/// unsupported (no variant for this machine).
Result<Image> import_image(const ContentStore& store, const std::filesystem::path& source,
                           const std::filesystem::path& scratch, std::string_view reference = "");

}  // namespace wick::image
