// A tag as a registry's store keeps it.
#pragma once

#include "pushed_manifest.hpp"
#include "registry_files.hpp"
#include "wick/image/registry_store.hpp"

namespace wick::image {

struct RegistryStore::Tag {
  BlobDigest manifest;
  std::optional<Digest> image;

  std::string text() const;
  /// nullopt for what nobody here wrote.
  static std::optional<Tag> parse(std::string_view text);
};

/// Names of the content store that are tags of the repository, and what they lead to.
std::map<std::string, Digest> own_tags(const ContentStore& content, std::string_view repository);

}  // namespace wick::image
