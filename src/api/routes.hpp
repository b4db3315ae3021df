// The paths that are no resources, each with the scope it needs. What is not in this table and is no resource is 404.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/access.hpp"
#include "wick/http/handler.hpp"
#include "wick/model/resource.hpp"

namespace wick::api {

struct RouteMatch;

/// What a path without "{ns}" is about.
enum class Reach {
  caller,   // who asks, or what is in everybody's sight
  machine,  // something that all namespaces share: not for who is limited to one
};

struct Route {
  std::string_view method;  // "*": any
  /// Segments; "{ns}" is a namespace, "{name}" any segment, a last "**" any rest (also none).
  std::string_view pattern;
  Scope scope = Scope::admin;
  std::function<awaitable<void>(http::Exchange&, const RouteMatch&)> handle;
  Reach reach = Reach::caller;
};

struct RouteMatch {
  const Route* route = nullptr;
  bool other_method = false;       // the path is known, the method is not
  std::string name_space;          // what {ns} stands for
  std::vector<std::string> names;  // what {name} and ** stand for
};

/// route is nullptr when nothing matches.
RouteMatch find_route(std::span<const Route> routes, std::string_view method, const std::vector<std::string>& segments);

/// What a verb on a resource needs: reading is `read`, but for the values of Secrets; writing is `deploy`, but for what
/// belongs to no namespace.
Scope scope_of(const model::Kind& kind, std::string_view method, std::string_view subresource);

}  // namespace wick::api
