// Blobs, manifests and names in an OCI image layout (OCI image-spec image-layout.md): `oci-layout`, `index.json`,
// `blobs/sha256/`. Owned by the front. Unpacked layers are not here: the runner keeps them, one folder a layer, under
// the same digest (DiffID).
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/digest.hpp"
#include "wick/base/error.hpp"
#include "wick/os/fd.hpp"

namespace wick::image {

struct Descriptor {
  std::string media_type;
  Digest digest;
  std::uint64_t size = 0;
};

/// The part of an OCI image config (image-spec config.md) that running and building need.
struct ImageConfig {
  std::string architecture = "amd64";
  std::string os = "linux";
  std::string created;                   // RFC 3339
  std::string user;                      // "uid", "name", "uid:gid" …; empty is root
  std::vector<std::string> environment;  // "K=V"
  std::vector<std::string> entrypoint;
  std::vector<std::string> command;
  std::string working_folder;
  std::vector<std::string> exposed_ports;  // "8080/tcp"
  std::vector<std::string> volumes;
  std::map<std::string, std::string> labels;
  std::string stop_signal;
  std::vector<std::string> shell;
  std::vector<std::string> on_build;
  std::vector<Digest> diff_ids;  // bottom layer first
  struct History {
    std::string created_by;
    bool empty_layer = false;
  };
  std::vector<History> history;
  // What a parsed config had besides (Healthcheck, author, variant …), as JSON objects: kept, so that a rebuilt image
  // keeps it too.
  std::string other_fields;         // of the whole
  std::string other_config_fields;  // of its "config"

  std::string to_json() const;
  /// Errors: corrupt, naming the field. Docker's configs are the same but for fields that are kept as they are.
  static Result<ImageConfig> parse(std::string_view json);
};

struct Manifest {
  Descriptor config;
  std::vector<Descriptor> layers;  // bottom layer first, same order as diff_ids
  std::map<std::string, std::string> annotations;

  std::string to_json() const;
  /// OCI manifests and Docker's (schema 2). Errors: corrupt, naming the field; unsupported for an index or a digest
  /// other than SHA-256.
  static Result<Manifest> parse(std::string_view json);
};

inline constexpr std::string_view media_type_manifest = "application/vnd.oci.image.manifest.v1+json";
inline constexpr std::string_view media_type_index = "application/vnd.oci.image.index.v1+json";
inline constexpr std::string_view media_type_config = "application/vnd.oci.image.config.v1+json";
inline constexpr std::string_view media_type_layer = "application/vnd.oci.image.layer.v1.tar";

struct Image {
  Digest digest;  // of the manifest: the image's identity
  Manifest manifest;
  ImageConfig config;
};

/// Writes one blob: bytes in, digest out. Nothing is visible under its digest before commit().
class BlobWriter {
 public:
  BlobWriter(BlobWriter&&) noexcept = default;
  ~BlobWriter();  // without commit(): the bytes are thrown away
  Result<void> write(std::string_view bytes);
  /// Publishes; on disk for certain once an image is named (put_image). `expected` non-empty and different is
  /// Errc::corrupt.
  Result<Descriptor> commit(std::string media_type, std::optional<Digest> expected = std::nullopt);

 private:
  friend class ContentStore;
  BlobWriter(std::filesystem::path folder, std::filesystem::path temporary, Fd file);
  std::filesystem::path folder_;
  std::filesystem::path temporary_;
  Fd file_;
  Sha256 hash_;
  std::uint64_t size_ = 0;
};

/// Every call blocks on disk: use a worker. Safe from several threads (index.json is replaced atomically under a lock
/// file).
class ContentStore {
 public:
  /// Makes the layout where it is missing and removes what a crash left half written.
  static Result<ContentStore> open(std::filesystem::path root);

  const std::filesystem::path& root() const { return root_; }
  Result<BlobWriter> write_blob() const;
  Result<Descriptor> put_blob(std::string_view bytes, std::string media_type) const;
  bool has_blob(const Digest& digest) const;
  /// The bytes, re-hashed: corrupt when they do not match.
  Result<std::string> read_blob(const Digest& digest, std::size_t bytes_max = 8 << 20) const;
  Result<Fd> open_blob(const Digest& digest) const;

  /// Stores config and manifest for layers whose blobs are present and names the result `reference` ("hello" is
  /// "hello:latest"); "" names it nothing. Everything written to the store's file system before is on disk before the
  /// name is.
  /// `config.diff_ids` may be empty when all layers are uncompressed (then they are the layers' digests). Errors:
  /// invalid (name, counts, a diff_id that is not its layer), not_found (a blob).
  Result<Image> put_image(const ImageConfig& config, const std::vector<Descriptor>& layers,
                          std::string_view reference) const;
  /// Takes an image over from another layout on the same file system, which somebody without rights has filled: every
  /// blob is hashed, then linked; a layer must be uncompressed, and may be missing there when it is one of `known`.
  /// Nobody may still write to it. Errors: as put_image; corrupt, not_found.
  Result<Image> adopt(const std::filesystem::path& layout, const Digest& manifest, std::string_view reference,
                      const std::set<Digest>& known = {}) const;
  /// Remembers that a registry has this image under other digests: compressed layers make another manifest of it.
  Result<void> remember_pulled(const std::vector<Digest>& at_registry, const Digest& manifest) const;
  /// The same for what somebody pushed to the registry of this machine: no other one is asked what its name means.
  Result<void> remember_pushed(const Digest& pushed, const Digest& manifest) const;
  /// The digest under which a registry has it, the least where there are several; nullopt for what was made or loaded
  /// here.
  std::optional<Digest> pulled_as(const Digest& manifest) const;
  bool was_pulled(const Digest& manifest) const { return pulled_as(manifest).has_value(); }
  /// By the digest it has here, or by one that a registry, ours included, has for it.
  Result<Image> image(const Digest& manifest) const;
  /// By name, or by "name@sha256:…" / "sha256:…". "debian" finds docker.io/library/debian:latest and the other way
  /// round.
  Result<Image> image(std::string_view reference) const;
  struct Named {
    std::string reference;
    Descriptor manifest;
  };
  Result<std::vector<Named>> images() const;
  /// The blobs stay until collect_garbage(). Errors: not_found.
  Result<void> remove_reference(std::string_view reference) const;
  struct Collected {
    std::uint64_t blobs = 0;
    std::uint64_t bytes = 0;
  };
  /// Removes blobs that no named image and no manifest of `keep` reaches and that are older than `age_min`: younger
  /// ones may belong to an image that is being put together.
  Result<Collected> collect_garbage(const std::vector<Digest>& keep, std::chrono::seconds age_min) const;

 private:
  explicit ContentStore(std::filesystem::path root) : root_(std::move(root)) {}
  std::filesystem::path blob_path(const Digest& digest) const;
  std::filesystem::path root_;
};

}  // namespace wick::image
