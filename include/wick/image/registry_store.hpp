// What is pushed to this machine's registry, byte for byte as it came: blobs, manifests, tags, referrers, uploads.
// Beside the content store, which has images as Wick runs them (layers uncompressed); images and artifacts alike.
//
// A tag and an image's name are one thing: whoever gave it last says what it means. A tag that was pushed remembers
// which image it became (or none, for an artifact), and is one only as long as the content store's name leads to that
// image; a name that a build, a pull or `wick image rm` has changed since wins. So images that were never pushed are
// here too.
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/image/archive.hpp"
#include "wick/image/blob_digest.hpp"
#include "wick/image/content_store.hpp"
#include "wick/os/fd.hpp"

namespace wick::image {

struct PushedManifest;

/// Open uploads, on disk; one more is Errc::overloaded. Those without a byte for a day are gone.
inline constexpr std::size_t registry_uploads_max = 256;
inline constexpr std::chrono::hours registry_upload_age_max{24};

/// Every call blocks on disk: use a worker. Safe from several threads of one process, whose only one it is.
class RegistryStore {
 public:
  /// Makes the folders where they are missing; uploads of an earlier process go on. `content` outlives it and is on the
  /// same file system.
  static Result<std::unique_ptr<RegistryStore>> open(std::filesystem::path root, const ContentStore& content);

  const std::filesystem::path& root() const { return root_; }

  // Blobs. A repository has the blobs that were pushed or mounted there, and those of the images by its name.

  struct Blob {
    std::uint64_t size = 0;
    Fd file;  // empty: a layer of an image that was built here, whose tar has to be made (add_layer)
  };
  /// What is asked for stays for a while. Errors: not_found.
  Result<Blob> blob(std::string_view repository, const BlobDigest& digest) const;
  /// Has the blob in `repository` too; `from` empty: whoever has it. Errors: not_found.
  Result<void> mount(std::string_view repository, std::string_view from, const BlobDigest& digest);
  /// Errors: not_found.
  Result<void> remove_blob(std::string_view repository, const BlobDigest& digest);
  /// Has a layer or config of the content store in `repository` too, hashed once more. Errors: not_found, corrupt.
  Result<void> add_stored(std::string_view repository, const Digest& digest);
  /// A file below root() for the tar of a layer, and its end: it becomes a blob of the repository, if it is `layer`.
  Result<std::pair<std::filesystem::path, Fd>> make_file() const;
  Result<void> add_layer(std::string_view repository, const Digest& layer, const std::filesystem::path& file);

  // Uploads.

  /// Gives the id. Errors: overloaded; unavailable (the disk is nearly full).
  Result<std::string> begin_upload(std::string_view repository, HashAlgorithm algorithm);
  /// The bytes that are here. Errors: not_found.
  Result<std::uint64_t> upload_size(std::string_view repository, std::string_view id) const;

  /// Appends to one upload, alone. What was written stays when it is destroyed, unless it was taken back.
  class Writing {
   public:
    Writing(Writing&& other) noexcept = default;
    Writing& operator=(Writing&&) = delete;
    ~Writing();
    std::uint64_t size() const { return size_; }
    /// Errors: unavailable (the disk is full, or nearly), io.
    Result<void> write(std::string_view bytes);
    /// As before the first write.
    void take_back();

   private:
    friend class RegistryStore;
    struct Return {
      RegistryStore* store;
      void operator()(const std::string* id) const;
    };
    Writing(RegistryStore& store, std::string id, Fd file, std::uint64_t size, std::optional<BlobHash> hash);
    std::unique_ptr<const std::string, Return> id_;
    Fd file_;
    std::uint64_t begin_ = 0;
    std::uint64_t size_ = 0;
    std::uint64_t until_look_ = 0;  // at the room on the disk
    std::optional<BlobHash> hash_;  // of all that is in the file
  };
  /// Errors: not_found; conflict while another request writes to it.
  Result<Writing> write_upload(std::string_view repository, std::string_view id);
  /// The upload becomes a blob, if it is `expected`; is gone otherwise. Errors: invalid (another digest), not_found,
  /// conflict.
  Result<void> finish_upload(std::string_view repository, std::string_view id, const BlobDigest& expected);
  /// Errors: not_found, conflict.
  Result<void> cancel_upload(std::string_view repository, std::string_view id);

  // Manifests, tags, referrers.

  struct StoredManifest {
    BlobDigest digest;
    std::string media_type;
    std::string bytes;
  };
  Result<StoredManifest> manifest(std::string_view repository, const BlobDigest& digest) const;
  Result<StoredManifest> manifest(std::string_view repository, std::string_view tag) const;
  /// What a tag that was pushed leads to; nullopt where its name means something else.
  std::optional<BlobDigest> pushed_as(std::string_view repository, std::string_view tag) const;
  struct PutManifest {
    BlobDigest digest;
    std::string media_type;
    std::optional<BlobDigest> subject;
    bool may_be_image = false;  // an index may be one
  };
  /// On disk for certain when it returns. Errors: invalid; corrupt (another digest than `expected`); too_large;
  /// not_found (a blob or manifest that it names; a layer that is kept elsewhere need not be here).
  Result<PutManifest> put_manifest(std::string_view repository, std::string_view bytes, std::string_view content_type,
                                   const std::optional<BlobDigest>& expected);
  /// Layers that the manifest names and the repository has only unpacked: to be made first.
  Result<std::vector<Digest>> unmade_layers(std::string_view repository, std::string_view bytes,
                                            std::string_view content_type) const;
  /// Names a manifest that was put, and the image that it is here, or takes the image's name away.
  Result<void> set_tag(std::string_view repository, std::string_view tag, const BlobDigest& manifest,
                       const std::optional<Digest>& image);
  /// With its tags and their names. Errors: not_found.
  Result<void> remove_manifest(std::string_view repository, const BlobDigest& digest);
  /// Errors: not_found.
  Result<void> remove_tag(std::string_view repository, std::string_view tag);
  /// Sorted. Errors: not_found where the repository has never had anything.
  Result<std::vector<std::string>> tags(std::string_view repository) const;
  /// The manifests whose subject it is, as JSON descriptors by their digest.
  std::map<std::string, std::string> referrers(std::string_view repository, const BlobDigest& subject) const;

  /// The files of an image layout with the manifest, and what of it runs on this machine, called `reference`. Errors:
  /// not_found; unsupported for what is named by SHA-512.
  struct Layout {
    std::vector<ArchiveFile> files;
    std::map<Digest, std::filesystem::path> blobs;
  };
  Result<Layout> layout_of(std::string_view repository, const BlobDigest& manifest, std::string_view reference) const;

  // Space.

  /// Of blobs and uploads.
  std::uint64_t bytes() const;
  /// Removes manifests that no tag reaches (through indexes, and as the subject of what is kept: its referrers stay
  /// with it) and blobs that no manifest names, unless they are younger than `age_min`: they may belong to something
  /// that is being pushed. What has lost its tag or its manifest is not.
  Result<ContentStore::Collected> collect_garbage(std::chrono::seconds age_min);

 private:
  struct Tag;
  struct Garbage;
  RegistryStore(std::filesystem::path root, const ContentStore& content) : root_(std::move(root)), content_(content) {}
  std::filesystem::path folder_of(std::string_view repository) const;
  std::filesystem::path blob_path(const BlobDigest& digest) const;
  std::optional<Tag> read_tag(std::string_view repository, std::string_view tag) const;
  std::optional<Blob> own_blob(std::string_view repository, const BlobDigest& digest) const;
  std::optional<StoredManifest> own_manifest(std::string_view repository, const Digest& digest) const;
  bool has_manifest(std::string_view repository, const BlobDigest& digest) const;
  Result<void> check_named(std::string_view repository, const PushedManifest& manifest) const;
  Result<void> publish(std::string_view repository, const BlobDigest& digest, const std::filesystem::path& file);
  Result<std::filesystem::path> upload_path(std::string_view repository, std::string_view id) const;
  Result<void> take_upload(const std::string& id);
  void remove_old_uploads(std::chrono::seconds age_max) const;

  std::filesystem::path root_;
  const ContentStore& content_;
  mutable std::shared_mutex garbage_;  // shared: whoever adds something that must still be there when it is named
  struct Upload {
    std::optional<BlobHash> hash;  // of the first `hashed` bytes
    std::uint64_t hashed = 0;
    bool busy = false;
  };
  mutable std::mutex uploads_mutex_;
  std::map<std::string, Upload, std::less<>> uploads_;
};

}  // namespace wick::image
