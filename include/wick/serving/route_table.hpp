// Host to revisions: an immutable snapshot, replaced whole.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "wick/serving/revision.hpp"

namespace wick::serving {

struct RouteTarget {
  RevisionKey revision;
  int percent = 100;
  std::string tag;
};

struct Route {
  std::string name_space;
  std::string service;
  std::vector<RouteTarget> targets;  // the default split: percents add up to 100
  std::vector<RouteTarget> tagged;   // what the field Knative-Serving-Tag chooses on this host, by tag
  std::string tag;                   // of a tag's own host: the application sees it as Knative-Serving-Tag
  std::size_t index = 0;             // its place in the table, given by add(): what readers keep per route hangs there
};

struct HostHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view host) const { return std::hash<std::string_view>{}(host); }
};
template <class T>
using HostMap = std::unordered_map<std::string, T, HostHash, std::equal_to<>>;

class RouteTable {
 public:
  /// `host` in lower case, without port; "*.NAME" serves every host that ends in ".NAME" and has no closer entry.
  /// A host added twice keeps the first (the caller reports the conflict).
  bool add(std::string host, Route route);
  /// nullptr when nobody serves the host. Port and a trailing dot are ignored; case does not matter. The exact host
  /// wins, then the wildcard with the longest name. One hash look-up (with wildcards in the table one a label more),
  /// whatever the size of the table.
  const Route* match(std::string_view host) const;
  std::size_t size() const { return routes_.size(); }

  template <class Visit>
  void for_each(Visit visit) const {
    for (const auto& [host, route] : routes_) visit(host, route);
  }
  /// The entry of exactly this name ("*.NAME" for a wildcard).
  const Route* find(std::string_view host) const;

 private:
  const Route* match_lower(std::string_view host) const;
  const Route* match_wildcard(std::string_view host) const;

  HostMap<Route> routes_;
  std::size_t wildcards_ = 0;
};

}  // namespace wick::serving
