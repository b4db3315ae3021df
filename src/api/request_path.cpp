#include "api/request_path.hpp"

#include "wick/base/text.hpp"
#include "wick/http/message.hpp"

namespace wick::api {

std::optional<std::vector<std::string>> path_segments(std::string_view path) {
  std::vector<std::string> segments;
  for (const auto part : split(path, '/')) {
    if (part.empty()) continue;
    auto decoded = http::percent_decode(part);
    if (!decoded) return std::nullopt;
    segments.push_back(std::move(*decoded));
  }
  return segments;
}

std::optional<ResourcePath> parse_resource_path(const std::vector<std::string>& segments) {
  ResourcePath path;
  std::size_t at = 0;
  if (segments.size() >= 2 && segments[0] == "api") {
    path.version = segments[1];
    at = 2;
  } else if (segments.size() >= 3 && segments[0] == "apis") {
    path.group = segments[1];
    path.version = segments[2];
    at = 3;
  } else {
    return std::nullopt;
  }
  const auto left = [&] { return segments.size() - at; };
  // "namespaces/NS/PLURAL…" is a namespaced resource; "namespaces" and "namespaces/NS" are the Namespaces themselves.
  if (left() >= 3 && segments[at] == "namespaces" && segments[at + 2] != "status" && segments[at + 2] != "finalize") {
    path.name_space = segments[at + 1];
    at += 2;
  }
  if (left() > 0) path.plural = segments[at++];
  if (left() > 0) path.name = segments[at++];
  path.rest.assign(segments.begin() + static_cast<std::ptrdiff_t>(at), segments.end());
  return path;
}

}  // namespace wick::api
