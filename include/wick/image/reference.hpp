// Names of images as people and Dockerfiles write them, and what they mean: "debian:bookworm" is
// docker.io/library/debian:bookworm. The grammar and the defaults are those of github.com/distribution/reference.
#pragma once

#include <string>
#include <string_view>

#include "wick/base/digest.hpp"
#include "wick/base/error.hpp"

namespace wick::image {

struct Reference {
  std::string registry;    // "docker.io", "registry.example:5000"; never empty
  std::string repository;  // "library/debian"
  std::string tag;         // "latest" when neither tag nor digest was given; "" with only a digest
  Digest digest;           // empty() where there is none

  /// "docker.io/library/debian:bookworm@sha256:…"
  std::string canonical() const;
  /// As people write it: "debian:bookworm", "ghcr.io/a/b:v1". Names in the content store are these.
  std::string familiar() const;

  bool operator==(const Reference&) const = default;
};

/// Errors: invalid, naming the part that is wrong.
Result<Reference> parse_reference(std::string_view text);

/// What a registry calls a repository: components of [a-z0-9]+ joined by '.', '_', '__' or dashes, '/' between them, at
/// most 255 bytes (distribution-spec "Pulling manifests"). A first component may look like a host.
bool is_repository_name(std::string_view text);
/// [A-Za-z0-9_][A-Za-z0-9._-]{0,127}
bool is_tag(std::string_view text);

}  // namespace wick::image
