// LocalImages and the registry: what is pushed becomes an image, and a layer that is only unpacked becomes a blob.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "app/image_collector.hpp"
#include "app/images.hpp"
#include "wick/base/log.hpp"
#include "wick/build/unpack_images.hpp"
#include "wick/image/import.hpp"
#include "wick/image/reference.hpp"
#include "wick/os/files.hpp"

namespace wick::app {

namespace {

/// An image layout as a tar, as somebody reads it who takes it in pieces.
class LayoutReader {
 public:
  LayoutReader(WorkerPool& workers, image::RegistryStore::Layout layout)
      : workers_(workers), layout_(std::move(layout)) {}

  awaitable<Result<std::size_t>> read(std::span<char> into) {
    while (true) {
      if (taken_ < text_.size()) {
        const auto count = text_.copy(into.data(), into.size(), taken_);
        taken_ += count;
        co_return count;
      }
      if (left_ > 0) co_return co_await read_blob(into.first(std::min<std::uint64_t>(into.size(), left_)));
      if (ended_) co_return std::size_t{0};
      auto next = next_text();
      if (!next) co_return fail(std::move(next.error()));
      text_ = std::move(*next);
      taken_ = 0;
    }
  }

 private:
  awaitable<Result<std::size_t>> read_blob(std::span<char> into) {
    auto read = [this, into]() -> Result<std::size_t> {
      while (true) {
        const auto got = ::read(blob_.get(), into.data(), into.size());
        if (got > 0) return static_cast<std::size_t>(got);
        if (got == 0) return fail(Errc::corrupt, "a blob is shorter than it was");
        if (errno != EINTR) return fail(system_error("read a blob", errno));
      }
    };
    auto got = co_await workers_.run(std::move(read));
    if (got) left_ -= *got;
    co_return got;
  }

  /// What comes before the next blob, which is opened.
  Result<std::string> next_text() {
    std::string text;
    if (blob_) text += image::archive_padding(layout_.files[next_ - 1].size);
    blob_.reset();
    if (next_ == layout_.files.size()) {
      ended_ = true;
      return text + image::archive_end();
    }
    const auto& file = layout_.files[next_++];
    text += image::archive_header(file) + file.bytes;
    if (file.blob.empty()) return text + image::archive_padding(file.size);
    auto opened = open_file(layout_.blobs.at(file.blob), O_RDONLY);
    if (!opened) return fail(std::move(opened.error()));
    blob_ = std::move(*opened);
    left_ = file.size;
    return text;
  }

  WorkerPool& workers_;
  image::RegistryStore::Layout layout_;
  std::size_t next_ = 0;
  std::string text_;
  std::size_t taken_ = 0;
  Fd blob_;
  std::uint64_t left_ = 0;
  bool ended_ = false;
};

std::string pushed_name(const std::string& repository, const std::string& tag) {
  auto reference = image::parse_reference(fmt::format("{}:{}", repository, tag));
  return reference ? reference->familiar() : std::string();
}

/// Not the image's fault.
bool is_of_the_disk(const Error& error) {
  return error.code() == Errc::unavailable || error.code() == Errc::io || error.code() == Errc::overloaded;
}

}  // namespace

awaitable<Result<Digest>> LocalImages::image_of_pushed(std::string repository, image::BlobDigest manifest,
                                                       std::string name) {
  const auto pushed = manifest.sha256();
  if (!pushed)
    co_return fail(Errc::unsupported, fmt::format("it is pushed as {}: images run here by SHA-256", manifest.text()));
  if (name.empty()) co_return fail(Errc::invalid, fmt::format("no image can be called '{}'", repository));
  // Layers of what no name reaches may be gone.
  auto look = [&store = doors_.store, needed = doors_.needed(), pushed]() -> Result<std::optional<Digest>> {
    auto image = store.image(*pushed);
    if (!image) return std::nullopt;
    auto reached = reached_images(store, needed);
    if (!reached) return fail(std::move(reached.error()));
    for (const auto& one : reached->images)
      if (one.digest == image->digest) return image->digest;
    return std::nullopt;
  };
  auto known = co_await doors_.workers.run(std::move(look));
  if (!known) co_return fail(std::move(known.error()));
  if (*known) co_return **known;
  auto slot = co_await pushes_.acquire();
  if (!slot) co_return fail(std::move(slot.error()));
  auto tidied = co_await collector_->tidy();
  if (!tidied && tidied.error().code() != Errc::conflict) co_return fail(std::move(tidied.error()));
  auto list = [registry = doors_.registry, &repository, &manifest, &name] {
    return registry->layout_of(repository, manifest, name);
  };
  auto layout = co_await doors_.workers.run(std::move(list));
  if (!layout) co_return fail(std::move(layout.error()));
  auto made = TemporaryFolder::make(doors_.work, "pushed-");
  if (!made) co_return fail(std::move(made.error()));
  auto scratch = std::make_shared<TemporaryFolder>(std::move(*made));
  LayoutReader reader(doors_.workers, std::move(*layout));
  build::ReadArchive read = [&reader](std::span<char> into) { return reader.read(into); };
  auto images = co_await build::unpack_images(std::move(read), scratch->path(), name);
  auto finish = [&store = doors_.store, scratch = std::move(scratch), images = std::move(images),
                 pushed]() mutable -> Result<Digest> {
    // Many files take time to remove: that is a worker's too.
    const auto folder = std::move(scratch);
    if (!images) return fail(std::move(images.error()));
    if (images->empty()) return fail(Errc::unsupported, "it has no image for this machine");
    auto image = store.adopt(folder->path() / build::image_layout_name, images->front().manifest, "");
    if (!image) return fail(std::move(image.error()));
    if (auto kept = store.remember_pushed(*pushed, image->digest); !kept) return fail(std::move(kept.error()));
    return image->digest;
  };
  auto image = co_await doors_.workers.run(std::move(finish));
  co_return image;
}

awaitable<Result<api::Images::NamedPushed>> LocalImages::name_pushed(std::string repository, std::string tag,
                                                                     image::BlobDigest manifest, bool may_be_image) {
  if (!doors_.registry) co_return fail(Errc::unsupported, "there is no registry");
  auto use = co_await use_.enter();
  NamedPushed named;
  if (may_be_image) {
    auto image = co_await image_of_pushed(repository, manifest, pushed_name(repository, tag));
    if (!image && is_of_the_disk(image.error())) co_return fail(std::move(image.error()));
    if (image)
      named.image = *image;
    else
      named.why_not = std::move(image.error());
  }
  auto name = [registry = doors_.registry, &repository, &tag, &manifest, image = named.image] {
    return registry->set_tag(repository, tag, manifest, image);
  };
  auto done = co_await doors_.workers.run(std::move(name));
  if (!done) co_return fail(std::move(done.error()));
  log::info("image pushed here", {{"repository", repository},
                                  {"tag", tag},
                                  {"digest", manifest.text()},
                                  {"image", named.image ? named.image->text() : ""},
                                  {"whyNot", named.why_not ? named.why_not->what() : ""}});
  collector_->ring();
  co_return named;
}

awaitable<Result<void>> LocalImages::make_layer(std::string repository, Digest layer) {
  if (!doors_.registry) co_return fail(Errc::unsupported, "there is no registry");
  auto slot = co_await pushes_.acquire();
  if (!slot) co_return fail(std::move(slot.error()));
  auto use = co_await use_.enter();
  auto saving = use_.save();
  auto share = [registry = doors_.registry, &repository, layer] { return registry->add_stored(repository, layer); };
  auto shared = co_await doors_.workers.run(std::move(share));
  if (shared || shared.error().code() != Errc::not_found) co_return shared;
  auto begin = [registry = doors_.registry]() -> Result<std::pair<std::filesystem::path, Fd>> {
    if (auto room = image::check_room(registry->root()); !room) return fail(std::move(room.error()));
    return registry->make_file();
  };
  auto file = co_await doors_.workers.run(std::move(begin));
  if (!file) co_return fail(std::move(file.error()));
  const auto path = file->first;
  auto packed = co_await doors_.runner.pack_layer(layer, std::move(file->second));
  auto finish = [registry = doors_.registry, &repository, layer, &path, packed = std::move(packed)]() -> Result<void> {
    auto added = packed ? registry->add_layer(repository, layer, path) : packed;
    if (!added) ::unlink(path.c_str());
    return added;
  };
  auto added = co_await doors_.workers.run(std::move(finish));
  collector_->ring();
  co_return added;
}

}  // namespace wick::app
