// The images of this machine behind the API: names, manifests and most blobs are in the content store, a layer that was
// built here is unpacked at the runner and nowhere else until it is asked for.
#pragma once

#include <memory>

#include "wick/api/images.hpp"
#include "wick/container/runner.hpp"
#include "wick/image/content_store.hpp"
#include "wick/os/worker.hpp"

namespace wick::app {

struct ImageDoors {
  WorkerPool& workers;
  const image::ContentStore& store;
  container::Runner& runner;
};

class LocalImages final : public api::Images {
 public:
  /// What `doors` refers to outlives it and every archive it gave.
  explicit LocalImages(ImageDoors doors) : doors_(doors) {}

  awaitable<Result<std::vector<Named>>> list() override;
  awaitable<Result<Named>> find(std::string name) override;
  awaitable<Result<void>> remove(std::string name) override;
  awaitable<Result<std::unique_ptr<Archive>>> save(std::vector<std::string> names) override;

 private:
  ImageDoors doors_;
};

}  // namespace wick::app
