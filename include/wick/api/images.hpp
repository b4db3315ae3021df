// The images of this machine, as the API sees them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"
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
