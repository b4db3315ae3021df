// The images of this machine behind the API: names, manifests and most blobs are in the content store, a layer that was
// built here is unpacked at the runner and nowhere else until it is asked for.
//
// A prune looks at what is needed and then removes the rest, so nothing may come to need more in between: whatever
// makes or takes images holds a Use, and a prune begins when nobody holds one and lets nobody in until it has ended.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <set>
#include <utility>

#include "app/image_space.hpp"
#include "wick/api/images.hpp"
#include "wick/build/build.hpp"
#include "wick/container/runner.hpp"
#include "wick/control/control.hpp"
#include "wick/image/content_store.hpp"
#include "wick/image/registry_settings.hpp"
#include "wick/image/registry_store.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/slots.hpp"
#include "wick/os/worker.hpp"

namespace wick::app {

struct ImageDoors {
  Executor executor;
  WorkerPool& workers;
  const image::ContentStore& store;
  container::Runner& runner;
  build::Builder& builder;
  std::filesystem::path work;  // on the file system of the store; emptied at every start
  /// What revisions run: manifests by digest, and names.
  std::function<std::vector<std::string>()> needed;
  ImageLimits limits{};
  Clock* clock = nullptr;  // nullptr: no registry is asked
  image::RegistrySettings registries{};
  image::RegistryStore* registry = nullptr;  // what is pushed here; nullptr: there is no registry
};

/// The images that names and `needed` reach, and the unpacked layers below them.
struct ReachedImages {
  std::vector<image::Image> images;
  std::set<Digest> layers;
  std::vector<Digest> manifests() const;
};
/// What a revision needs and is not here is not here. Blocks. Errors: corrupt, of an image that has a name.
Result<ReachedImages> reached_images(const image::ContentStore& store, const std::vector<std::string>& needed);

/// What of the registry nothing needs any more. What is younger than `pushed_age_min` and was never named may belong to
/// a push that goes on.
inline constexpr std::chrono::hours pushed_age_min{1};
awaitable<Result<image::ContentStore::Collected>> collect_pushed(const ImageDoors& doors);

/// Whether somebody works with images, or a prune removes some. One thread; outlives every Use.
class ImageUse {
 public:
  explicit ImageUse(Executor executor) : opened_(executor, asio::steady_timer::time_point::max()) {}

  /// Given back when destroyed.
  class Use {
   public:
    Use() = default;
    explicit Use(std::size_t& count) : count_(&count) { ++*count_; }
    Use(Use&& other) noexcept : count_(std::exchange(other.count_, nullptr)) {}
    Use& operator=(Use&&) = delete;
    ~Use() {
      if (count_) --*count_;
    }

   private:
    std::size_t* count_ = nullptr;
  };
  /// Waits for the end of a prune.
  awaitable<Use> enter();

  /// For what must find its layers as they were when it began: no collection begins, and one that runs ends.
  Use save() { return Use(saving_); }
  bool is_saving() const { return saving_ > 0; }
  bool is_closed() const { return closed_; }

  /// Nobody enters until it is destroyed.
  class Closed {
   public:
    explicit Closed(ImageUse& use) : use_(&use) {}
    Closed(Closed&& other) noexcept : use_(std::exchange(other.use_, nullptr)) {}
    Closed& operator=(Closed&&) = delete;
    ~Closed();

   private:
    ImageUse* use_;
  };
  /// Errors: conflict while somebody is inside.
  Result<Closed> close();

 private:
  asio::steady_timer opened_;
  std::size_t inside_ = 0;
  std::size_t saving_ = 0;  // of those
  bool closed_ = false;
};

class ImageCollector;

class LocalImages final : public api::Images {
 public:
  /// What `doors` refers to outlives it and every archive it gave.
  explicit LocalImages(ImageDoors doors);
  ~LocalImages() override;

  awaitable<Result<std::vector<Named>>> list() override;
  awaitable<Result<Named>> find(std::string name) override;
  awaitable<Result<void>> remove(std::string name) override;
  awaitable<Result<std::vector<Loaded>>> load(Read read, std::string name) override;
  awaitable<Result<Freed>> prune() override;
  awaitable<Result<Freed>> collect() override;
  awaitable<Result<void>> verify(std::string name) override;
  awaitable<Result<Loaded>> pull(std::string reference, std::string config) override;
  awaitable<Result<Digest>> push(std::string name, std::string reference, std::string config) override;
  awaitable<Result<Digest>> resolve(std::string reference, std::vector<std::string> configs) override;
  awaitable<Result<NamedPushed>> name_pushed(std::string repository, std::string tag, image::BlobDigest manifest,
                                             bool may_be_image) override;
  awaitable<Result<void>> make_layer(std::string repository, Digest layer) override;
  awaitable<Result<std::unique_ptr<Archive>>> save(std::vector<std::string> names) override;

  /// control::RegistryDoors.
  awaitable<Result<Digest>> resolve(std::string reference, control::PullPolicy policy,
                                    std::vector<std::string> configs);
  /// Brings an image here, under `name` where that is not empty. At most three are fetched at once.
  awaitable<Result<image::Image>> fetch(std::string reference, std::vector<std::string> configs, std::string name,
                                        std::function<void(std::string)> on_line);

  /// For what makes images by another way: a build.
  ImageUse& use() { return use_; }
  ImageCollector& collector() { return *collector_; }

 private:
  ImageDoors doors_;
  ImageUse use_;
  awaitable<Result<image::RegistryTarget>> target_of(std::string reference, std::vector<std::string> configs);
  awaitable<Result<Digest>> image_of_pushed(std::string repository, image::BlobDigest manifest, std::string name);
  Slots loads_;
  Slots pushes_;  // to our registry
  Slots pulls_;
  std::unique_ptr<ImageCollector> collector_;
};

}  // namespace wick::app
