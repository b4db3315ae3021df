// From a request's host and tag to the revision that answers it.
//
// A RouteTable names revisions; what a request needs of a route is resolved once per table and set of revisions, by
// Route::index. A route that says the same as in the table before keeps its place in the split, so a table published
// often does not favour whoever comes first in it.
#pragma once

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

  void publish(std::shared_ptr<const RouteTable> table);
  /// Revisions came or went.
  void revisions_changed() { resolved_ = false; }
  const RouteTable& table() const { return *table_; }

  enum class Found { nothing, no_revision, revision };
  struct Choice {
    Found found = Found::nothing;
    EntryPtr entry;
    std::string_view tag;                 // that was asked for and exists; valid until the next publish()
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
    std::string tag;
    http::Fields extra;  // of what the split chooses
  };
  void resolve();
  Resolved resolved(const std::string& host, const Route& route) const;
  Resolved* match(std::string_view host);
  template <class FindTag>
  Choice choose_by(std::string_view host, FindTag find_tag);
  static Choice next_of(Resolved& route);

  Find find_;
  std::shared_ptr<const RouteTable> table_ = std::make_shared<const RouteTable>();
  std::shared_ptr<const RouteTable> resolved_table_ = table_;  // what `routes_` was made from
  std::vector<Resolved> routes_;                               // by Route::index
  std::map<ServiceName, std::size_t> main_routes_;
  bool resolved_ = true;
};

}  // namespace wick::serving
