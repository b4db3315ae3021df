// A Route turns its targets into revisions that are ready. Until every target has one, what was routed before stays
// routed. A target that follows the newest revision may come to it gradually (rollout.hpp); how far it is stands in
// status.rollout, so that a daemon that starts anew goes on from there.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "control/reconcilers.hpp"
#include "control/routes.hpp"
#include "wick/base/log.hpp"
#include "wick/model/service.hpp"

namespace wick::control {

namespace {

using model::Truth;

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

constexpr Duration judge_period = 1s;

milliseconds rollout_duration(const json::object& route) {
  for (const auto key : {model::names::rollout_duration, rollout_duration_alias})
    if (auto duration = parse_go_duration(model::text_at(route, {"metadata", "annotations", key}))) return *duration;
  return 0ms;
}

/// The names of the routes that send to this revision, in order.
std::vector<std::string> routes_to(World& world, const json::object& revision) {
  std::vector<std::string> names;
  for (auto& route :
       world.objects().keys_by(world.indexes.routes_by_routed, scoped(namespace_of(revision), name_of(revision))))
    names.push_back(std::move(route.name));
  return names;
}

/// Labels every revision of the configurations in question active or reserve, and names its routes. A pending one stays
/// so until a route has decided.
awaitable<Result<void>> label_revisions(World& world, std::string name_space, std::set<std::string> configurations) {
  std::vector<ObjectValue> revisions;
  for (const auto& configuration : configurations)
    std::ranges::move(
        world.objects().find_by(world.indexes.revisions_by_configuration, scoped(name_space, configuration)),
        std::back_inserter(revisions));
  for (const auto& revision : revisions) {
    const auto before = model::text_at(*revision, {"metadata", "labels", model::names::routing_state});
    const auto routes = routes_to(world, *revision);
    const bool active = !routes.empty();
    if (!active && before == "pending" && model::find_condition(*revision, "Ready").status == Truth::unknown) continue;
    const std::string state = active ? "active" : "reserve";
    const auto names = fmt::format("{}", fmt::join(routes, ","));
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

/// A sentence on each revision that was taken back.
std::string refusals(const Rollout& rollout) {
  std::string text;
  for (const auto& group : rollout)
    if (!group.refused.empty()) text += (text.empty() ? "" : "; ") + group.because;
  return text;
}

}  // namespace

RolloutGroup RouteReconciler::next(const json::object& route, const RolloutGoal& goal, const Rollout& before) {
  const auto found = std::ranges::find_if(before, [&](const RolloutGroup& group) {
    return group.configuration == goal.configuration && group.tag == goal.tag;
  });
  auto group = advance(found == before.end() ? std::nullopt : std::optional(*found), goal, world_.now());
  judge(route, group);
  return group;
}

/// Takes the newest revision back when it does worse than its guard allows.
void RouteReconciler::judge(const json::object& route, RolloutGroup& group) {
  const auto key = fmt::format("{}/{}/{}/{}", namespace_of(route), name_of(route), group.configuration, group.tag);
  const auto guard = guard_of(route);
  if (!group.in_progress() || !group.next_step || !guard) {
    baselines_.erase(key);
    return;
  }
  const auto answered = [&](const RolloutShare& share) {
    return world_.with.serving.answered({namespace_of(route), share.revision}).value_or(serving::Answered{});
  };
  const auto& newest = group.revisions.back();
  const auto& previous = group.revisions[group.revisions.size() - 2];
  auto now_newest = answered(newest);
  auto now_previous = answered(previous);
  const auto [at, fresh] = baselines_.try_emplace(key);
  auto& baseline = at->second;
  if (fresh || baseline.newest != newest.revision) {
    baseline = {newest.revision, std::move(now_newest), std::move(now_previous)};
    return;
  }
  auto because = verdict(guard, newest, since(baseline.of_newest, now_newest), previous,
                         since(baseline.of_previous, now_previous));
  if (!because) return;
  log::warn("revision taken back", {{"route", namespace_of(route) + "/" + name_of(route)}, {"because", *because}});
  take_back(group, std::move(*because));
  baselines_.erase(key);
}

std::expected<json::array, Missing> RouteReconciler::resolve(const json::object& route, Rollout& rollout) {
  const auto before = std::exchange(rollout, {});
  const auto annotation = [&](std::string_view key) { return model::text_at(route, {"metadata", "annotations", key}); };
  model::FieldErrors ignored;
  json::array traffic;
  const auto add = [&](model::TrafficTarget target, std::string revision, int percent) {
    target.configuration.clear();
    target.revision = std::move(revision);
    target.percent = percent;
    auto entry = target.to_json();
    if (!target.tag.empty()) entry["url"] = url_of(route, world_.options.domain, target.tag);
    traffic.push_back(std::move(entry));
  };
  for (const auto& target : model::decode_route(route, ignored).traffic) {
    auto revision = target.revision.empty() ? resolve_configuration(world_, namespace_of(route), target.configuration)
                                            : resolve_revision(world_, route, target.revision);
    if (!revision) {
      rollout = before;
      return std::unexpected(std::move(revision.error()));
    }
    if (!target.revision.empty() || target.percent <= 0) {
      add(target, std::move(*revision), target.percent);
      continue;
    }
    RolloutGoal goal{.configuration = target.configuration,
                     .tag = target.tag,
                     .percent = target.percent,
                     .revision = std::move(*revision),
                     .duration = rollout_duration(route),
                     .abort = annotation(rollout_abort),
                     .finish = annotation(rollout_finish)};
    for (const auto& group : before)
      for (const auto& share : group.revisions)
        if (!world_.objects().find(key_of(model::revision_kind(), namespace_of(route), share.revision)))
          goal.gone.push_back(share.revision);
    auto group = next(route, goal, before);
    for (const auto& share : group.revisions) add(target, share.revision, share.percent);
    rollout.push_back(std::move(group));
  }
  return traffic;
}

json::object RouteReconciler::status_of(const json::object& route, const std::expected<json::array, Missing>& traffic,
                                        const Rollout& rollout) {
  auto& world = world_;
  model::Conditions conditions("Ready", {"AllTrafficAssigned", "IngressReady", "CertificateProvisioned"}, route,
                               world.now());
  conditions.mark_true("CertificateProvisioned", "TLSNotEnabled", "external-domain-tls is not enabled");
  json::object status{{"observedGeneration", generation_of(route)},
                      {"url", url_of(route, world.options.domain)},
                      {"address", {{"url", local_url(namespace_of(route), name_of(route))}}}};
  if (traffic) {
    const auto refused = refusals(rollout);
    if (refused.empty())
      conditions.mark_true("AllTrafficAssigned");
    else
      conditions.mark_false("AllTrafficAssigned", "RolloutAborted", refused);
    if (next_step(rollout))
      conditions.mark_unknown("IngressReady", "RolloutInProgress",
                              "A gradual rollout of the latest revision(s) is in progress.");
    else
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
  if (!rollout.empty()) status["rollout"] = to_json(rollout);
  status["conditions"] = conditions.to_json();
  return status;
}

awaitable<Result<void>> RouteReconciler::reconcile(ObjectKey key) {
  auto& world = world_;
  const auto route = world.objects().find(key);
  if (!route) co_return Result<void>();
  auto rollout = rollout_from_json(model::find_value(*route, {"status", "rollout"}));
  const auto traffic = resolve(*route, rollout);
  if (const auto next = next_step(rollout)) {
    const auto until_next = std::max<Duration>(*next - world.now(), 0s);
    world.enqueue_after(key, guard_of(*route) ? std::min(until_next, judge_period) : until_next);
  }
  auto written = co_await world.objects().update_status(key, status_of(*route, traffic, rollout));
  if (!written && written.error().code() != Errc::not_found) co_return fail(std::move(written.error()));
  const auto now = world.objects().find(key);
  if (!now) co_return Result<void>();
  auto labelled = co_await label_revisions(world, key.name_space, configurations_of(world, *now));
  co_return labelled;
}

}  // namespace wick::control
