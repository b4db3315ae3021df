#include "bases.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "blob_pipe.hpp"
#include "stage_state.hpp"
#include "wick/base/text.hpp"
#include "words.hpp"

namespace wick::build {

namespace {

constexpr std::size_t waiting_max = 64;  // builds that wait for Debian to be made
constexpr std::size_t named_images_max = 10;
constexpr const char* debian_name = "debian:bookworm";

}  // namespace

bool is_debian_12(std::string_view name) {
  for (std::string_view prefix : {"docker.io/", "library/"})
    if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
  if (!name.starts_with("debian")) return false;
  name.remove_prefix(6);
  for (std::string_view tag :
       {"", ":latest", ":stable", ":stable-slim", ":12", ":12-slim", ":bookworm", ":bookworm-slim"})
    if (name == tag) return true;
  return false;
}

Bases::Bases(Executor executor, WorkerPool& workers, container::Runner& runner, image::ContentStore& store)
    : workers_(workers), runner_(runner), store_(store), one_at_a_time_(executor, 1, waiting_max) {}

awaitable<Result<Base>> Bases::resolve(std::string name, std::function<void(std::string)> on_line,
                                       LayersInUse::Pins& pins) {
  const auto wanted = is_debian_12(name) ? std::string(debian_name) : name;
  auto find = [this, wanted] { return store_.image(wanted); };
  auto image = co_await workers_.run(find);
  if (!image && image.error().code() == Errc::not_found && is_debian_12(name)) {
    auto slot = co_await one_at_a_time_.acquire();
    if (!slot) co_return fail(std::move(slot.error()));
    image = co_await workers_.run(find);  // another build may have made it meanwhile
    if (!image) image = co_await make_debian(on_line, pins);
  }
  if (!image && image.error().code() == Errc::not_found && pull_) {
    on_line(fmt::format("pulling {}", printable(name)));
    image = co_await pull_(name, on_line);
    if (!image) {
      auto error = co_await unknown(name, &image.error());
      co_return fail(std::move(error));
    }
  }
  if (!image && image.error().code() == Errc::not_found) {
    auto error = co_await unknown(name, nullptr);
    co_return fail(std::move(error));
  }
  if (!image) co_return fail(std::move(image.error()));
  auto look = [this, here = image->digest] { return store_.pulled_as(here).value_or(here); };
  auto digest = co_await workers_.run(std::move(look));
  Base base{.digest = std::move(digest), .config = image->config, .layers = image->manifest.layers};
  if (base.config.diff_ids.size() != base.layers.size())
    co_return fail(Errc::corrupt, fmt::format("the image {} has {} layers and {} DiffIDs", name, base.layers.size(),
                                              base.config.diff_ids.size()));
  for (std::size_t i = 0; i < base.layers.size(); ++i) {
    if (base.layers[i].digest != base.config.diff_ids[i])
      co_return fail(Errc::unsupported, fmt::format("the image {} has compressed layers", name),
                     "load it again: wick image load");
    auto provided = co_await provide(base.layers[i], pins);
    if (!provided) co_return fail(std::move(provided.error()).within("image " + name));
  }
  co_return base;
}

awaitable<Result<void>> Bases::provide(image::Descriptor layer, LayersInUse::Pins& pins) {
  pins.add(layer.digest);  // before the runner is asked
  auto there = co_await runner_.has_layer(layer.digest);
  if (!there) co_return fail(std::move(there.error()));
  if (*there) co_return Result<void>{};
  auto open = [this, digest = layer.digest] { return store_.open_blob(digest); };
  auto blob = co_await workers_.run(std::move(open));
  if (!blob) co_return fail(std::move(blob.error()));
  auto imported = co_await runner_.import_layer(layer.digest, std::move(*blob));
  co_return imported;
}

awaitable<Result<image::Image>> Bases::make_debian(std::function<void(std::string)> on_line, LayersInUse::Pins& pins) {
  on_line("making debian:bookworm from the Debian mirror (once; about half a minute)");
  auto bootstrap = [this](Fd out) { return runner_.bootstrap("bookworm", std::move(out)); };
  auto layer = co_await layer_from(workers_, store_, std::move(bootstrap));
  if (!layer) co_return fail(std::move(layer.error()).within("debian:bookworm"));
  if (!*layer) co_return fail(Errc::internal, "debian:bookworm came out empty");
  auto provided = co_await provide(**layer, pins);
  if (!provided) co_return fail(std::move(provided.error()));
  image::ImageConfig config;
  config.environment = {default_path};
  config.command = {"bash"};
  config.diff_ids = {(*layer)->digest};
  config.history = {{.created_by = "mmdebstrap --variant=minbase bookworm"}};
  auto put = [this, config = std::move(config), layer = **layer] {
    return store_.put_image(config, {layer}, debian_name);
  };
  auto image = co_await workers_.run(std::move(put));
  co_return image;
}

awaitable<Error> Bases::unknown(std::string name, const Error* at_registry) {
  auto list = [this] { return store_.images(); };
  auto images = co_await workers_.run(std::move(list));
  std::vector<std::string> names{"scratch", "debian:bookworm"};
  if (images)
    for (const auto& named : *images)
      if (std::ranges::find(names, named.reference) == names.end()) names.push_back(named.reference);
  const std::vector<std::string_view> views(names.begin(), names.end());
  const auto near = nearest_word(name, views);
  if (names.size() > named_images_max) names.resize(named_images_max);
  auto hint = fmt::format("available here: {}; bring others with `wick image load FILE`", fmt::join(names, ", "));
  if (!near.empty()) hint = fmt::format("did you mean {}? {}", near, hint);
  const auto here = fmt::format("there is no image '{}' on this machine", printable(name));
  if (!at_registry) co_return Error(Errc::not_found, here).hint(std::move(hint));
  // A registry that has another answer than "not there" is what has to be mended; else the name is.
  const bool absent = at_registry->code() == Errc::not_found || at_registry->code() == Errc::unavailable;
  co_return Error(at_registry->code(), fmt::format("{}, and it cannot be pulled: {}", here, at_registry->what()))
      .hint(absent ? std::move(hint) : at_registry->hint());
}

}  // namespace wick::build
