// Names within an OCI image layout (image-layout.md).
#pragma once

#include <string>
#include <string_view>

#include "wick/base/digest.hpp"

namespace wick::image {

/// What the file oci-layout says.
inline constexpr std::string_view layout_document = R"({"imageLayoutVersion":"1.0.0"})";

inline std::string blob_name(const Digest& digest) { return "blobs/sha256/" + digest.hex(); }

}  // namespace wick::image
