// Host to whatever answers for it: exact names and wildcards. What a host answers with is a Route.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "wick/base/text.hpp"
#include "wick/serving/revision.hpp"

namespace wick::serving {

struct RouteTarget {
  RevisionKey revision;
  int percent = 100;
  std::string tag;
  bool operator==(const RouteTarget&) const = default;
};

struct Route {
  std::string name_space;
  std::string service;
  std::vector<RouteTarget> targets;  // the default split: percents add up to 100
  std::vector<RouteTarget> tagged;   // what the field Knative-Serving-Tag chooses on this host, by tag
  std::string tag;                   // of a tag's own host: the application sees it as Knative-Serving-Tag
  bool operator==(const Route&) const = default;
};
using RoutePtr = std::shared_ptr<const Route>;

/// What answers to a host from now on; nullptr: nobody.
struct RouteChange {
  std::string
      host;  // in lower case, without port; "*.NAME" for every host that ends in ".NAME" and has no closer entry
  RoutePtr route;
};

struct HostHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view host) const { return std::hash<std::string_view>{}(host); }
};
template <class T>
using HostMap = std::unordered_map<std::string, T, HostHash, std::equal_to<>>;

/// "[::1]:80" → "[::1]", "a.b:80" → "a.b", "a.b." → "a.b".
std::string_view without_port_and_dot(std::string_view host);
bool has_upper(std::string_view text);

/// Names as in RouteChange. One hash look-up a match (with wildcards in the table one a label more), whatever the size
/// of the table.
template <class T>
class HostTable {
 public:
  /// Replaces what was there.
  T& set(std::string_view host, T value) {
    const auto [at, added] = entries_.insert_or_assign(std::string(host), std::move(value));
    if (added && is_wildcard(host)) ++wildcards_;
    return at->second;
  }
  void erase(std::string_view host) {
    const auto found = entries_.find(host);
    if (found == entries_.end()) return;
    if (is_wildcard(host)) --wildcards_;
    entries_.erase(found);
  }
  /// The entry of exactly this name ("*.NAME" for a wildcard), or nullptr.
  auto* find(this auto& self, std::string_view host) {
    const auto found = self.entries_.find(host);
    return found == self.entries_.end() ? nullptr : &found->second;
  }
  /// nullptr when nobody serves the host. Port and a trailing dot are ignored; case does not matter. The exact host
  /// wins, then the wildcard with the longest name.
  auto* match(this auto& self, std::string_view host) {
    host = without_port_and_dot(host);
    return has_upper(host) ? self.match_lower(to_lower(host)) : self.match_lower(host);
  }
  std::size_t size() const { return entries_.size(); }

 private:
  static bool is_wildcard(std::string_view host) { return host.starts_with("*."); }

  auto* match_lower(this auto& self, std::string_view host) {
    auto* found = self.find(host);
    if (found || self.wildcards_ == 0) return found;
    std::string name;  // "*.b.c", then "*.c" for "a.b.c"
    for (auto dot = host.find('.'); dot != std::string_view::npos && !found; dot = host.find('.', dot + 1)) {
      if (dot == 0) continue;
      name.assign("*").append(host.substr(dot));
      found = self.find(name);
    }
    return found;
  }

  HostMap<T> entries_;
  std::size_t wildcards_ = 0;
};

}  // namespace wick::serving
