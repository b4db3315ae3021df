// The path of an API request, taken apart. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"

namespace wick::api {

/// Decoded segments of a path; nullopt for a malformed escape.
std::optional<std::vector<std::string>> path_segments(std::string_view path);

/// /api/v1/… and /apis/GROUP/VERSION/…
struct ResourcePath {
  std::string group;
  std::string version;
  std::string name_space;  // "" across namespaces, or for a cluster-scoped resource
  std::string plural;      // "" names the group version itself
  std::string name;
  std::vector<std::string> rest;  // after the name: subresource
};

/// nullopt when it is none of these.
std::optional<ResourcePath> parse_resource_path(const std::vector<std::string>& segments);

}  // namespace wick::api
