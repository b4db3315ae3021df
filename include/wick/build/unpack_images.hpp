// Archives of images that come from outside: read by a child that can write to one folder and start nothing.
#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "wick/base/digest.hpp"
#include "wick/base/error.hpp"
#include "wick/os/loop.hpp"

namespace wick::build {

/// The folder below `scratch` that is an image layout afterwards.
inline constexpr const char* image_layout_name = "content";

struct UnpackedImage {
  Digest manifest;
  std::string name;
};

/// The next bytes of the archive; 0 at its end.
using ReadArchive = std::function<awaitable<Result<std::size_t>>(std::span<char>)>;

/// The images of an archive (wick/image/import.hpp), or the one called `name`, into a layout below `scratch`, an empty
/// folder. What is there afterwards is what the child says it is, and no more to be trusted:
/// image::ContentStore::adopt(). Cancelling, and an error of `read`, kills the child. Errors: those of `read` and of
/// image::import_archive.
awaitable<Result<std::vector<UnpackedImage>>> unpack_images(ReadArchive read, std::filesystem::path scratch,
                                                            std::string name);

}  // namespace wick::build
