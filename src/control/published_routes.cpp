#include "control/published_routes.hpp"

#include <algorithm>

#include "control/routes.hpp"
#include "wick/base/log.hpp"

namespace wick::control {

std::vector<serving::RouteChange> PublishedRoutes::set_route(const store::ObjectKey& key,
                                                             const boost::json::object* route) {
  return set({false, key}, route ? entries_of_route(*route, domain_) : std::vector<serving::RouteChange>());
}

std::vector<serving::RouteChange> PublishedRoutes::set_mapping(const store::ObjectKey& key,
                                                               const boost::json::object* mapping) {
  std::vector<serving::RouteChange> entries;
  if (mapping)
    if (auto host = host_of_mapping(*mapping); !host.empty())
      if (auto route = answering(target_of_mapping(*mapping))) entries.push_back({std::move(host), std::move(route)});
  return set({true, key}, std::move(entries));
}

std::vector<serving::RouteChange> PublishedRoutes::set(Owner owner, std::vector<serving::RouteChange> entries) {
  const auto at = entries.empty() ? owners_.find(owner) : owners_.try_emplace(std::move(owner)).first;
  if (at == owners_.end()) return {};
  std::vector<serving::RouteChange> changes;
  std::vector<std::string> hosts;
  for (const auto& entry : entries) {
    if (claim(at->first, entry)) changes.push_back({entry.host, answering(entry.host)});
    hosts.push_back(entry.host);
  }
  for (const auto& host : std::exchange(at->second, hosts))
    if (std::ranges::find(hosts, host) == hosts.end() && give_up(at->first, host))
      changes.push_back({host, answering(host)});
  if (hosts.empty()) owners_.erase(at);
  return changes;
}

bool PublishedRoutes::claim(const Owner& owner, const serving::RouteChange& entry) {
  auto& claims = claims_[entry.host];
  const auto mine = std::ranges::find(claims, &owner, &Claim::owner);
  if (mine != claims.end()) {
    if (mine->route == entry.route || *mine->route == *entry.route) return false;
    mine->route = entry.route;
    return mine == claims.begin();
  }
  const auto place = std::ranges::upper_bound(claims, owner, {}, [](const Claim& each) { return *each.owner; });
  const auto made = claims.insert(place, {&owner, entry.route});
  if (claims.size() > 1)
    log::warn(
        "two routes claim a host, the first keeps it",
        {{"host", entry.host}, {"first", claims[0].owner->second.name}, {"second", claims[1].owner->second.name}});
  return made == claims.begin();
}

bool PublishedRoutes::give_up(const Owner& owner, const std::string& host) {
  const auto found = claims_.find(host);
  if (found == claims_.end()) return false;
  auto& claims = found->second;
  const auto mine = std::ranges::find(claims, &owner, &Claim::owner);
  if (mine == claims.end()) return false;
  const bool first = mine == claims.begin();
  claims.erase(mine);
  if (claims.empty()) claims_.erase(found);
  return first;
}

serving::RoutePtr PublishedRoutes::answering(const std::string& host) const {
  const auto found = claims_.find(host);
  return found == claims_.end() ? nullptr : found->second.front().route;
}

}  // namespace wick::control
