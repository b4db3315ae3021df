// A manifest or index as it is pushed: who sends it chooses every byte of it (OCI image-spec manifest.md,
// image-index.md; Docker's schema 2). Its bytes are kept as they came; this is what a registry has to know of them.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/image/blob_digest.hpp"

namespace wick::image {

struct PushedDescriptor {
  std::string media_type;
  BlobDigest digest;
  std::uint64_t size = 0;
  bool elsewhere = false;  // a layer that no registry need have ("urls", non-distributable)
  bool runs_here = true;   // of an index's entry: its platform is this machine's, or it has none
};

struct PushedManifest {
  std::string media_type;
  bool is_index = false;
  std::optional<PushedDescriptor> config;
  std::vector<PushedDescriptor> layers;
  std::vector<PushedDescriptor> manifests;  // of an index
  std::optional<BlobDigest> subject;
  std::string artifact_type;  // where it has none: the media type of its config
  std::map<std::string, std::string> annotations;

  /// Its config is one of an image: what is not may be anything.
  bool is_image() const;
};

inline constexpr std::size_t pushed_manifest_bytes_max = 4 << 20;  // the spec asks for at least that
inline constexpr std::size_t pushed_descriptors_max = 10'000;

/// `content_type` is the field of the request, with its parameters; it may be empty where the manifest says what it is.
/// Errors: invalid, naming what is wrong.
Result<PushedManifest> parse_pushed_manifest(std::string_view bytes, std::string_view content_type);

}  // namespace wick::image
