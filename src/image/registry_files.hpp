// Where the registry's things are (wick/image/registry_store.hpp):
//   blobs/<algorithm>/<hex>                         complete, on disk for certain, immutable
//   uploads/<random>-<repository's hash>            as far as they have come
//   repositories/<name>/_blobs/<digest>             the repository has that blob; its time is when it was last asked
//   for repositories/<name>/_manifests/<digest>         the media type; its time 0: it has had a tag
//   repositories/<name>/_referrers/<subject>/<digest>  the referrer's descriptor
//   repositories/<name>/_tags/<tag>                 {"manifest": digest, "image": digest or ""}
// No component of a repository's name begins with '_'.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "wick/base/error.hpp"
#include "wick/image/blob_digest.hpp"

namespace wick::image {

inline constexpr const char* blob_links_name = "_blobs";
inline constexpr const char* manifest_links_name = "_manifests";
inline constexpr const char* referrers_name = "_referrers";
inline constexpr const char* tags_name = "_tags";

/// One name for what several mean: "library/hello" and "docker.io/library/hello" are "hello".
std::string canonical_repository(std::string_view repository);
/// What the content store calls the image; "" where it can have no name.
std::string name_of(std::string_view repository, std::string_view tag);

/// An empty file, or one that is touched.
Result<void> make_link(const std::filesystem::path& link);
void touch(const std::filesystem::path& file);
/// As if it were from 1970: nothing that is being pushed.
void make_old(const std::filesystem::path& file);
/// Written, on disk for certain, then called so.
Result<void> write_durably(const std::filesystem::path& beside, const std::filesystem::path& target,
                           std::string_view bytes);
Result<void> sync_file_system(const std::filesystem::path& folder);
bool is_file(const std::filesystem::path& path);

}  // namespace wick::image
