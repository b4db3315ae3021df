#include "api/image_views.hpp"

#include <fmt/format.h>

#include <boost/json/parse.hpp>

#include "api/answer.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"

namespace wick::api {

namespace {

constexpr std::size_t saved_names_max = 100;
constexpr std::size_t config_bytes_max = 1 << 20;

json::object describe(const Images::Named& named) {
  json::object about{{"name", named.name}, {"digest", named.digest.text()}};
  if (!named.image) {
    about["broken"] = named.image.error().what();
    return about;
  }
  std::uint64_t bytes = named.image->manifest.config.size;
  for (const auto& layer : named.image->manifest.layers) bytes += layer.size;
  about["bytes"] = bytes;
  about["layers"] = named.image->manifest.layers.size();
  about["created"] = named.image->config.created;
  return about;
}

awaitable<void> list_images(const Doors& doors, http::Exchange& exchange) {
  auto found = co_await doors.images.list();
  if (!found) co_return co_await respond_error(exchange, found.error());
  json::array list;
  for (const auto& named : *found) list.emplace_back(describe(named));
  co_await respond_json(exchange, 200, list);
}

awaitable<void> show_image(const Doors& doors, http::Exchange& exchange, std::string name) {
  auto found = co_await doors.images.find(std::move(name));
  if (!found) co_return co_await respond_error(exchange, found.error());
  auto document = describe(*found);
  if (found->image) {
    document["manifest"] = json::parse(found->image->manifest.to_json());
    document["config"] = json::parse(found->image->config.to_json());
  }
  co_await respond_json(exchange, 200, document);
}

awaitable<void> remove_image(const Doors& doors, http::Exchange& exchange, std::string name) {
  auto removed = co_await doors.images.remove(name);
  if (!removed) co_return co_await respond_error(exchange, removed.error());
  co_await respond_json(exchange, 200, json::object{{"name", name}, {"removed", true}});
}

awaitable<void> load_images(const Doors& doors, http::Exchange& exchange) {
  Images::Read read = [&exchange](std::span<char> into) { return exchange.read_some(into); };
  auto name = http::query_value(exchange.head().query(), "name").value_or("");
  auto loaded = co_await doors.images.load(std::move(read), std::move(name));
  if (!loaded) co_return co_await respond_error(exchange, loaded.error());
  json::array list;
  for (const auto& image : *loaded) list.push_back({{"name", image.name}, {"digest", image.digest.text()}});
  co_await respond_json(exchange, 201, list);
}

awaitable<void> prune_images(const Doors& doors, http::Exchange& exchange) {
  auto freed = co_await doors.images.prune();
  if (!freed) co_return co_await respond_error(exchange, freed.error());
  co_await respond_json(exchange, 200,
                        json::object{{"blobs", freed->blobs}, {"layers", freed->layers}, {"bytes", freed->bytes}});
}

awaitable<void> collect_images(const Doors& doors, http::Exchange& exchange) {
  auto freed = co_await doors.images.collect();
  if (!freed) co_return co_await respond_error(exchange, freed.error());
  const json::object answer{{"blobs", freed->blobs},     {"layers", freed->layers},  {"bytes", freed->bytes},
                            {"used", freed->used},       {"useMax", freed->use_max}, {"free", freed->free},
                            {"freeMin", freed->free_min}};
  co_await respond_json(exchange, 200, answer);
}

awaitable<void> verify_image(const Doors& doors, http::Exchange& exchange) {
  auto name = http::query_value(exchange.head().query(), "name").value_or("");
  auto verified = co_await doors.images.verify(name);
  if (!verified) co_return co_await respond_error(exchange, verified.error());
  co_await respond_json(exchange, 200, json::object{{"name", name}, {"verified", true}});
}

awaitable<void> save_images(const Doors& doors, http::Exchange& exchange) {
  std::vector<std::string> names;
  const auto wanted = http::query_value(exchange.head().query(), "names").value_or("");
  for (const auto name : split(wanted, ','))
    if (!name.empty()) names.emplace_back(name);
  if (names.empty() || names.size() > saved_names_max) {
    const Error error = Error(Errc::invalid, fmt::format("names: 1 to {} images are needed", saved_names_max))
                            .hint("imagearchive?names=hello,debian:bookworm");
    co_return co_await respond_error(exchange, error);
  }
  auto archive = co_await doors.images.save(std::move(names));
  if (!archive) co_return co_await respond_error(exchange, archive.error());
  http::ResponseHead head{.status = 200};
  head.fields.set("Content-Type", "application/x-tar");
  head.fields.set("Content-Length", std::to_string((*archive)->bytes()));
  auto started = co_await exchange.start(std::move(head));
  if (!started) co_return;
  Images::Sink sink = [&exchange](std::string_view bytes) { return exchange.write(bytes); };
  auto written = co_await (*archive)->write(std::move(sink));
  // What is short of its Content-Length was cut, and the client can tell.
  if (!written) {
    log::warn("an image was not saved whole", {{"images", wanted}, {"error", written.error().what()}});
    co_return;
  }
  co_await exchange.finish();
}

Result<std::string> queried_image(http::Exchange& exchange, const char* key) {
  auto name = http::query_value(exchange.head().query(), key).value_or("");
  if (name.empty()) return fail(Errc::invalid, fmt::format("{}: the name of an image is needed", key));
  return name;
}

/// The body is a docker config.json with credentials, as `wick image pull` sends of its user's; it may be empty.
awaitable<void> pull_image(const Doors& doors, http::Exchange& exchange) {
  auto name = queried_image(exchange, "name");
  if (!name) co_return co_await respond_error(exchange, name.error());
  auto config = co_await exchange.read_all(config_bytes_max);
  if (!config) co_return co_await respond_error(exchange, config.error());
  auto pulled = co_await doors.images.pull(std::move(*name), std::move(*config));
  if (!pulled) co_return co_await respond_error(exchange, pulled.error());
  co_await respond_json(exchange, 200, json::object{{"name", pulled->name}, {"digest", pulled->digest.text()}});
}

awaitable<void> push_image(const Doors& doors, http::Exchange& exchange) {
  auto name = queried_image(exchange, "name");
  auto to = queried_image(exchange, "to");
  if (!name || !to) co_return co_await respond_error(exchange, name ? to.error() : name.error());
  auto config = co_await exchange.read_all(config_bytes_max);
  if (!config) co_return co_await respond_error(exchange, config.error());
  auto pushed = co_await doors.images.push(*name, *to, std::move(*config));
  if (!pushed) co_return co_await respond_error(exchange, pushed.error());
  co_await respond_json(exchange, 200, json::object{{"name", *name}, {"to", *to}, {"digest", pushed->text()}});
}

/// What the name means now, with the namespace's Secrets `secrets`: how a client sees that a tag has moved.
awaitable<void> resolve_image(const Doors& doors, http::Exchange& exchange, std::string name_space) {
  auto name = queried_image(exchange, "name");
  if (!name) co_return co_await respond_error(exchange, name.error());
  std::vector<std::string> secrets;
  const auto wanted = http::query_value(exchange.head().query(), "secrets").value_or("");
  for (const auto secret : split(wanted, ','))
    if (!secret.empty()) secrets.emplace_back(secret);
  auto configs = control::docker_configs(doors.objects, name_space, secrets);
  auto digest = co_await doors.images.resolve(*name, std::move(configs));
  if (!digest) co_return co_await respond_error(exchange, digest.error());
  co_await respond_json(exchange, 200, json::object{{"name", *name}, {"digest", digest->text()}});
}

}  // namespace

std::vector<Route> image_routes(const Doors& doors) {
  const auto whole = [&doors](awaitable<void> (*handler)(const Doors&, http::Exchange&)) {
    return [&doors, handler](http::Exchange& exchange, const RouteMatch&) { return handler(doors, exchange); };
  };
  const auto named = [&doors](awaitable<void> (*handler)(const Doors&, http::Exchange&, std::string)) {
    return [&doors, handler](http::Exchange& exchange, const RouteMatch& match) {
      return handler(doors, exchange, match.names.front());
    };
  };
  const std::string_view all = "/apis/wick.dev/v1/images";
  const std::string_view one = "/apis/wick.dev/v1/images/{name}";
  return {
      {"GET", all, Scope::read, whole(list_images), Reach::machine},
      {"POST", all, Scope::deploy, whole(load_images), Reach::machine},
      {"POST", "/apis/wick.dev/v1/imagepull", Scope::deploy, whole(pull_image), Reach::machine},
      {"POST", "/apis/wick.dev/v1/imagepush", Scope::deploy, whole(push_image), Reach::machine},
      {"POST", "/apis/wick.dev/v1/namespaces/{ns}/imageresolve", Scope::deploy,
       [&doors](http::Exchange& exchange, const RouteMatch& match) {
         return resolve_image(doors, exchange, match.name_space);
       }},
      {"POST", "/apis/wick.dev/v1/imageprune", Scope::admin, whole(prune_images), Reach::machine},
      {"POST", "/apis/wick.dev/v1/imagegc", Scope::admin, whole(collect_images), Reach::machine},
      {"GET", "/apis/wick.dev/v1/imageverify", Scope::admin, whole(verify_image), Reach::machine},
      {"GET", one, Scope::read, named(show_image), Reach::machine},
      {"DELETE", one, Scope::deploy, named(remove_image), Reach::machine},
      {"GET", "/apis/wick.dev/v1/imagearchive", Scope::read, whole(save_images), Reach::machine},
  };
}

}  // namespace wick::api
