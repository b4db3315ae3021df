#include "api/routes.hpp"

#include <optional>

#include "wick/base/text.hpp"

namespace wick::api {

namespace {

std::optional<RouteMatch> match(const Route& route, const std::vector<std::string>& segments) {
  RouteMatch match{.route = &route, .other_method = false, .name_space = {}, .names = {}};
  std::size_t at = 0;
  for (const auto part : split(route.pattern.substr(1), '/')) {
    if (part == "**") {
      match.names.insert(match.names.end(), segments.begin() + static_cast<std::ptrdiff_t>(at), segments.end());
      return match;
    }
    if (at == segments.size()) return std::nullopt;
    const auto& segment = segments[at++];
    if (part == "{ns}")
      match.name_space = segment;
    else if (part.starts_with('{'))
      match.names.push_back(segment);
    else if (part != segment)
      return std::nullopt;
  }
  if (at != segments.size()) return std::nullopt;
  return match;
}

}  // namespace

RouteMatch find_route(std::span<const Route> routes, std::string_view method,
                      const std::vector<std::string>& segments) {
  RouteMatch none;
  for (const auto& route : routes) {
    auto found = match(route, segments);
    if (!found) continue;
    if (route.method == "*" || route.method == method) return std::move(*found);
    none.other_method = true;
  }
  return none;
}

Scope scope_of(const model::Kind& kind, std::string_view method, std::string_view subresource) {
  const bool reads = method == "GET" || method == "HEAD";
  if (subresource == "exec" || subresource == "attach" || subresource == "portforward") return Scope::deploy;
  if (kind.group.empty() && kind.kind == "Secret") return Scope::deploy;
  if (reads) return Scope::read;
  return kind.namespaced ? Scope::deploy : Scope::admin;
}

}  // namespace wick::api
