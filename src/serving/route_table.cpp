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
  return routes_.try_emplace(std::move(host), std::move(route)).second;
}

const Route* RouteTable::match(std::string_view host) const {
  host = without_port_and_dot(host);
  const auto found = has_upper(host) ? routes_.find(to_lower(host)) : routes_.find(host);
  return found == routes_.end() ? nullptr : &found->second;
}

}  // namespace wick::serving
