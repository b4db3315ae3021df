#include "router.hpp"

#include <algorithm>

namespace wick::serving {

namespace {

constexpr std::string_view default_route_field = "Knative-Serving-Default-Route";

/// "hello.default.…" and "hello.localhost" are hello's own hosts, "blue-hello.…" is that of its tag blue.
bool is_own(const Route& route, std::string_view host) {
  return route.tag.empty() && host.starts_with(route.service) && host.substr(route.service.size()).starts_with('.');
}

bool same_split(const Route& a, const Route& b) {
  return std::ranges::equal(a.targets, b.targets, [](const RouteTarget& x, const RouteTarget& y) {
    return x.revision == y.revision && x.percent == y.percent;
  });
}

}  // namespace

void Router::set_route(const RouteChange& change) {
  auto* known = routes_.find(change.host);
  if (known) forget_own_host(*known->route, change.host);
  if (!change.route) return routes_.erase(change.host);
  if (known)
    known->route = change.route;
  else
    routes_.set(change.host, {.route = change.route});
  const auto& route = *change.route;
  auto& hosts = hosts_[{route.name_space, route.service}];
  hosts.insert(is_own(route, change.host) ? hosts.begin() : hosts.end(), change.host);
}

void Router::forget_own_host(const Route& route, std::string_view host) {
  const auto found = hosts_.find({route.name_space, route.service});
  if (found == hosts_.end()) return;
  std::erase(found->second, host);
  if (found->second.empty()) hosts_.erase(found);
}

RoutePtr Router::route_of(std::string_view host) const {
  const auto* known = routes_.find(host);
  return known ? known->route : nullptr;
}

void Router::resolve(Known& known) const {
  if (known.generation == generation_ && known.resolved_route == known.route) return;
  const auto& route = *known.route;
  Resolved made;
  for (const auto& target : route.targets) {
    auto entry = find_(target.revision);
    if (!entry || target.percent <= 0) continue;
    made.targets.push_back(std::move(entry));
    made.split.add(target.percent);
  }
  for (const auto& target : route.tagged)
    if (auto entry = find_(target.revision))
      made.tagged.push_back({target.tag, std::move(entry), {{std::string(tag_field), target.tag}}});
  if (!route.tag.empty()) made.extra.set(tag_field, route.tag);
  if (!made.tagged.empty()) made.extra.set(default_route_field, "true");
  if (known.resolved_route && same_split(*known.resolved_route, route) &&
      known.resolved.targets.size() == made.targets.size())
    made.split = known.resolved.split;
  known = {known.route, known.route, generation_, std::move(made)};
}

Router::Choice Router::next_of(Known& known) const {
  auto& resolved = known.resolved;
  if (resolved.split.empty()) return {.found = Found::no_revision};
  const auto& entry = resolved.targets.size() == 1 ? resolved.targets[0] : resolved.targets[resolved.split.next()];
  return {.found = Found::revision,
          .entry = entry,
          .tag = known.route->tag,
          .extra = &resolved.extra,
          .only = resolved.targets.size() == 1};
}

template <class FindTag>
Router::Choice Router::choose_by(std::string_view host, FindTag find_tag) {
  auto* known = routes_.match(host);
  if (!known) return {};
  resolve(*known);
  if (auto& tagged = known->resolved.tagged; !tagged.empty()) {
    const auto wanted = find_tag();
    const auto found = wanted ? std::ranges::find(tagged, *wanted, &Tagged::tag) : tagged.end();
    if (found != tagged.end())
      return {.found = Found::revision, .entry = found->entry, .tag = found->tag, .extra = &found->extra};
  }
  return next_of(*known);
}

Router::Choice Router::choose(const http::RequestHead& head) {
  return choose_by(head.host(), [&head] { return head.fields.find(tag_field); });
}

Router::Choice Router::choose(std::string_view host, const std::optional<std::string>& tag) {
  return choose_by(host, [&tag] { return tag ? std::optional<std::string_view>(*tag) : std::nullopt; });
}

Router::Choice Router::choose(const ServiceName& service) {
  const auto found = hosts_.find(service);
  if (found == hosts_.end()) return {};
  auto& known = *routes_.find(found->second.front());
  resolve(known);
  return next_of(known);
}

}  // namespace wick::serving
