// What FROM can name: scratch, an image of the content store, Debian, which is made once by the runner and kept as an
// image, and an image of a registry, which is kept too.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "layers_in_use.hpp"
#include "wick/build/build.hpp"
#include "wick/container/runner.hpp"
#include "wick/image/content_store.hpp"
#include "wick/os/slots.hpp"
#include "wick/os/worker.hpp"

namespace wick::build {

struct Base {
  Digest digest;  // of its manifest, at its registry where it was pulled
  image::ImageConfig config;
  std::vector<image::Descriptor> layers;  // bottom first; uncompressed, so that digest and DiffID are one
};

class Bases {
 public:
  Bases(Executor executor, WorkerPool& workers, container::Runner& runner, image::ContentStore& store);

  /// The image `name`, with all its layers at the runner and pinned. `on_line` hears about what takes long.
  /// Errors: not_found with the names that are available as hint; what the runner says.
  awaitable<Result<Base>> resolve(std::string name, std::function<void(std::string)> on_line, LayersInUse::Pins& pins);
  void pull_with(Builder::PullBase pull) { pull_ = std::move(pull); }
  /// Makes sure the runner has the layer, and keeps it; the blob is in the store.
  awaitable<Result<void>> provide(image::Descriptor layer, LayersInUse::Pins& pins);

 private:
  awaitable<Result<image::Image>> make_debian(std::function<void(std::string)> on_line, LayersInUse::Pins& pins);
  awaitable<Error> unknown(std::string name, const Error* at_registry);

  WorkerPool& workers_;
  container::Runner& runner_;
  image::ContentStore& store_;
  Builder::PullBase pull_;
  Slots one_at_a_time_;  // two builds that want Debian make it once
};

/// True for the names that mean Debian 12: "debian", "debian:12", "docker.io/library/debian:bookworm-slim" … Pure.
bool is_debian_12(std::string_view name);

}  // namespace wick::build
