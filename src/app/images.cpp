#include "app/images.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <set>

#include "app/image_archive.hpp"
#include "app/image_collector.hpp"
#include "wick/base/log.hpp"
#include "wick/build/unpack_images.hpp"
#include "wick/image/import.hpp"
#include "wick/image/reference.hpp"
#include "wick/os/files.hpp"

namespace wick::app {

namespace {

constexpr std::size_t loads_at_once = 2;  // each unpacks to disk, and may take gigabytes of memory for a while
constexpr std::size_t loads_waiting_max = 8;
constexpr std::size_t pushes_at_once = 2;  // become images, as what is loaded does
constexpr std::size_t pushes_waiting_max = 64;
constexpr std::size_t pulls_at_once = 3;
constexpr std::size_t pulls_waiting_max = 64;

std::string stored_name(const std::string& name) {
  auto reference = image::parse_reference(name);
  return reference ? reference->familiar() : name;
}

/// Of one or several images: under all their names, or, when one is not what it says, under none.
Result<std::vector<api::Images::Loaded>> adopt(const image::ContentStore& store, const std::filesystem::path& layout,
                                               const std::vector<build::UnpackedImage>& images) {
  std::vector<api::Images::Loaded> loaded;
  for (const auto& one : images) {
    auto image = store.adopt(layout, one.manifest, one.name);
    if (!image) return fail(std::move(image.error()).within(one.name));
    loaded.push_back({.name = stored_name(one.name), .digest = image->digest});
  }
  return loaded;
}

Result<image::SavedImage> saved_image(const image::ContentStore& store, const std::string& name) {
  auto image = store.image(std::string_view(name));
  if (!image) return fail(std::move(image.error()));
  auto manifest = store.read_blob(image->digest);
  if (!manifest) return fail(std::move(manifest.error()).within(name));
  image::SavedImage saved{.names = {}, .manifest = std::move(*manifest), .image = std::move(*image)};
  if (Digest::parse(name)) return saved;
  auto reference = image::parse_reference(name);
  if (!reference) return fail(std::move(reference.error()));
  reference->digest = {};
  if (!reference->tag.empty()) saved.names.push_back(reference->familiar());
  return saved;
}

/// Names of one image are told together.
void add(std::vector<image::SavedImage>& images, image::SavedImage one) {
  const auto same = std::ranges::find(images, one.image.digest, [](const auto& saved) { return saved.image.digest; });
  if (same == images.end()) return images.push_back(std::move(one));
  for (auto& name : one.names)
    if (std::ranges::find(same->names, name) == same->names.end()) same->names.push_back(std::move(name));
}

}  // namespace

std::vector<Digest> ReachedImages::manifests() const {
  std::vector<Digest> all;
  for (const auto& image : images) all.push_back(image.digest);
  return all;
}

Result<ReachedImages> reached_images(const image::ContentStore& store, const std::vector<std::string>& needed) {
  ReachedImages all;
  auto names = store.images();
  if (!names) return fail(std::move(names.error()));
  std::vector<std::string> wanted = needed;
  for (const auto& named : *names) wanted.push_back(named.manifest.digest.text());
  std::ranges::sort(wanted);
  wanted.erase(std::ranges::unique(wanted).begin(), wanted.end());
  for (const auto& name : wanted) {
    auto image = store.image(std::string_view(name));
    const bool gone = !image && (image.error().code() == Errc::not_found || image.error().code() == Errc::invalid);
    if (gone) continue;
    if (!image) return fail(std::move(image.error()).hint("wick image rm what is broken, then prune again"));
    all.layers.insert(image->config.diff_ids.begin(), image->config.diff_ids.end());
    all.images.push_back(std::move(*image));
  }
  return all;
}

awaitable<ImageUse::Use> ImageUse::enter() {
  while (closed_) {
    auto waited = co_await opened_.async_wait(asio::as_tuple(use_awaitable));
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) throw boost::system::system_error(std::get<0>(waited));
  }
  co_return Use(inside_);
}

Result<ImageUse::Closed> ImageUse::close() {
  if (closed_) return fail(Errc::conflict, "images are being pruned already");
  if (inside_ > 0)
    return fail(Errc::conflict, "images are being built, loaded or saved", "try again when that has ended");
  closed_ = true;
  return Closed(*this);
}

ImageUse::Closed::~Closed() {
  if (!use_) return;
  use_->closed_ = false;
  use_->opened_.cancel();
}

LocalImages::LocalImages(ImageDoors doors)
    : doors_(std::move(doors)),
      use_(doors_.executor),
      loads_(doors_.executor, loads_at_once, loads_waiting_max),
      pushes_(doors_.executor, pushes_at_once, pushes_waiting_max),
      pulls_(doors_.executor, pulls_at_once, pulls_waiting_max),
      collector_(std::make_unique<ImageCollector>(doors_, use_)) {}
LocalImages::~LocalImages() = default;

awaitable<Result<std::vector<api::Images::Named>>> LocalImages::list() {
  auto look = [&store = doors_.store]() -> Result<std::vector<Named>> {
    auto names = store.images();
    if (!names) return fail(std::move(names.error()));
    std::vector<Named> found;
    for (auto& one : *names) {
      auto image = store.image(one.manifest.digest);
      found.push_back({.name = std::move(one.reference), .digest = one.manifest.digest, .image = std::move(image)});
    }
    std::ranges::sort(found, {}, &Named::name);
    return found;
  };
  auto found = co_await doors_.workers.run(std::move(look));
  co_return found;
}

awaitable<Result<api::Images::Named>> LocalImages::find(std::string name) {
  auto look = [&store = doors_.store, name]() -> Result<Named> {
    auto image = store.image(std::string_view(name));
    if (!image) return fail(std::move(image.error()));
    const auto digest = image->digest;
    return Named{.name = name, .digest = digest, .image = std::move(image)};
  };
  auto found = co_await doors_.workers.run(std::move(look));
  co_return found;
}

awaitable<Result<void>> LocalImages::remove(std::string name) {
  auto work = [&store = doors_.store, registry = doors_.registry, name]() -> Result<void> {
    auto removed = store.remove_reference(name);
    auto reference = image::parse_reference(name);
    if (removed || removed.error().code() != Errc::not_found || !registry || !reference) return removed;
    // What was pushed and is no image has no name but this.
    const auto tag = std::exchange(reference->tag, "");
    reference->digest = {};
    return registry->remove_tag(reference->familiar(), tag) ? Result<void>() : removed;
  };
  auto removed = co_await doors_.workers.run(std::move(work));
  co_return removed;
}

awaitable<Result<std::vector<api::Images::Loaded>>> LocalImages::load(Read read, std::string name) {
  if (!name.empty())
    if (auto reference = image::parse_reference(name); !reference) co_return fail(std::move(reference.error()));
  auto slot = co_await loads_.acquire();
  if (!slot) co_return fail(std::move(slot.error()));
  // The stream comes once: room is made before it.
  auto tidied = co_await collector_->tidy();
  if (!tidied && tidied.error().code() != Errc::conflict) co_return fail(std::move(tidied.error()));
  auto use = co_await use_.enter();
  auto made = TemporaryFolder::make(doors_.work, "load-");
  if (!made) co_return fail(std::move(made.error()));
  auto scratch = std::make_shared<TemporaryFolder>(std::move(*made));
  auto images = co_await build::unpack_images(std::move(read), scratch->path(), std::move(name));
  auto finish = [&store = doors_.store, scratch = std::move(scratch),
                 images = std::move(images)]() mutable -> Result<std::vector<Loaded>> {
    // Many files take time to remove: that is a worker's too.
    const auto folder = std::move(scratch);
    if (!images) return fail(std::move(images.error()));
    return adopt(store, folder->path() / build::image_layout_name, *images);
  };
  auto loaded = co_await doors_.workers.run(std::move(finish));
  collector_->ring();
  co_return loaded;
}

awaitable<Result<image::ContentStore::Collected>> collect_pushed(const ImageDoors& doors) {
  if (!doors.registry) co_return image::ContentStore::Collected{};
  auto collect = [registry = doors.registry] { return registry->collect_garbage(pushed_age_min); };
  auto collected = co_await doors.workers.run(std::move(collect));
  co_return collected;
}

awaitable<Result<api::Images::Freed>> LocalImages::prune() {
  auto closed = use_.close();
  if (!closed) co_return fail(std::move(closed.error()));
  auto look = [&store = doors_.store, needed = doors_.needed()] { return reached_images(store, needed); };
  auto kept = co_await doors_.workers.run(std::move(look));
  if (!kept) co_return fail(std::move(kept.error()));
  auto collect = [&store = doors_.store, manifests = kept->manifests()] {
    return store.collect_garbage(manifests, std::chrono::seconds(0));
  };
  auto collected = co_await doors_.workers.run(std::move(collect));
  if (!collected) co_return fail(std::move(collected.error()));
  Freed freed{.blobs = collected->blobs, .bytes = collected->bytes};
  auto pushed = co_await collect_pushed(doors_);
  if (!pushed) co_return fail(std::move(pushed.error()));
  freed.blobs += pushed->blobs;
  freed.bytes += pushed->bytes;
  auto layers = co_await doors_.runner.layers();
  if (!layers) co_return fail(std::move(layers.error()));
  for (const auto& layer : *layers) {
    if (kept->layers.contains(layer)) continue;
    auto bytes = co_await doors_.runner.remove_layer(layer);
    // Something runs on it that no revision is of any more, or it went by itself.
    if (!bytes && (bytes.error().code() == Errc::conflict || bytes.error().code() == Errc::not_found)) continue;
    if (!bytes) co_return fail(std::move(bytes.error()));
    ++freed.layers;
    freed.bytes += *bytes;
  }
  log::info("images pruned", {{"blobs", freed.blobs}, {"layers", freed.layers}, {"bytes", freed.bytes}});
  co_return freed;
}

awaitable<Result<api::Images::Freed>> LocalImages::collect() { return collector_->tidy(); }

/// Written to nobody, an archive reads every byte of an image and compares every digest.
awaitable<Result<void>> LocalImages::verify(std::string name) {
  auto archive = co_await save({name});
  if (!archive) co_return fail(std::move(archive.error()));
  auto nowhere = [](std::string_view) -> awaitable<Result<void>> { co_return Result<void>{}; };
  auto written = co_await (*archive)->write(nowhere);
  co_return written;
}

awaitable<Result<std::unique_ptr<api::Images::Archive>>> LocalImages::save(std::vector<std::string> names) {
  auto use = co_await use_.enter();
  auto saving = use_.save();
  auto look = [&store = doors_.store, names]() -> Result<std::vector<image::ArchiveFile>> {
    std::vector<image::SavedImage> images;
    for (const auto& name : names) {
      auto saved = saved_image(store, name);
      if (!saved) return fail(std::move(saved.error()));
      add(images, std::move(*saved));
    }
    return image::archive_files(images);
  };
  auto files = co_await doors_.workers.run(std::move(look));
  if (!files) co_return fail(std::move(files.error()));
  // Before the first byte: afterwards all that can be told is that the archive is cut.
  for (const auto& file : *files) {
    if (file.blob.empty() || doors_.store.has_blob(file.blob)) continue;
    auto unpacked = co_await doors_.runner.has_layer(file.blob);
    if (!unpacked) co_return fail(std::move(unpacked.error()));
    if (!*unpacked)
      co_return fail(Errc::not_found, fmt::format("the layer {} is not on this machine any more", file.blob.text()),
                     "build or load the image again");
  }
  co_return std::make_unique<ImageArchive>(doors_, std::move(use), std::move(saving), std::move(*files));
}

}  // namespace wick::app
