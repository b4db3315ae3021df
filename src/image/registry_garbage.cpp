// What of a registry nothing needs. Everything is looked at under the exclusive lock, so that nothing is added that is
// on its way out.
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <set>

#include "registry_tags.hpp"
#include "wick/image/reference.hpp"
#include "wick/os/files.hpp"

namespace wick::image {

namespace fs = std::filesystem;

namespace {

std::vector<std::pair<fs::path, BlobDigest>> digests_in(const fs::path& folder) {
  std::vector<std::pair<fs::path, BlobDigest>> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error))
    if (auto digest = BlobDigest::from_file_name(entry.path().filename().string()))
      found.emplace_back(entry.path(), std::move(*digest));
  return found;
}

bool is_younger(const fs::path& path, std::chrono::seconds age_min) {
  struct stat status{};
  return ::lstat(path.c_str(), &status) == 0 && status.st_mtim.tv_sec > std::time(nullptr) - age_min.count();
}

}  // namespace

struct RegistryStore::Garbage {
  RegistryStore& store;
  std::chrono::seconds age_min;
  std::set<BlobDigest> kept;      // of all repositories
  std::set<BlobDigest> released;  // a manifest that named it has gone
  ContentStore::Collected collected{};

  void collect(const std::string& repository);
  std::set<BlobDigest> tagged(const std::string& repository) const;
  void collect_blobs();
};

/// Of the tags that are there, what they reach. A tag that is none any more goes, and what it led to is old.
std::set<BlobDigest> RegistryStore::Garbage::tagged(const std::string& repository) const {
  std::set<BlobDigest> roots;
  for (const auto& [tag, image] : own_tags(store.content_, repository)) roots.insert(BlobDigest(image));
  const auto folder = store.folder_of(repository);
  std::error_code error;
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder / tags_name, error)) files.push_back(entry.path());
  for (const auto& file : files) {
    const auto tag = file.filename().string();
    if (const auto found = is_tag(tag) ? store.read_tag(repository, tag) : std::nullopt) {
      roots.insert(found->manifest);
      continue;
    }
    const auto text = read_file(file, 4096);
    if (const auto was = text ? Tag::parse(*text) : std::nullopt)
      make_old(folder / manifest_links_name / was->manifest.file_name());
    ::unlink(file.c_str());
  }
  return roots;
}

void RegistryStore::Garbage::collect(const std::string& repository) {
  const auto folder = store.folder_of(repository);
  auto needed = tagged(repository);
  struct Found {
    fs::path link;
    std::optional<PushedManifest> manifest;
  };
  std::map<BlobDigest, Found> all;
  for (auto& [link, digest] : digests_in(folder / manifest_links_name)) {
    if (is_younger(link, age_min)) needed.insert(digest);
    const auto stored = store.manifest(repository, digest);
    auto parsed = stored ? parse_pushed_manifest(stored->bytes, stored->media_type)
                         : Result<PushedManifest>(fail(stored.error()));
    all.emplace(digest, Found{.link = link, .manifest = parsed ? std::optional(std::move(*parsed)) : std::nullopt});
  }
  // Down through indexes, and back to what refers to what is kept, until there is no more.
  for (bool grew = true; grew;) {
    const auto before = needed.size();
    for (const auto& [digest, found] : all) {
      if (!found.manifest) continue;
      if (found.manifest->subject && needed.contains(*found.manifest->subject)) needed.insert(digest);
      if (!needed.contains(digest)) continue;
      for (const auto& entry : found.manifest->manifests) needed.insert(entry.digest);
    }
    grew = needed.size() != before;
  }
  std::set<BlobDigest> named;
  for (const auto& [digest, found] : all) {
    std::vector<BlobDigest> of_manifest{digest};
    if (found.manifest) {
      if (found.manifest->config) of_manifest.push_back(found.manifest->config->digest);
      for (const auto& layer : found.manifest->layers) of_manifest.push_back(layer.digest);
    }
    if (needed.contains(digest)) {
      named.insert(of_manifest.begin(), of_manifest.end());
      kept.insert(digest);
      continue;
    }
    released.insert(of_manifest.begin(), of_manifest.end());
    if (found.manifest && found.manifest->subject)
      ::unlink((folder / referrers_name / found.manifest->subject->file_name() / digest.file_name()).c_str());
    ::unlink(found.link.c_str());
  }
  for (const auto& [link, digest] : digests_in(folder / blob_links_name)) {
    if (named.contains(digest) || (!released.contains(digest) && is_younger(link, age_min)))
      kept.insert(digest);
    else
      ::unlink(link.c_str());
  }
  std::error_code error;
  std::vector<fs::path> subjects;
  for (const auto& entry : fs::directory_iterator(folder / referrers_name, error)) subjects.push_back(entry.path());
  for (const auto& subject : subjects) ::rmdir(subject.c_str());  // the empty ones
}

void RegistryStore::Garbage::collect_blobs() {
  for (const auto algorithm : {HashAlgorithm::sha256, HashAlgorithm::sha512}) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(store.root_ / "blobs" / to_string(algorithm), error)) {
      const BlobDigest digest(algorithm, entry.path().filename().string());
      struct stat status{};
      if (kept.contains(digest) || ::lstat(entry.path().c_str(), &status) != 0) continue;
      if (::unlink(entry.path().c_str()) != 0) continue;
      ++collected.blobs;
      collected.bytes += static_cast<std::uint64_t>(status.st_size);
    }
  }
}

std::uint64_t RegistryStore::bytes() const {
  return bytes_of_files_in(root_ / "blobs/sha256") + bytes_of_files_in(root_ / "blobs/sha512") +
         bytes_of_files_in(root_ / "uploads");
}

Result<ContentStore::Collected> RegistryStore::collect_garbage(std::chrono::seconds age_min) {
  const std::unique_lock lock(garbage_);
  remove_old_uploads(registry_upload_age_max);
  const auto top = root_ / "repositories";
  std::set<std::string> repositories;
  std::error_code error;
  for (auto entry = fs::recursive_directory_iterator(top, error); !error && entry != fs::recursive_directory_iterator();
       entry.increment(error)) {
    if (!entry->path().filename().string().starts_with('_')) continue;
    repositories.insert(entry->path().parent_path().lexically_relative(top).string());
    entry.disable_recursion_pending();
  }
  if (error) return fail(Errc::io, "list repositories: " + error.message());
  Garbage garbage{.store = *this, .age_min = age_min, .kept = {}, .released = {}};
  for (const auto& repository : repositories) garbage.collect(repository);
  garbage.collect_blobs();
  return garbage.collected;
}

}  // namespace wick::image
