// A Route turns its targets into revisions that are ready. Until every target has one, what was routed before stays
// routed.
#include <fmt/format.h>

#include <map>
#include <set>

#include "control/reconcilers.hpp"
#include "control/routes.hpp"
#include "wick/model/service.hpp"

namespace wick::control {

namespace {

using model::Truth;

struct Missing {
  Truth status;  // no: it will not come by itself
  std::string reason;
  std::string message;
};

/// The revision a target means now. Errors say what it waits for.
std::expected<std::string, Missing> resolve_configuration(World& world, const std::string& name_space,
                                                          const std::string& name) {
  const auto configuration = world.objects().find(key_of(model::configuration_kind(), name_space, name));
  if (!configuration)
    return std::unexpected(Missing{Truth::no, "ConfigurationMissing",
                                   fmt::format("Configuration \"{}\" referenced in traffic not found.", name)});
  const auto ready = model::text_at(*configuration, {"status", "latestReadyRevisionName"});
  if (!ready.empty()) return ready;
  if (model::find_condition(*configuration, "Ready").status == Truth::no)
    return std::unexpected(Missing{Truth::no, "RevisionMissing",
                                   fmt::format("Configuration \"{}\" does not have any ready Revision.", name)});
  return std::unexpected(Missing{Truth::unknown, "RevisionMissing",
                                 fmt::format("Configuration \"{}\" is waiting for a Revision to become ready.", name)});
}

std::expected<std::string, Missing> resolve_revision(World& world, const json::object& route, const std::string& name) {
  const auto revision = world.objects().find(key_of(model::revision_kind(), namespace_of(route), name));
  if (!revision)
    return std::unexpected(
        Missing{Truth::no, "RevisionMissing", fmt::format("Revision \"{}\" referenced in traffic not found.", name)});
  // A Service's Route reaches its own revisions only.
  const auto service = model::text_at(route, {"metadata", "labels", model::names::service});
  if (!service.empty() && model::text_at(*revision, {"metadata", "labels", model::names::service}) != service)
    return std::unexpected(Missing{Truth::no, "RevisionNotOwned",
                                   fmt::format("Revision \"{}\" is not owned by Service \"{}\".", name, service)});
  switch (model::find_condition(*revision, "Ready").status) {
    case Truth::yes:
      return name;
    case Truth::no:
      return std::unexpected(
          Missing{Truth::no, "RevisionMissing", fmt::format("Revision \"{}\" failed to become ready.", name)});
    case Truth::unknown:
      break;
  }
  return std::unexpected(
      Missing{Truth::unknown, "RevisionMissing", fmt::format("Revision \"{}\" is not yet ready.", name)});
}

std::expected<json::array, Missing> resolve(World& world, const json::object& route) {
  model::FieldErrors ignored;
  json::array traffic;
  for (auto target : model::decode_route(route, ignored).traffic) {
    auto revision = target.revision.empty() ? resolve_configuration(world, namespace_of(route), target.configuration)
                                            : resolve_revision(world, route, target.revision);
    if (!revision) return std::unexpected(std::move(revision.error()));
    target.configuration.clear();
    target.revision = *revision;
    auto entry = target.to_json();
    if (!target.tag.empty()) entry["url"] = url_of(route, world.options.domain, target.tag);
    traffic.push_back(std::move(entry));
  }
  return traffic;
}

/// Every revision that a route sends to, with the names of those routes.
std::map<std::string, std::set<std::string>> routed_revisions(World& world, const std::string& name_space) {
  std::map<std::string, std::set<std::string>> routed;
  for (const auto& route : world.objects().list(model::route_kind().resource(), name_space))
    if (const auto* traffic = model::find_value(*route, {"status", "traffic"}); traffic && traffic->is_array())
      for (const auto& entry : traffic->get_array())
        routed[model::text_at(entry.as_object(), {"revisionName"})].insert(name_of(*route));
  return routed;
}

/// Labels every revision of the configurations in question active or reserve, and names its routes. A pending one stays
/// so until a route has decided.
awaitable<Result<void>> label_revisions(World& world, std::string name_space, std::set<std::string> configurations) {
  const auto routed = routed_revisions(world, name_space);
  for (const auto& revision : world.objects().list(model::revision_kind().resource(), name_space)) {
    if (!configurations.contains(model::text_at(*revision, {"metadata", "labels", model::names::configuration})))
      continue;
    const auto before = model::text_at(*revision, {"metadata", "labels", model::names::routing_state});
    const auto routes = routed.find(name_of(*revision));
    const bool active = routes != routed.end();
    if (!active && before == "pending" && model::find_condition(*revision, "Ready").status == Truth::unknown) continue;
    const std::string state = active ? "active" : "reserve";
    const auto names = active ? fmt::format("{}", fmt::join(routes->second, ",")) : std::string();
    if (before == state && model::text_at(*revision, {"metadata", "annotations", model::names::routes}) == names)
      continue;
    auto next = *revision;
    model::object_at(next, {"metadata", "labels"})[model::names::routing_state] = state;
    auto& annotations = model::object_at(next, {"metadata", "annotations"});
    if (before != state) annotations[model::names::routing_state_modified] = to_rfc3339(world.now());
    if (active)
      annotations[model::names::routes] = names;
    else
      annotations.erase(model::names::routes);
    const auto version = version_of(*revision);
    auto written = co_await world.objects().update(key_of(model::revision_kind(), *revision), std::move(next), version);
    if (!written && written.error().code() != Errc::not_found) co_return fail(std::move(written.error()));
  }
  co_return Result<void>();
}

std::set<std::string> configurations_of(World& world, const json::object& route) {
  model::FieldErrors ignored;
  std::set<std::string> names;
  for (const auto& target : model::decode_route(route, ignored).traffic) {
    if (!target.configuration.empty()) names.insert(target.configuration);
    if (const auto revision =
            world.objects().find(key_of(model::revision_kind(), namespace_of(route), target.revision)))
      names.insert(model::text_at(*revision, {"metadata", "labels", model::names::configuration}));
  }
  return names;
}

json::object status_of(World& world, const json::object& route, const std::expected<json::array, Missing>& traffic) {
  model::Conditions conditions("Ready", {"AllTrafficAssigned", "IngressReady", "CertificateProvisioned"}, route,
                               world.now());
  conditions.mark_true("CertificateProvisioned", "TLSNotEnabled", "external-domain-tls is not enabled");
  json::object status{{"observedGeneration", generation_of(route)},
                      {"url", url_of(route, world.options.domain)},
                      {"address", {{"url", local_url(namespace_of(route), name_of(route))}}}};
  if (traffic) {
    conditions.mark_true("AllTrafficAssigned");
    conditions.mark_true("IngressReady");
    status["traffic"] = *traffic;
  } else {
    conditions.mark("AllTrafficAssigned", traffic.error().status, traffic.error().reason, traffic.error().message);
    const auto* before = model::find_value(route, {"status", "traffic"});
    if (before) {
      conditions.mark_true("IngressReady");
      status["traffic"] = *before;
    } else {
      conditions.mark_unknown("IngressReady", "IngressNotConfigured", "Ingress has not yet been reconciled.");
    }
  }
  status["conditions"] = conditions.to_json();
  return status;
}

}  // namespace

awaitable<Result<void>> reconcile_route(World& world, ObjectKey key) {
  const auto route = world.objects().find(key);
  if (!route) {
    world.publish_routes();
    co_return Result<void>();
  }
  const auto traffic = resolve(world, *route);
  auto written = co_await world.objects().update_status(key, status_of(world, *route, traffic));
  if (!written && written.error().code() != Errc::not_found) co_return fail(std::move(written.error()));
  world.publish_routes();
  const auto now = world.objects().find(key);
  if (!now) co_return Result<void>();
  auto labelled = co_await label_revisions(world, key.name_space, configurations_of(world, *now));
  co_return labelled;
}

}  // namespace wick::control
