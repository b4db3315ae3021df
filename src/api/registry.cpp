// Manifests, tags and referrers. Blobs are in registry_blobs.cpp.
#include "api/registry.hpp"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "wick/base/text.hpp"
#include "wick/image/reference.hpp"

namespace wick::api {

namespace {

using image::RegistryCode;
using image::RegistryFailure;

constexpr std::size_t manifests_at_once = 4;
constexpr std::size_t manifests_waiting_max = 64;
constexpr std::size_t manifest_bytes_max = 4 << 20;
constexpr std::size_t page_names_max = 10'000;
constexpr std::size_t page_bytes_max = 4 << 20;  // of referrers, at least one of them
constexpr std::size_t warning_bytes_max = 300;
constexpr std::size_t tag_parameters_max = 100;

/// distribution-spec "Warnings": for people, without a quote.
std::string warning_of(const Error& error) {
  auto text = printable(error.hint().empty() ? error.what() : error.what() + "; " + error.hint(), warning_bytes_max);
  for (auto& c : text)
    if (c == '"' || c == '\\') c = '\'';
  return fmt::format("299 - \"it is kept, but does not run here: {}\"", text);
}

/// In the spec's words, what is wrong with a manifest.
RegistryFailure manifest_failure(const Error& error) {
  return image::registry_failure(
      error, error.code() == Errc::corrupt ? RegistryCode::digest_invalid : RegistryCode::manifest_invalid,
      RegistryCode::manifest_blob_unknown);
}

std::string artifact_type_of(const std::string& descriptor) {
  boost::json::error_code wrong;
  const auto value = boost::json::parse(descriptor, wrong);
  if (wrong || !value.is_object()) return {};
  const auto* type = value.get_object().if_contains("artifactType");
  return type && type->is_string() ? std::string(std::string_view(type->get_string())) : std::string();
}

}  // namespace

Registry::Registry(const Doors& doors)
    : doors_(doors), store_(*doors.registry), manifests_(doors.executor, manifests_at_once, manifests_waiting_max) {}

awaitable<void> Registry::handle(http::Exchange& exchange, const std::vector<std::string>& path) {
  auto request = image::parse_registry_path(path);
  if (!request) co_return co_await respond_registry_failure(exchange, std::move(request.error()));
  co_await answer(exchange, *request);
}

awaitable<void> Registry::answer(http::Exchange& exchange, const Request& request) {
  const auto& method = exchange.head().method;
  const bool reads = method == "GET" || method == "HEAD";
  switch (request.kind) {
    case Request::Kind::base:
      if (!reads) break;
      {
        auto head = registry_head(200);
        head.fields.set("Content-Type", "application/json");
        co_await exchange.respond(std::move(head), "{}\n");
        co_return;
      }
    case Request::Kind::blob:
      if (reads) co_return co_await get_blob(exchange, request);
      if (method == "DELETE") co_return co_await delete_blob(exchange, request);
      break;
    case Request::Kind::uploads:
    case Request::Kind::upload:
      co_return co_await answer_upload(exchange, request);
    case Request::Kind::manifest:
      if (reads) co_return co_await get_manifest(exchange, request);
      if (method == "PUT") co_return co_await put_manifest(exchange, request);
      if (method == "DELETE") co_return co_await delete_manifest(exchange, request);
      break;
    case Request::Kind::tags:
      if (reads) co_return co_await list_tags(exchange, request);
      break;
    case Request::Kind::referrers:
      if (reads) co_return co_await list_referrers(exchange, request);
      break;
  }
  RegistryFailure failure(RegistryCode::unsupported, fmt::format("there is no {} of this", printable(method)));
  co_await respond_registry_failure(exchange, std::move(failure));
}

awaitable<void> Registry::get_manifest(http::Exchange& exchange, const Request& request) {
  auto find = [this, &request] {
    return request.digest ? store_.manifest(request.repository, *request.digest)
                          : store_.manifest(request.repository, request.tag);
  };
  auto manifest = co_await doors_.workers.run(std::move(find));
  if (!manifest) {
    auto failure =
        image::registry_failure(manifest.error(), RegistryCode::manifest_unknown, RegistryCode::manifest_unknown);
    co_return co_await respond_registry_failure(exchange, std::move(failure));
  }
  auto head = registry_head(200);
  head.fields.set("Content-Type", manifest->media_type);
  head.fields.set("Docker-Content-Digest", manifest->digest.text());
  head.fields.set("ETag", fmt::format("\"{}\"", manifest->digest.text()));
  co_await exchange.respond(std::move(head), std::move(manifest->bytes));
}

awaitable<void> Registry::put_manifest(http::Exchange& exchange, const Request& request) {
  std::vector<std::string> parameters = query_values(exchange.head().query(), "tag");
  for (const auto& tag : parameters)
    if (!image::is_tag(tag) || parameters.size() > tag_parameters_max) {
      RegistryFailure failure(RegistryCode::manifest_invalid, fmt::format("'{}' is no tag, or there are more than {}",
                                                                          printable(tag), tag_parameters_max));
      co_return co_await respond_registry_failure(exchange, std::move(failure));
    }
  auto slot = co_await manifests_.acquire();
  if (!slot) co_return co_await respond_registry_failure(exchange, manifest_failure(slot.error()));
  auto body = co_await exchange.read_all(manifest_bytes_max);
  if (!body) co_return co_await respond_registry_failure(exchange, manifest_failure(body.error()));
  const std::string content_type(exchange.head().fields.find("Content-Type").value_or(""));
  auto look = [&] { return store_.unmade_layers(request.repository, *body, content_type); };
  auto unmade = co_await doors_.workers.run(std::move(look));
  if (!unmade) co_return co_await respond_registry_failure(exchange, manifest_failure(unmade.error()));
  for (const auto& layer : *unmade) {
    auto made = co_await doors_.images.make_layer(request.repository, layer);
    if (!made) co_return co_await respond_registry_failure(exchange, manifest_failure(made.error()));
  }
  auto keep = [&] { return store_.put_manifest(request.repository, *body, content_type, request.digest); };
  auto put = co_await doors_.workers.run(std::move(keep));
  if (!put) co_return co_await respond_registry_failure(exchange, manifest_failure(put.error()));
  auto head = registry_head(201);
  auto tags = parameters;
  if (!request.tag.empty()) tags.push_back(request.tag);
  for (const auto& tag : tags) {
    auto named = co_await doors_.images.name_pushed(request.repository, tag, put->digest, put->may_be_image);
    if (!named) co_return co_await respond_registry_failure(exchange, manifest_failure(named.error()));
    if (named->why_not) head.fields.set("Warning", warning_of(*named->why_not));
  }
  head.fields.set("Location", fmt::format("/v2/{}/manifests/{}", request.repository, put->digest.text()));
  head.fields.set("Docker-Content-Digest", put->digest.text());
  if (put->subject) head.fields.set("OCI-Subject", put->subject->text());
  for (const auto& tag : parameters) head.fields.add("OCI-Tag", tag);
  co_await exchange.respond(std::move(head));
}

awaitable<void> Registry::delete_manifest(http::Exchange& exchange, const Request& request) {
  auto remove = [this, &request] {
    return request.digest ? store_.remove_manifest(request.repository, *request.digest)
                          : store_.remove_tag(request.repository, request.tag);
  };
  auto removed = co_await doors_.workers.run(std::move(remove));
  if (!removed) {
    auto failure =
        image::registry_failure(removed.error(), RegistryCode::manifest_invalid, RegistryCode::manifest_unknown);
    co_return co_await respond_registry_failure(exchange, std::move(failure));
  }
  co_await exchange.respond(registry_head(202));
}

awaitable<void> Registry::list_tags(http::Exchange& exchange, const Request& request) {
  const auto query = exchange.head().query();
  const auto wanted = http::query_value(query, "n");
  const auto count = wanted ? parse_unsigned(*wanted) : std::optional<std::uint64_t>(page_names_max);
  if (!count) {
    RegistryFailure failure(RegistryCode::unsupported, fmt::format("n is a number, not '{}'", printable(*wanted)), 400);
    co_return co_await respond_registry_failure(exchange, std::move(failure));
  }
  auto look = [this, &request] { return store_.tags(request.repository); };
  auto tags = co_await doors_.workers.run(std::move(look));
  if (!tags) {
    auto failure = image::registry_failure(tags.error(), RegistryCode::name_invalid, RegistryCode::name_unknown);
    co_return co_await respond_registry_failure(exchange, std::move(failure));
  }
  const auto size = std::min<std::uint64_t>(*count, page_names_max);
  const auto page = image::page_of(*tags, http::query_value(query, "last").value_or(""), size);
  auto head = registry_head(200);
  head.fields.set("Content-Type", "application/json");
  if (page.more)
    head.fields.set("Link", fmt::format("</v2/{}/tags/list?n={}&last={}>; rel=\"next\"", request.repository, size,
                                        http::percent_encode(page.names.back())));
  boost::json::array names;
  for (const auto& name : page.names) names.emplace_back(name);
  auto body = boost::json::serialize(boost::json::object{{"name", request.repository}, {"tags", std::move(names)}});
  co_await exchange.respond(std::move(head), body + "\n");
}

awaitable<void> Registry::list_referrers(http::Exchange& exchange, const Request& request) {
  const auto query = exchange.head().query();
  const auto type = http::query_value(query, "artifactType").value_or("");
  const auto last = http::query_value(query, "last").value_or("");
  auto look = [this, &request] { return store_.referrers(request.repository, *request.digest); };
  const auto found = co_await doors_.workers.run(std::move(look));
  auto head = registry_head(200);
  head.fields.set("Content-Type", std::string(image::media_type_index));
  if (!type.empty()) head.fields.set("OCI-Filters-Applied", "artifactType");
  std::string list;
  std::string_view shown;
  for (auto one = found.upper_bound(last); one != found.end(); ++one) {
    const auto& [digest, descriptor] = *one;
    if (!type.empty() && artifact_type_of(descriptor) != type) continue;
    if (!list.empty() && list.size() + descriptor.size() > page_bytes_max) {
      auto next = fmt::format("</v2/{}/referrers/{}?last={}", request.repository, request.digest->text(),
                              http::percent_encode(shown));
      if (!type.empty()) next += "&artifactType=" + http::percent_encode(type);
      head.fields.set("Link", next + ">; rel=\"next\"");
      break;
    }
    list += (list.empty() ? "" : ",") + descriptor;
    shown = digest;
  }
  auto body = fmt::format(R"({{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}})", image::media_type_index, list);
  co_await exchange.respond(std::move(head), body + "\n");
}

std::vector<Route> registry_routes(const Doors& doors) {
  if (!doors.registry) return {};
  const auto registry = std::make_shared<Registry>(doors);
  const auto handle = [registry](http::Exchange& exchange, const RouteMatch& match) {
    return registry->handle(exchange, match.names);
  };
  std::vector<Route> routes;
  for (const auto method : {"GET", "HEAD"}) routes.push_back({method, "/v2/**", Scope::read, handle, Reach::machine});
  for (const auto method : {"POST", "PUT", "PATCH", "DELETE"})
    routes.push_back({method, "/v2/**", Scope::deploy, handle, Reach::machine});
  routes.push_back({"*", "/v2/**", Scope::read, handle, Reach::machine});
  return routes;
}

}  // namespace wick::api
