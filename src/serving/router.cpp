#include "router.hpp"

#include <algorithm>

namespace wick::serving {

namespace {

constexpr std::string_view default_route_field = "Knative-Serving-Default-Route";

bool same_split(const Route& a, const Route& b) {
  return std::ranges::equal(a.targets, b.targets, [](const RouteTarget& x, const RouteTarget& y) {
    return x.revision == y.revision && x.percent == y.percent;
  });
}

}  // namespace

void Router::publish(std::shared_ptr<const RouteTable> table) {
  table_ = std::move(table);
  resolved_ = false;
}

Router::Resolved Router::resolved(const std::string& host, const Route& route) const {
  Resolved made{.tag = route.tag};
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
  const auto* before = resolved_table_->find(host);
  if (!before || before->index >= routes_.size() || !same_split(*before, route)) return made;
  const auto& old = routes_[before->index];
  if (old.targets.size() == made.targets.size()) made.split = old.split;
  return made;
}

void Router::resolve() {
  resolved_ = true;
  std::vector<Resolved> routes(table_->size());
  main_routes_.clear();
  table_->for_each([&](const std::string& host, const Route& route) {
    routes[route.index] = resolved(host, route);
    // "hello.default.…" and "hello.localhost" are hello's own hosts, "blue-hello.…" is that of its tag blue.
    const bool own = host.starts_with(route.service) && host.substr(route.service.size()).starts_with('.');
    const auto [main, first] = main_routes_.try_emplace({route.name_space, route.service}, route.index);
    if (own && !first) main->second = route.index;
  });
  routes_ = std::move(routes);
  resolved_table_ = table_;
}

Router::Resolved* Router::match(std::string_view host) {
  if (!resolved_) resolve();
  const auto* route = table_->match(host);
  return route ? &routes_[route->index] : nullptr;
}

Router::Choice Router::next_of(Resolved& route) {
  if (route.split.empty()) return {.found = Found::no_revision};
  const auto& entry = route.targets.size() == 1 ? route.targets[0] : route.targets[route.split.next()];
  return {.found = Found::revision,
          .entry = entry,
          .tag = route.tag,
          .extra = &route.extra,
          .only = route.targets.size() == 1};
}

template <class FindTag>
Router::Choice Router::choose_by(std::string_view host, FindTag find_tag) {
  auto* route = match(host);
  if (!route) return {};
  if (!route->tagged.empty()) {
    const auto wanted = find_tag();
    const auto found = wanted ? std::ranges::find(route->tagged, *wanted, &Tagged::tag) : route->tagged.end();
    if (found != route->tagged.end())
      return {.found = Found::revision, .entry = found->entry, .tag = found->tag, .extra = &found->extra};
  }
  return next_of(*route);
}

Router::Choice Router::choose(const http::RequestHead& head) {
  return choose_by(head.host(), [&head] { return head.fields.find(tag_field); });
}

Router::Choice Router::choose(std::string_view host, const std::optional<std::string>& tag) {
  return choose_by(host, [&tag] { return tag ? std::optional<std::string_view>(*tag) : std::nullopt; });
}

Router::Choice Router::choose(const ServiceName& service) {
  if (!resolved_) resolve();
  const auto found = main_routes_.find(service);
  return found == main_routes_.end() ? Choice{} : next_of(routes_[found->second]);
}

}  // namespace wick::serving
