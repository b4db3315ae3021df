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
  std::vector<RouteTarget> targets;  // percents add up to 100
  std::size_t index = 0;             // its place in the table, given by add(): what readers keep per route hangs there
};

class RouteTable {
 public:
  /// `host` in lower case, without port. A host added twice keeps the first (the caller reports the conflict).
  bool add(std::string host, Route route);
  /// nullptr when nobody serves the host. Port and a trailing dot are ignored; case does not matter.
  const Route* match(std::string_view host) const;
  std::size_t size() const { return routes_.size(); }

  template <class Visit>
  void for_each(Visit visit) const {
    for (const auto& [host, route] : routes_) visit(host, route);
  }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view host) const { return std::hash<std::string_view>{}(host); }
  };
  std::unordered_map<std::string, Route, Hash, std::equal_to<>> routes_;
};

}  // namespace wick::serving
