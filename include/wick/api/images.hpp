// The images of this machine, as the API sees them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/image/blob_digest.hpp"
#include "wick/image/content_store.hpp"
#include "wick/os/loop.hpp"

namespace wick::api {

class Images {
 public:
  virtual ~Images() = default;

  /// A name and what is behind it; `image` is an error where that is damaged.
  struct Named {
    std::string name;
    Digest digest;
    Result<image::Image> image;
  };
  virtual awaitable<Result<std::vector<Named>>> list() = 0;
  /// By name or digest. Errors: invalid (no name), not_found, corrupt.
  virtual awaitable<Result<Named>> find(std::string name) = 0;
  /// Forgets a name; its bytes stay for whatever else needs them. Errors: invalid, not_found.
  virtual awaitable<Result<void>> remove(std::string name) = 0;

  struct Loaded {
    std::string name;
    Digest digest;
  };
  /// The next bytes of an archive; 0 at its end.
  using Read = std::function<awaitable<Result<std::size_t>>(std::span<char>)>;
  /// Takes every image of an archive under the names it has there; with a `name` only that one, or, where there is no
  /// other, that one under this name. An archive that is refused leaves nothing behind. Errors: those of `read`,
  /// invalid, corrupt, too_large, unsupported, unavailable (the disk is nearly full), overloaded.
  virtual awaitable<Result<std::vector<Loaded>>> load(Read read, std::string name) = 0;

  struct Freed {
    std::uint64_t blobs = 0;
    std::uint64_t layers = 0;  // that were unpacked
    std::uint64_t bytes = 0;   // of both
    // After a collection: what images use and may use, what the file system has free and should have.
    std::uint64_t used = 0;
    std::uint64_t use_max = 0;
    std::uint64_t free = 0;
    std::uint64_t free_min = 0;
  };
  /// Removes what no name and no revision needs and nothing that runs stands on, what builds keep for the next one
  /// included. Errors: conflict while something builds, loads or saves; a build that comes meanwhile waits.
  virtual awaitable<Result<Freed>> prune() = 0;
  /// What the daemon does by itself now and then: where images use more than they may, or the disk has less free than
  /// it should, the layers go that no name, revision, instance or running build needs, those first whose last use is
  /// longest ago. Errors: conflict while images are pruned or saved.
  virtual awaitable<Result<Freed>> collect() = 0;
  /// Reads every byte of an image. Errors: not_found and corrupt say what of it is not as its digest says.
  virtual awaitable<Result<void>> verify(std::string name) = 0;

  /// Fetches an image from its registry and names it so. `config` is a docker config.json with credentials for it, or
  /// empty. Errors: invalid (no name), those of build::pull_image.
  virtual awaitable<Result<Loaded>> pull(std::string reference, std::string config) = 0;
  /// Sends the image `name` to a registry as `reference`; gives the digest that it has there. Errors: invalid,
  /// not_found, those of build::push_image.
  virtual awaitable<Result<Digest>> push(std::string name, std::string reference, std::string config) = 0;
  /// The digest of what a name means now, here or at its registry.
  virtual awaitable<Result<Digest>> resolve(std::string reference, std::vector<std::string> configs) = 0;

  struct NamedPushed {
    std::optional<Digest> image;   // here
    std::optional<Error> why_not;  // it is an image, but none that can run here
  };
  /// Names a manifest of the registry (image::RegistryStore::put_manifest), and makes an image of it where it is one:
  /// its layers are unpacked by a child without rights. What is no image is just named. Errors: those of the disk.
  virtual awaitable<Result<NamedPushed>> name_pushed(std::string repository, std::string tag,
                                                     image::BlobDigest manifest, bool may_be_image) = 0;
  /// Makes a layer, or a config, of an image that is here a blob of the registry. Errors: not_found, corrupt;
  /// unavailable (the disk is nearly full); overloaded.
  virtual awaitable<Result<void>> make_layer(std::string repository, Digest layer) = 0;

  using Sink = std::function<awaitable<Result<void>>(std::string_view)>;
  /// An archive about to be written. What it needs is kept until it is destroyed.
  class Archive {
   public:
    virtual ~Archive() = default;
    virtual std::uint64_t bytes() const = 0;
    /// Gives exactly bytes() to `sink`, some hundred kilobytes at a time, each when the one before was taken. Errors:
    /// the sink's; corrupt (a layer is not what its digest says), found before that layer's last bytes are given;
    /// those of the runner. Cancelling leaves nothing behind.
    virtual awaitable<Result<void>> write(Sink sink) = 0;
  };
  /// An archive of these images (wick/image/archive.hpp). Errors: invalid, corrupt, not_found, also of a layer.
  virtual awaitable<Result<std::unique_ptr<Archive>>> save(std::vector<std::string> names) = 0;
};

}  // namespace wick::api
