#include "control/client_hosts.hpp"

#include <fmt/format.h>

#include "control/routes.hpp"
#include "wick/base/text.hpp"
#include "wick/model/domain_mapping.hpp"

namespace wick::control {

namespace {

/// Its ca.crt. Errors: not_found, invalid.
Result<http::ClientAuthorities> client_authorities(const World& world, const json::object& route) {
  const auto name = client_ca_of(route);
  const auto make = fmt::format("kubectl create secret generic {} -n {} --from-file=ca.crt", name, namespace_of(route));
  const auto found = world.objects().find(key_of(model::secret_kind(), namespace_of(route), name));
  if (!found) return fail(Errc::not_found, fmt::format("secrets \"{}\" not found", name), make);
  const auto pem = base64_decode(model::text_at(*found, {"data", "ca.crt"})).value_or(std::string());
  if (pem.empty()) return fail(Errc::invalid, fmt::format("secret \"{}\" has no ca.crt", name), make);
  auto authorities = http::ClientAuthorities::parse(pem);
  if (!authorities) return fail(std::move(authorities.error()).within(fmt::format("secret \"{}\"", name)));
  return authorities;
}

ObjectValue mapped_route(const World& world, const json::object& mapping) {
  const auto at = [&](std::string_view key) { return model::text_at(mapping, {"spec", "ref", key}); };
  const auto name_space = at("namespace");
  return world.objects().find(
      key_of(model::route_kind(), name_space.empty() ? namespace_of(mapping) : name_space, at("name")));
}

}  // namespace

std::string client_ca_of(const json::object& route) {
  return model::text_at(route, {"metadata", "annotations", "wick.dev/client-ca"});
}

ClientHosts client_hosts(const World& world) {
  ClientHosts hosts;
  for (const auto& route : world.objects().find_by(world.indexes.routes_by_client_ca, any_client_ca)) {
    const auto authorities = client_authorities(world, *route);
    for (const auto& tag : tags_of(*route)) {
      for (auto& host : outside_hosts(*route, world.options.domain, tag)) hosts.emplace(std::move(host), authorities);
      for (auto& host : inside_hosts(*route, tag)) hosts.emplace(std::move(host), authorities);
    }
    for (const auto& mapping : world.objects().find_by(world.indexes.mappings_by_target, name_of(*route)))
      if (mapped_route(world, *mapping) == route) hosts.emplace(name_of(*mapping), authorities);
  }
  return hosts;
}

}  // namespace wick::control
