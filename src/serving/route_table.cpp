#include "wick/serving/route_table.hpp"

#include <algorithm>

#include "wick/base/text.hpp"

namespace wick::serving {

namespace {

/// "[::1]:80" → "[::1]", "a.b:80" → "a.b", "a.b." → "a.b".
std::string_view without_port_and_dot(std::string_view host) {
  const auto bracket = host.rfind(']');
  const auto colon = host.find(':', bracket == std::string_view::npos ? 0 : bracket);
  host = host.substr(0, colon);
  if (host.ends_with('.')) host.remove_suffix(1);
  return host;
}

bool has_upper(std::string_view text) {
  return std::ranges::any_of(text, [](char c) { return c >= 'A' && c <= 'Z'; });
}

}  // namespace

bool RouteTable::add(std::string host, Route route) {
  route.index = routes_.size();
  const bool wildcard = host.starts_with("*.");
  const bool added = routes_.try_emplace(std::move(host), std::move(route)).second;
  if (added && wildcard) ++wildcards_;
  return added;
}

const Route* RouteTable::find(std::string_view host) const {
  const auto found = routes_.find(host);
  return found == routes_.end() ? nullptr : &found->second;
}

const Route* RouteTable::match(std::string_view host) const {
  host = without_port_and_dot(host);
  return has_upper(host) ? match_lower(to_lower(host)) : match_lower(host);
}

const Route* RouteTable::match_lower(std::string_view host) const {
  const auto* exact = find(host);
  return exact || wildcards_ == 0 ? exact : match_wildcard(host);
}

const Route* RouteTable::match_wildcard(std::string_view host) const {
  std::string name;  // "*.b.c", then "*.c" for "a.b.c"
  for (auto dot = host.find('.'); dot != std::string_view::npos; dot = host.find('.', dot + 1)) {
    if (dot == 0) continue;
    name.assign("*").append(host.substr(dot));
    if (const auto* route = find(name)) return route;
  }
  return nullptr;
}

}  // namespace wick::serving
