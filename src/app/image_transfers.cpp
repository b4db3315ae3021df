// LocalImages and registries: what a name means, and the ways in and out.
#include <fmt/format.h>

#include "app/image_collector.hpp"
#include "app/images.hpp"
#include "wick/base/log.hpp"
#include "wick/build/registries.hpp"
#include "wick/build/unpack_images.hpp"
#include "wick/image/reference.hpp"
#include "wick/os/files.hpp"

namespace wick::app {

namespace {

using control::PullPolicy;

struct Here {
  Digest digest;
  bool pulled = false;
};

std::optional<image::BlobDigest> pushed_as(const image::RegistryStore* registry, const image::Reference& reference) {
  auto repository = reference;
  repository.tag.clear();
  return registry ? registry->pushed_as(repository.familiar(), reference.tag) : std::nullopt;
}

Result<Here> look_here(const ImageDoors& doors, const std::string& name) {
  auto image = doors.store.image(std::string_view(name));
  const auto reference = image::parse_reference(name);
  const bool by_tag = reference && reference->digest.empty();
  const auto pushed = by_tag ? pushed_as(doors.registry, *reference) : std::nullopt;
  if (!image && pushed)  // no registry elsewhere is asked for what somebody gave us
    return fail(Errc::unsupported, fmt::format("{} was pushed here, but is no image that can run here", name),
                "docker, podman or skopeo push warned of it: push it again to read why");
  if (!image) return fail(std::move(image.error()));
  Here here{.digest = image->digest, .pulled = doors.store.was_pulled(image->digest)};
  // What was pushed here is known by the digest that its pusher was told.
  if (reference && !by_tag)
    here.digest = reference->digest;
  else if (pushed)
    here.digest = pushed->sha256().value_or(here.digest);
  return here;
}

/// What is here answers for the registry: always, only when that cannot be reached, or not at all.
enum class Standing { enough, spare, none };

/// Pure.
Standing standing_of(const Result<Here>& here, PullPolicy policy) {
  if (!here) return Standing::none;
  switch (policy) {
    case PullPolicy::never:
    case PullPolicy::if_not_present:
      return Standing::enough;
    case PullPolicy::always:
      return Standing::none;
    case PullPolicy::unset:
      break;
  }
  return here->pulled ? Standing::spare : Standing::enough;
}

bool is_out_of_reach(const Error& error) {
  return error.code() == Errc::unavailable || error.code() == Errc::timed_out || error.code() == Errc::overloaded;
}

/// Layers whose size some image tells, so that a new manifest can.
Result<std::map<Digest, std::uint64_t>> layer_sizes(const image::ContentStore& store,
                                                    const std::vector<std::string>& needed) {
  auto reached = reached_images(store, needed);
  if (!reached) return fail(std::move(reached.error()));
  std::map<Digest, std::uint64_t> sizes;
  for (const auto& image : reached->images)
    for (const auto& layer : image.manifest.layers)
      if (layer.media_type == image::media_type_layer) sizes[layer.digest] = layer.size;
  return sizes;
}

/// Repositories of the same registry, by names that are here, that may have a layer already.
std::map<Digest, std::string> mounts_for(const image::ContentStore& store, const image::Reference& target) {
  std::map<Digest, std::string> mounts;
  auto names = store.images();
  if (!names) return mounts;
  for (const auto& named : *names) {
    const auto reference = image::parse_reference(named.reference);
    if (!reference || reference->registry != target.registry || reference->repository == target.repository) continue;
    auto image = store.image(named.manifest.digest);
    if (!image) continue;
    for (const auto& layer : image->manifest.layers) mounts.emplace(layer.digest, reference->repository);
  }
  return mounts;
}

std::vector<std::string> only(std::string config) {
  return config.empty() ? std::vector<std::string>{} : std::vector<std::string>{std::move(config)};
}

}  // namespace

awaitable<Result<image::RegistryTarget>> LocalImages::target_of(std::string text, std::vector<std::string> configs) {
  auto reference = image::parse_reference(text);
  if (!reference) co_return fail(std::move(reference.error()));
  if (!doors_.clock || image::is_local_only(*reference))
    co_return fail(Errc::not_found, fmt::format("there is no image '{}' on this machine", reference->familiar()),
                   "wick image load FILE brings it; no registry is asked for it");
  auto make = [this, reference = std::move(*reference), configs = std::move(configs)] {
    return image::registry_target(reference, doors_.registries, configs);
  };
  auto target = co_await doors_.workers.run(std::move(make));
  co_return target;
}

awaitable<Result<Digest>> LocalImages::resolve(std::string text, PullPolicy policy, std::vector<std::string> configs) {
  auto look = [this, text] { return look_here(doors_, text); };
  auto here = co_await doors_.workers.run(std::move(look));
  const auto standing = standing_of(here, policy);
  if (standing == Standing::enough) co_return here->digest;
  if (!here && here.error().code() != Errc::not_found) co_return fail(std::move(here.error()));
  if (policy == PullPolicy::never)
    co_return fail(Errc::not_found, "it is not here, and its pull policy is Never",
                   "wick image pull NAME, or wick image load FILE");
  auto target = co_await target_of(text, std::move(configs));
  if (!target) co_return fail(std::move(target.error()));
  auto digest = co_await build::resolve_image(*doors_.clock, std::move(*target));
  if (!digest && standing == Standing::spare && is_out_of_reach(digest.error())) {
    log::warn("the registry is out of reach: the image that is here is used",
              {{"image", text}, {"digest", here->digest.text()}, {"error", digest.error().what()}});
    co_return here->digest;
  }
  co_return digest;
}

awaitable<Result<Digest>> LocalImages::resolve(std::string reference, std::vector<std::string> configs) {
  return resolve(std::move(reference), PullPolicy::unset, std::move(configs));
}

awaitable<Result<image::Image>> LocalImages::fetch(std::string text, std::vector<std::string> configs, std::string name,
                                                   std::function<void(std::string)> on_line) {
  auto target = co_await target_of(text, std::move(configs));
  if (!target) co_return fail(std::move(target.error()));
  auto slot = co_await pulls_.acquire();
  if (!slot) co_return fail(std::move(slot.error()));
  if (const auto digest = target->reference.digest; !digest.empty()) {  // another may have brought it meanwhile
    auto look = [&store = doors_.store, digest, name]() -> Result<image::Image> {
      auto image = store.image(digest);
      if (!image || name.empty()) return image;
      return store.put_image(image->config, image->manifest.layers, name);
    };
    auto there = co_await doors_.workers.run(std::move(look));
    if (there) co_return there;
  }
  auto tidied = co_await collector_->tidy();
  if (!tidied && tidied.error().code() != Errc::conflict) co_return fail(std::move(tidied.error()));
  auto use = co_await use_.enter();
  auto saving = use_.save();  // what is known of layers now stays true
  auto count = [&store = doors_.store, needed = doors_.needed()] { return layer_sizes(store, needed); };
  auto counted = co_await doors_.workers.run(std::move(count));
  if (!counted) co_return fail(std::move(counted.error()));
  const auto sizes = std::make_shared<const std::map<Digest, std::uint64_t>>(std::move(*counted));
  const auto known = std::make_shared<std::set<Digest>>();
  auto knows = [this, sizes, known](Digest layer) -> awaitable<Result<std::optional<std::uint64_t>>> {
    const auto size = sizes->find(layer);
    if (size == sizes->end()) co_return std::nullopt;
    if (!doors_.store.has_blob(layer)) {
      auto unpacked = co_await doors_.runner.has_layer(layer);
      if (!unpacked) co_return fail(std::move(unpacked.error()));
      if (!*unpacked) co_return std::nullopt;
    }
    known->insert(layer);
    co_return size->second;
  };
  auto made = TemporaryFolder::make(doors_.work, "pull-");
  if (!made) co_return fail(std::move(made.error()));
  auto scratch = std::make_shared<TemporaryFolder>(std::move(*made));
  auto pulled =
      co_await build::pull_image(*doors_.clock, std::move(*target), scratch->path(), knows, std::move(on_line));
  auto finish = [&store = doors_.store, scratch = std::move(scratch), known, pulled = std::move(pulled),
                 name]() mutable -> Result<image::Image> {
    // Many files take time to remove: that is a worker's too.
    const auto folder = std::move(scratch);
    if (!pulled) return fail(std::move(pulled.error()));
    auto image = store.adopt(folder->path() / build::image_layout_name, pulled->manifest, "", *known);
    if (!image) return image;
    if (auto kept = store.remember_pulled(pulled->known_as, image->digest); !kept) return fail(std::move(kept.error()));
    return name.empty() ? image : store.put_image(image->config, image->manifest.layers, name);
  };
  auto image = co_await doors_.workers.run(std::move(finish));
  if (image) log::info("image pulled", {{"image", text}, {"digest", image->digest.text()}});
  collector_->ring();
  co_return image;
}

awaitable<Result<api::Images::Loaded>> LocalImages::pull(std::string text, std::string config) {
  auto reference = image::parse_reference(text);
  if (!reference) co_return fail(std::move(reference.error()));
  const auto name = reference->familiar();
  auto target = co_await target_of(text, only(config));
  if (!target) co_return fail(std::move(target.error()));
  auto digest = co_await build::resolve_image(*doors_.clock, std::move(*target));
  if (!digest) co_return fail(std::move(digest.error()));
  reference->digest = *digest;
  auto named = *reference;
  named.digest = {};
  auto image =
      co_await fetch(reference->canonical(), only(std::move(config)), named.tag.empty() ? "" : named.familiar(), {});
  if (!image) co_return fail(std::move(image.error()));
  co_return Loaded{.name = name, .digest = *digest};
}

awaitable<Result<Digest>> LocalImages::push(std::string name, std::string text, std::string config) {
  auto target = co_await target_of(text, only(std::move(config)));
  if (!target) co_return fail(std::move(target.error()));
  if (target->reference.tag.empty() || !target->reference.digest.empty())
    co_return fail(Errc::invalid, "an image is pushed under a tag, not under a digest", "REGISTRY/NAME:TAG");
  auto slot = co_await loads_.acquire();
  if (!slot) co_return fail(std::move(slot.error()));
  auto archive = co_await save({name});
  if (!archive) co_return fail(std::move(archive.error()));
  auto find = [&store = doors_.store, reference = target->reference] { return mounts_for(store, reference); };
  auto mounts = co_await doors_.workers.run(std::move(find));
  auto made = TemporaryFolder::make(doors_.work, "push-");
  if (!made) co_return fail(std::move(made.error()));
  auto scratch = std::make_shared<TemporaryFolder>(std::move(*made));
  auto write = [&archive](Sink sink) { return (*archive)->write(std::move(sink)); };
  auto pushed = co_await build::push_image(*doors_.clock, std::move(*target), scratch->path(), text, write,
                                           std::move(mounts), {});
  auto remove = [scratch = std::move(scratch)]() mutable { scratch.reset(); };
  co_await doors_.workers.run(std::move(remove));
  if (pushed) log::info("image pushed", {{"image", name}, {"to", text}, {"digest", pushed->text()}});
  co_return pushed;
}

}  // namespace wick::app
