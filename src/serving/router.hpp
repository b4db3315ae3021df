// From a request's host and tag to the revision that answers it.
//
// A route names revisions; what a request needs of it is resolved when the first request comes after the route or the
// revisions changed, so that a change costs what it touches, whatever the number of routes. A route that says the same
// as before keeps its place in the split: one told often does not favour whoever comes first in it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "entry.hpp"
#include "traffic_split.hpp"
#include "wick/http/message.hpp"
#include "wick/serving/route_table.hpp"

namespace wick::serving {

/// Names the tag that a request is for (serving.md 4).
inline constexpr std::string_view tag_field = "Knative-Serving-Tag";

class Router {
 public:
  using ServiceName = std::pair<std::string, std::string>;
  /// nullptr for a revision that is not there.
  using Find = std::function<EntryPtr(const RevisionKey&)>;

  explicit Router(Find find) : find_(std::move(find)) {}

  void set_route(const RouteChange& change);
  /// What answers to exactly this host; nullptr: nobody.
  RoutePtr route_of(std::string_view host) const;
  /// Revisions came or went.
  void revisions_changed() { ++generation_; }
  bool serves(std::string_view host) const { return routes_.match(host) != nullptr; }

  enum class Found { nothing, no_revision, revision };
  struct Choice {
    Found found = Found::nothing;
    EntryPtr entry;
    std::string_view tag;                 // that was asked for and exists; valid until the next set_route()
    const http::Fields* extra = nullptr;  // what the application is told of it, may be empty
    bool only = false;                    // the route has no other revision to choose
  };
  /// Tag host or tag field first, then the weighted split (serving.md 4). Counts as a turn of the split.
  Choice choose(const http::RequestHead& head);
  Choice choose(std::string_view host, const std::optional<std::string>& tag);
  /// For a request by name: the split of the service's own host. `found` is nothing for an unknown service.
  Choice choose(const ServiceName& service);

 private:
  struct Tagged {
    std::string tag;
    EntryPtr entry;
    http::Fields extra;
  };
  struct Resolved {
    std::vector<EntryPtr> targets;
    TrafficSplit split;
    std::vector<Tagged> tagged;
    http::Fields extra;  // of what the split chooses
  };
  struct Known {
    RoutePtr route;
    RoutePtr resolved_route;       // what `resolved` was made from
    std::uint64_t generation = 0;  // of the revisions then
    Resolved resolved;
  };
  void resolve(Known& known) const;
  void forget_own_host(const Route& route, std::string_view host);
  template <class FindTag>
  Choice choose_by(std::string_view host, FindTag find_tag);
  Choice next_of(Known& known) const;

  Find find_;
  HostTable<Known> routes_;
  std::map<ServiceName, std::vector<std::string>> hosts_;  // without those of tags; its own first
  std::uint64_t generation_ = 1;
};

}  // namespace wick::serving
