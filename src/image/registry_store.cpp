// Blobs of repositories, and those that images here have anyway. Layout on disk: registry_files.hpp.
#include "wick/image/registry_store.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "registry_files.hpp"
#include "registry_tags.hpp"
#include "wick/base/text.hpp"
#include "wick/os/files.hpp"

namespace wick::image {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t hash_chunk_bytes = 256 << 10;

Error no_blob(std::string_view repository, const BlobDigest& digest) {
  return {Errc::not_found, fmt::format("{} has no blob {}", repository, digest.text())};
}

Result<std::uint64_t> size_of(int file) {
  struct stat status{};
  if (::fstat(file, &status) != 0) return fail(system_error("look at a blob", errno));
  return static_cast<std::uint64_t>(status.st_size);
}

}  // namespace

Result<std::unique_ptr<RegistryStore>> RegistryStore::open(fs::path root, const ContentStore& content) {
  for (const auto& folder : {root / "blobs/sha256", root / "blobs/sha512", root / "uploads", root / "repositories"})
    if (auto made = make_folders(folder, 0700); !made) return fail(std::move(made.error()));
  std::unique_ptr<RegistryStore> store(new RegistryStore(std::move(root), content));
  // Files that no upload has: what was being made when the last process ended.
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(store->root_ / "uploads", error))
    if (!entry.path().filename().string().contains('-')) ::unlink(entry.path().c_str());
  store->remove_old_uploads(registry_upload_age_max);
  return store;
}

fs::path RegistryStore::folder_of(std::string_view repository) const {
  return root_ / "repositories" / canonical_repository(repository);
}

fs::path RegistryStore::blob_path(const BlobDigest& digest) const {
  return root_ / "blobs" / to_string(digest.algorithm()) / digest.hex();
}

Result<RegistryStore::Blob> RegistryStore::blob(std::string_view repository, const BlobDigest& digest) const {
  const auto link = folder_of(repository) / blob_links_name / digest.file_name();
  // A manifest is a blob as well, to whoever asks for it by this name.
  if (is_file(link) || has_manifest(repository, digest)) {
    Fd file(::open(blob_path(digest).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (file) {
      touch(link);
      auto size = size_of(file.get());
      if (!size) return fail(std::move(size.error()));
      return Blob{.size = *size, .file = std::move(file)};
    }
    if (errno != ENOENT) return fail(system_error("open blob " + digest.text(), errno));
  }
  if (auto own = own_blob(repository, digest)) return std::move(*own);
  return fail(no_blob(repository, digest));
}

/// Of the images that the repository has by their names here.
std::optional<RegistryStore::Blob> RegistryStore::own_blob(std::string_view repository,
                                                           const BlobDigest& digest) const {
  const auto wanted = digest.sha256();
  if (!wanted) return std::nullopt;
  for (const auto& [tag, manifest] : own_tags(content_, repository)) {
    const auto image = content_.image(manifest);
    if (!image) continue;
    const auto is_wanted = [&](const Descriptor& blob) { return blob.digest == *wanted; };
    const auto& layers = image->manifest.layers;
    const auto layer = std::ranges::find_if(layers, is_wanted);
    const auto* found = is_wanted(image->manifest.config) ? &image->manifest.config
                        : layer == layers.end()           ? nullptr
                                                          : &*layer;
    if (!found) continue;
    auto file = content_.open_blob(*wanted);
    return Blob{.size = found->size, .file = file ? std::move(*file) : Fd()};
  }
  return std::nullopt;
}

Result<void> RegistryStore::mount(std::string_view repository, std::string_view from, const BlobDigest& digest) {
  const std::shared_lock lock(garbage_);
  const auto missing = [&] { return fail(no_blob(from.empty() ? "this registry" : from, digest)); };
  if (!is_file(blob_path(digest))) return missing();
  if (!from.empty() && !is_file(folder_of(from) / blob_links_name / digest.file_name())) return missing();
  return make_link(folder_of(repository) / blob_links_name / digest.file_name());
}

Result<void> RegistryStore::remove_blob(std::string_view repository, const BlobDigest& digest) {
  const std::shared_lock lock(garbage_);
  const auto link = folder_of(repository) / blob_links_name / digest.file_name();
  if (::unlink(link.c_str()) == 0) return {};
  if (errno == ENOENT) return fail(no_blob(repository, digest));
  return fail(system_error("remove " + link.string(), errno));
}

Result<std::pair<fs::path, Fd>> RegistryStore::make_file() const {
  auto path = root_ / "uploads" / random_hex(16);
  auto file = open_file(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
  if (!file) return fail(std::move(file.error()));
  return std::pair{std::move(path), std::move(*file)};
}

Result<void> RegistryStore::add_stored(std::string_view repository, const Digest& digest) {
  auto stored = content_.open_blob(digest);
  if (!stored) return fail(std::move(stored.error()));
  const auto path = root_ / "uploads" / random_hex(16);
  const auto source = fmt::format("/proc/self/fd/{}", stored->get());
  if (::linkat(AT_FDCWD, source.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) != 0)
    return fail(system_error("link " + path.string(), errno));
  auto added = add_layer(repository, digest, path);
  ::unlink(path.c_str());  // rename(2) leaves it where both are one file
  return added;
}

Result<void> RegistryStore::add_layer(std::string_view repository, const Digest& layer, const fs::path& path) {
  auto file = open_file(path, O_RDONLY);
  if (!file) return fail(std::move(file.error()));
  BlobHash hash(HashAlgorithm::sha256);
  std::string chunk(hash_chunk_bytes, '\0');
  while (true) {
    const auto got = ::read(file->get(), chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(system_error("read " + path.string(), errno));
    if (got == 0) break;
    hash.update(std::string_view(chunk).substr(0, static_cast<std::size_t>(got)));
  }
  if (hash.finish() != BlobDigest(layer))
    return fail(Errc::corrupt, fmt::format("the layer {} is not what its name says", layer.text()),
                "the disk or somebody changed it: build or load the image again");
  return publish(repository, BlobDigest(layer), path);
}

/// From here on the blob is whole, wherever it is met.
Result<void> RegistryStore::publish(std::string_view repository, const BlobDigest& digest, const fs::path& path) {
  auto file = open_file(path, O_RDONLY);
  if (!file) return fail(std::move(file.error()));
  if (::fdatasync(file->get()) != 0) return fail(system_error("sync blob " + digest.text(), errno));
  const std::shared_lock lock(garbage_);
  const auto target = blob_path(digest);
  if (::rename(path.c_str(), target.c_str()) != 0) return fail(system_error("rename to " + target.string(), errno));
  return make_link(folder_of(repository) / blob_links_name / digest.file_name());
}

}  // namespace wick::image
