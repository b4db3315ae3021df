// What serving is told to route by: the hosts of every Route and DomainMapping, as they change.
//
// Invariants
//  1. A host that several claim is the first one's: a Route's before a mapping's, then by key. The next gets it when
//     that one gives it up.
//  2. What serving was told is what the claims say: a change of one object costs its own hosts, whatever the number of
//     others.
#pragma once

#include <boost/json/object.hpp>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "wick/serving/route_table.hpp"
#include "wick/store/objects.hpp"

namespace wick::control {

class PublishedRoutes {
 public:
  explicit PublishedRoutes(std::string domain) : domain_(std::move(domain)) {}

  /// The Route as it is now; nullptr: gone. What serving has to be told.
  std::vector<serving::RouteChange> set_route(const store::ObjectKey& key, const boost::json::object* route);
  /// The same for a DomainMapping. To be called anew when what it refers to changes.
  std::vector<serving::RouteChange> set_mapping(const store::ObjectKey& key, const boost::json::object* mapping);

 private:
  using Owner = std::pair<bool, store::ObjectKey>;  // true: a mapping
  struct Claim {
    const Owner* owner;
    serving::RoutePtr route;
  };
  using Owners = std::map<Owner, std::vector<std::string>>;  // with their hosts

  std::vector<serving::RouteChange> set(Owner owner, std::vector<serving::RouteChange> entries);
  /// True when that changed who answers.
  bool claim(const Owner& owner, const serving::RouteChange& entry);
  bool give_up(const Owner& owner, const std::string& host);
  serving::RoutePtr answering(const std::string& host) const;

  std::string domain_;
  Owners owners_;
  serving::HostMap<std::vector<Claim>> claims_;  // the first has the host
};

}  // namespace wick::control
