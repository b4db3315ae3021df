#include "app/images.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "app/image_archive.hpp"
#include "wick/image/reference.hpp"

namespace wick::app {

namespace {

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
  auto work = [&store = doors_.store, name] { return store.remove_reference(name); };
  auto removed = co_await doors_.workers.run(std::move(work));
  co_return removed;
}

awaitable<Result<std::unique_ptr<api::Images::Archive>>> LocalImages::save(std::vector<std::string> names) {
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
  co_return std::make_unique<ImageArchive>(doors_, std::move(*files));
}

}  // namespace wick::app
