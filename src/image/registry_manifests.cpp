// Manifests of a registry's store: whole bytes, under their digest, with what refers to them.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <set>

#include "oci_layout.hpp"
#include "registry_tags.hpp"
#include "wick/base/text.hpp"
#include "wick/os/files.hpp"

namespace wick::image {

namespace fs = std::filesystem;
namespace json = boost::json;

namespace {

constexpr std::size_t media_type_bytes_max = 1024;
constexpr std::size_t layout_manifests_max = 1'000;
constexpr const char* layout_reference = "org.opencontainers.image.ref.name";

std::string referrer_descriptor(const PushedManifest& manifest, const BlobDigest& digest, std::size_t size) {
  json::object descriptor{{"mediaType", manifest.media_type}, {"digest", digest.text()}, {"size", size}};
  if (!manifest.artifact_type.empty()) descriptor["artifactType"] = manifest.artifact_type;
  json::object annotations;
  for (const auto& [name, value] : manifest.annotations) annotations[name] = value;
  if (!annotations.empty()) descriptor["annotations"] = std::move(annotations);
  return json::serialize(descriptor);
}

ArchiveFile layout_file(std::string name, std::string bytes) {
  const auto size = bytes.size();
  return {.name = std::move(name), .bytes = std::move(bytes), .blob = {}, .size = size};
}

}  // namespace

bool RegistryStore::has_manifest(std::string_view repository, const BlobDigest& digest) const {
  return is_file(folder_of(repository) / manifest_links_name / digest.file_name());
}

std::optional<RegistryStore::StoredManifest> RegistryStore::own_manifest(std::string_view repository,
                                                                         const Digest& digest) const {
  for (const auto& [tag, image] : own_tags(content_, repository)) {
    if (image != digest) continue;
    auto bytes = content_.read_blob(digest);
    if (!bytes) return std::nullopt;
    return StoredManifest{
        .digest = BlobDigest(digest), .media_type = std::string(media_type_manifest), .bytes = std::move(*bytes)};
  }
  return std::nullopt;
}

Result<RegistryStore::StoredManifest> RegistryStore::manifest(std::string_view repository,
                                                              const BlobDigest& digest) const {
  const auto type = read_file(folder_of(repository) / manifest_links_name / digest.file_name(), media_type_bytes_max);
  if (type) {
    auto bytes = read_file(blob_path(digest), pushed_manifest_bytes_max);
    if (!bytes) return fail(std::move(bytes.error()));
    if (BlobDigest::of(digest.algorithm(), *bytes) != digest)
      return fail(Errc::internal, fmt::format("the manifest {} is damaged on the disk", digest.text()),
                  "push it again");
    return StoredManifest{.digest = digest, .media_type = *type, .bytes = std::move(*bytes)};
  }
  if (const auto own = digest.sha256())
    if (auto found = own_manifest(repository, *own)) return std::move(*found);
  return fail(Errc::not_found, fmt::format("{} has no manifest {}", repository, digest.text()));
}

/// Everything that the manifest names is here, or need not be.
Result<void> RegistryStore::check_named(std::string_view repository, const PushedManifest& manifest) const {
  const auto folder = folder_of(repository);
  const auto missing = [&](std::string_view what, const BlobDigest& digest) {
    return fail(Errc::not_found, fmt::format("{} has no {} {}", repository, what, digest.text()),
                "push it first, then the manifest that names it");
  };
  const auto check_blob = [&](const PushedDescriptor& blob) -> Result<void> {
    if (blob.elsewhere) return {};
    struct stat status{};
    const auto link = folder / blob_links_name / blob.digest.file_name();
    const auto path = blob_path(blob.digest);
    if (!is_file(link) || ::stat(path.c_str(), &status) != 0) return missing("blob", blob.digest);
    if (static_cast<std::uint64_t>(status.st_size) != blob.size)
      return fail(Errc::invalid, fmt::format("blob {} has {} bytes, the manifest says {}", blob.digest.text(),
                                             status.st_size, blob.size));
    return {};
  };
  if (manifest.config)
    if (auto checked = check_blob(*manifest.config); !checked) return checked;
  for (const auto& layer : manifest.layers)
    if (auto checked = check_blob(layer); !checked) return checked;
  for (const auto& entry : manifest.manifests)
    if (!has_manifest(repository, entry.digest)) return missing("manifest", entry.digest);
  return {};
}

Result<std::vector<Digest>> RegistryStore::unmade_layers(std::string_view repository, std::string_view bytes,
                                                         std::string_view content_type) const {
  auto manifest = parse_pushed_manifest(bytes, content_type);
  if (!manifest) return fail(std::move(manifest.error()));
  std::vector<Digest> unmade;
  auto named = manifest->layers;
  if (manifest->config) named.push_back(*manifest->config);
  for (const auto& descriptor : named) {
    const auto digest = descriptor.digest.sha256();
    if (!digest || is_file(folder_of(repository) / blob_links_name / descriptor.digest.file_name())) continue;
    if (own_blob(repository, descriptor.digest)) unmade.push_back(*digest);
  }
  return unmade;
}

Result<RegistryStore::PutManifest> RegistryStore::put_manifest(std::string_view repository, std::string_view bytes,
                                                               std::string_view content_type,
                                                               const std::optional<BlobDigest>& expected) {
  auto manifest = parse_pushed_manifest(bytes, content_type);
  if (!manifest) return fail(std::move(manifest.error()));
  const auto digest = BlobDigest::of(expected ? expected->algorithm() : HashAlgorithm::sha256, bytes);
  if (expected && digest != *expected)
    return fail(Errc::corrupt, fmt::format("the manifest hashes to {}, not to {}", digest.text(), expected->text()));
  const std::shared_lock lock(garbage_);
  if (auto checked = check_named(repository, *manifest); !checked) return fail(std::move(checked.error()));
  const auto folder = folder_of(repository);
  const auto link = folder / manifest_links_name / digest.file_name();
  const auto beside = root_ / "uploads" / random_hex(16);
  if (auto made = make_folders(link.parent_path(), 0700); !made) return fail(std::move(made.error()));
  if (auto written = write_durably(beside, blob_path(digest), bytes); !written) return fail(std::move(written.error()));
  if (manifest->subject) {
    const auto referrer = folder / referrers_name / manifest->subject->file_name() / digest.file_name();
    if (auto made = make_folders(referrer.parent_path(), 0700); !made) return fail(std::move(made.error()));
    auto written = write_durably(beside, referrer, referrer_descriptor(*manifest, digest, bytes.size()));
    if (!written) return fail(std::move(written.error()));
  }
  // The manifest is what makes the rest count: names of blobs and their links first.
  if (auto synced = sync_file_system(root_); !synced) return fail(std::move(synced.error()));
  if (auto written = write_file_atomically(link, manifest->media_type, 0600); !written)
    return fail(std::move(written.error()));
  return PutManifest{.digest = digest,
                     .media_type = manifest->media_type,
                     .subject = manifest->subject,
                     .may_be_image = manifest->is_index || manifest->is_image()};
}

Result<void> RegistryStore::remove_manifest(std::string_view repository, const BlobDigest& digest) {
  auto stored = manifest(repository, digest);
  if (!stored) return fail(std::move(stored.error()));
  auto names = tags(repository);
  if (!names) return fail(std::move(names.error()));
  for (const auto& tag : *names) {
    const auto leads_to = manifest(repository, tag);
    if (!leads_to || leads_to->digest != digest) continue;
    if (auto removed = remove_tag(repository, tag); !removed && removed.error().code() != Errc::not_found)
      return removed;
  }
  const std::shared_lock lock(garbage_);
  const auto folder = folder_of(repository);
  if (const auto parsed = parse_pushed_manifest(stored->bytes, stored->media_type); parsed && parsed->subject)
    ::unlink((folder / referrers_name / parsed->subject->file_name() / digest.file_name()).c_str());
  const auto link = folder / manifest_links_name / digest.file_name();
  if (::unlink(link.c_str()) != 0 && errno != ENOENT) return fail(system_error("remove " + link.string(), errno));
  return {};
}

std::map<std::string, std::string> RegistryStore::referrers(std::string_view repository,
                                                            const BlobDigest& subject) const {
  std::map<std::string, std::string> found;
  std::error_code error;
  for (const auto& entry :
       fs::directory_iterator(folder_of(repository) / referrers_name / subject.file_name(), error)) {
    auto digest = BlobDigest::from_file_name(entry.path().filename().string());
    if (!digest || !has_manifest(repository, *digest)) continue;
    if (auto descriptor = read_file(entry.path(), 2 * pushed_manifest_bytes_max))
      found.emplace(digest->text(), std::move(*descriptor));
  }
  return found;
}

Result<RegistryStore::Layout> RegistryStore::layout_of(std::string_view repository, const BlobDigest& root,
                                                       std::string_view reference) const {
  Layout layout;
  std::set<BlobDigest> seen;
  std::vector<BlobDigest> left{root};
  const auto add_blob = [&](const BlobDigest& digest) -> Result<void> {
    const auto name = digest.sha256();
    struct stat status{};
    if (!name)
      return fail(Errc::unsupported, fmt::format("it names a blob by {}: images run here by SHA-256", digest.text()));
    // What is missing may be of no use; the import says so where it is not.
    if (!seen.insert(digest).second || ::stat(blob_path(digest).c_str(), &status) != 0) return {};
    layout.blobs.emplace(*name, blob_path(digest));
    layout.files.push_back(
        {.name = blob_name(*name), .bytes = {}, .blob = *name, .size = static_cast<std::uint64_t>(status.st_size)});
    return {};
  };
  std::string root_entry;
  for (std::size_t i = 0; i < left.size(); ++i) {
    if (left.size() > layout_manifests_max) return fail(Errc::too_large, "an index of too many manifests");
    const auto digest = left[i];
    auto stored = manifest(repository, digest);
    if (!stored) return fail(std::move(stored.error()));
    auto parsed = parse_pushed_manifest(stored->bytes, stored->media_type);
    if (!parsed) return fail(std::move(parsed.error()));
    if (i == 0)
      root_entry = json::serialize(json::object{{"mediaType", stored->media_type},
                                                {"digest", digest.text()},
                                                {"size", stored->bytes.size()},
                                                {"annotations", {{layout_reference, reference}}}});
    if (auto added = add_blob(digest); !added) return fail(std::move(added.error()));
    for (const auto& entry : parsed->manifests)
      if (entry.runs_here && std::ranges::find(left, entry.digest) == left.end()) left.push_back(entry.digest);
    if (parsed->config)
      if (auto added = add_blob(parsed->config->digest); !added) return fail(std::move(added.error()));
    for (const auto& layer : parsed->layers)
      if (auto added = add_blob(layer.digest); !added) return fail(std::move(added.error()));
  }
  std::vector<ArchiveFile> small;
  small.push_back(layout_file("oci-layout", std::string(layout_document)));
  small.push_back(layout_file("index.json", R"({"schemaVersion":2,"manifests":[)" + root_entry + "]}"));
  layout.files.insert(layout.files.begin(), std::make_move_iterator(small.begin()),
                      std::make_move_iterator(small.end()));
  return layout;
}

}  // namespace wick::image
