// Images as one tar file: an OCI image layout (OCI image-spec image-layout.md) that is a docker archive as well
// (github.com/moby/docker-image-spec, manifest.json), as `docker save` has written it since version 25. What takes
// either takes it: `skopeo copy oci-archive:`, `docker load`, `podman load`, `wick image load`.
//
// Its length is known before its first byte, and a layer may be made while it is written: nothing is held whole.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "wick/image/content_store.hpp"

namespace wick::image {

struct SavedImage {
  std::vector<std::string> names;  // familiar ones with their tag; empty: it is known by its digest only
  std::string manifest;            // as stored
  Image image;
};

/// A file of the archive, or, with a name that ends in '/', a folder.
struct ArchiveFile {
  std::string name;
  std::string bytes;  // its content, unless `blob` says which that is
  Digest blob;
  std::uint64_t size = 0;
};

/// In the order in which they are written: what is small and says what the rest is, then the layers. A blob that
/// several images have is there once. Pure.
std::vector<ArchiveFile> archive_files(const std::vector<SavedImage>& images);

/// The bytes before a file's own, those after `size` of them, and those at the end.
std::string archive_header(const ArchiveFile& file);
std::string archive_padding(std::uint64_t size);
std::string archive_end();
/// All of them together.
std::uint64_t archive_bytes(const std::vector<ArchiveFile>& files);

}  // namespace wick::image
