// Images in memory: one that is there, others that are not.
#pragma once

#include <map>

#include "wick/api/images.hpp"
#include "wick/image/registry_store.hpp"

namespace wick {

class FakeImages final : public api::Images {
 public:
  std::map<std::string, image::Image> images;
  std::vector<std::string> configs;  // with credentials, of pulls and pushes
  std::string loaded;
  int prunes = 0;
  std::string archive;                   // what an archive of them is
  std::optional<std::size_t> cut_after;  // bytes, then the archive fails
  std::size_t archives = 0;              // that live

  awaitable<Result<std::vector<Named>>> list() override {
    std::vector<Named> all;
    for (const auto& [name, image] : images) all.push_back({name, image.digest, image});
    co_return all;
  }
  awaitable<Result<Named>> find(std::string name) override {
    const auto found = images.find(name);
    if (found == images.end()) co_return fail(Errc::not_found, "there is no image '" + name + "'");
    co_return Named{name, found->second.digest, found->second};
  }
  awaitable<Result<void>> remove(std::string name) override {
    if (images.erase(name) == 0) co_return fail(Errc::not_found, "there is no image '" + name + "'");
    co_return Result<void>{};
  }
  awaitable<Result<std::vector<Loaded>>> load(Read read, std::string name) override {
    loaded.clear();
    std::string chunk(1000, '\0');
    while (true) {
      auto got = co_await read(chunk);
      if (!got) co_return fail(std::move(got.error()));
      if (*got == 0) break;
      loaded.append(chunk, 0, *got);
    }
    co_return std::vector<Loaded>{{name.empty() ? "its-own:latest" : name, Digest::of(loaded)}};
  }
  awaitable<Result<Freed>> prune() override {
    ++prunes;
    co_return Freed{.blobs = 2, .layers = 3, .bytes = 4000};
  }
  awaitable<Result<Freed>> collect() override {
    co_return Freed{.layers = 1, .bytes = 2000, .used = 7000, .use_max = 8000, .free = 90, .free_min = 10};
  }
  awaitable<Result<void>> verify(std::string name) override {
    if (!images.contains(name)) co_return fail(Errc::not_found, "there is no image '" + name + "'");
    co_return Result<void>{};
  }
  awaitable<Result<Loaded>> pull(std::string reference, std::string config) override {
    configs.push_back(std::move(config));
    co_return Loaded{reference, Digest::of(reference)};
  }
  awaitable<Result<Digest>> push(std::string name, std::string reference, std::string config) override {
    if (!images.contains(name)) co_return fail(Errc::not_found, "there is no image '" + name + "'");
    configs.push_back(std::move(config));
    co_return Digest::of(reference);
  }
  awaitable<Result<Digest>> resolve(std::string reference, std::vector<std::string> given) override {
    configs = std::move(given);
    co_return Digest::of(reference);
  }
  /// Every image is one, and its digest here is that of its manifest's digest.
  awaitable<Result<NamedPushed>> name_pushed(std::string repository, std::string tag, image::BlobDigest manifest,
                                             bool may_be_image) override {
    pushed.emplace_back(repository + ":" + tag, manifest);
    if (registry)
      if (auto named = registry->set_tag(repository, tag, manifest, std::nullopt); !named)
        co_return fail(std::move(named.error()));
    if (may_be_image && unfit) co_return NamedPushed{.image = std::nullopt, .why_not = unfit};
    co_return NamedPushed{.image = Digest::of(manifest.text()), .why_not = std::nullopt};
  }
  awaitable<Result<void>> make_layer(std::string repository, Digest layer) override {
    made.push_back(repository + " " + layer.text());
    co_return Result<void>{};
  }
  image::RegistryStore* registry = nullptr;
  std::vector<std::pair<std::string, image::BlobDigest>> pushed;
  std::vector<std::string> made;
  std::optional<Error> unfit;  // why a pushed image cannot run

  awaitable<Result<std::unique_ptr<Archive>>> save(std::vector<std::string> names) override {
    for (const auto& name : names)
      if (!images.contains(name)) co_return fail(Errc::not_found, "there is no image '" + name + "'");
    co_return std::make_unique<FakeArchive>(*this);
  }

 private:
  struct FakeArchive final : Archive {
    explicit FakeArchive(FakeImages& owner) : of(owner) { ++of.archives; }
    ~FakeArchive() override { --of.archives; }
    std::uint64_t bytes() const override { return of.archive.size(); }
    awaitable<Result<void>> write(Sink sink) override {
      auto given = co_await sink(std::string_view(of.archive).substr(0, of.cut_after.value_or(of.archive.size())));
      if (given && of.cut_after) co_return fail(Errc::corrupt, "a layer is damaged");
      co_return given;
    }
    FakeImages& of;
  };
};

}  // namespace wick
