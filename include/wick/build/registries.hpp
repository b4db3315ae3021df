// Registries, asked by children that can write to one folder: the parent's side.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "wick/image/registry.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/loop.hpp"

namespace wick::build {

using OnRegistryLine = std::function<void(std::string)>;

/// What the name means at its registry now. At most 20 s. Errors: those of image::resolve_digest.
awaitable<Result<Digest>> resolve_image(Clock& clock, image::RegistryTarget target);

struct PulledImage {
  Digest manifest;               // in the layout
  std::vector<Digest> known_as;  // at the registry
};
/// The size of a layer's tar, where it is here already.
using KnowsLayer = std::function<awaitable<Result<std::optional<std::uint64_t>>>(Digest)>;
/// Fetches into the layout `image_layout_name` below `scratch`, an empty folder; layers that `knows` are not in it.
/// What is there afterwards is what the child says it is, and no more to be trusted: image::ContentStore::adopt(). At
/// most 30 minutes. Cancelling kills the child. Errors: those of image::pull_image and of `knows`.
awaitable<Result<PulledImage>> pull_image(Clock& clock, image::RegistryTarget target, std::filesystem::path scratch,
                                          KnowsLayer knows, OnRegistryLine on_line);

/// Writes an archive of one image (wick/image/archive.hpp) into the sink.
using WriteArchive = std::function<awaitable<Result<void>>(std::function<awaitable<Result<void>>(std::string_view)>)>;
/// Uploads it; gives the manifest's digest at the registry. At most 30 minutes. Errors: those of `write` and of
/// image::push_image.
awaitable<Result<Digest>> push_image(Clock& clock, image::RegistryTarget target, std::filesystem::path scratch,
                                     std::string name, WriteArchive write, std::map<Digest, std::string> mounts,
                                     OnRegistryLine on_line);

}  // namespace wick::build
