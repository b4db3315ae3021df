// A Service is one Configuration and one Route of its name, and the sum of what they say.
#include <fmt/format.h>

#include <algorithm>

#include "control/previews.hpp"
#include "control/reconcilers.hpp"
#include "wick/model/service.hpp"

namespace wick::control {

namespace {

using model::Truth;

model::TextMap child_labels(const json::object& service) {
  auto labels = labels_of(service);
  labels[std::string(model::names::service)] = name_of(service);
  return labels;
}

model::TextMap child_annotations(const json::object& service, bool with_rollout) {
  auto annotations = annotations_of(service);
  annotations.erase(std::string(model::names::last_applied));
  if (!with_rollout) annotations.erase(std::string(model::names::rollout_duration));
  return annotations;
}

json::object child(const json::object& service, model::TextMap labels, model::TextMap annotations, json::object spec) {
  return {{"metadata",
           {{"name", name_of(service)},
            {"namespace", namespace_of(service)},
            {"labels", to_json(labels)},
            {"annotations", to_json(annotations)},
            {"ownerReferences", json::array{model::owner_reference(model::service_kind(), service)}}}},
          {"spec", std::move(spec)}};
}

json::object wanted_configuration(const json::object& service) {
  auto labels = child_labels(service);
  labels[std::string(model::names::service_uid)] = uid_of(service);
  auto annotations = child_annotations(service, false);
  annotations[std::string(model::names::routes)] = name_of(service);
  return child(service, std::move(labels), std::move(annotations),
               {{"template", service.at("spec").as_object().at("template")}});
}

json::object wanted_route(World& world, const json::object& service) {
  model::FieldErrors ignored;  // what is stored was validated
  json::array traffic;
  for (auto target : model::decode_service(service, ignored).traffic) {
    if (target.revision.empty()) target.configuration = name_of(service);
    traffic.push_back(target.to_json());
  }
  for (const auto& target : preview_targets(world, service)) traffic.push_back(target.to_json());
  return child(service, child_labels(service), child_annotations(service, true), {{"traffic", std::move(traffic)}});
}

/// True when every target that follows the newest revision has it. Previews follow their own.
bool traffic_migrated(const json::object& configuration, const json::object& route,
                      const std::vector<model::TrafficTarget>& previews) {
  const auto is_preview = [&](const std::string& tag) {
    return std::ranges::find(previews, tag, &model::TrafficTarget::tag) != previews.end();
  };
  const auto newest = model::text_at(configuration, {"status", "latestReadyRevisionName"});
  const auto* traffic = model::find_value(route, {"status", "traffic"});
  if (!traffic || !traffic->is_array()) return false;
  for (const auto& element : traffic->get_array()) {
    const auto* latest = element.as_object().if_contains("latestRevision");
    if (is_preview(model::text_at(element.as_object(), {"tag"}))) continue;
    if (latest && *latest == true && model::text_at(element.as_object(), {"revisionName"}) != newest) return false;
  }
  return true;
}

void judge(model::Conditions& conditions, const json::object& configuration, const json::object& route,
           const std::vector<model::TrafficTarget>& previews) {
  if (!is_current(configuration))
    conditions.mark_unknown("ConfigurationsReady", "OutOfDate",
                            "The Configuration is still working to reflect the latest desired specification.");
  else
    conditions.copy("ConfigurationsReady", model::find_condition(configuration, "Ready"));
  const auto route_ready = model::find_condition(route, "Ready");
  if (!is_current(route))
    conditions.mark_unknown("RoutesReady", "OutOfDate",
                            "The Route is still working to reflect the latest desired specification.");
  else if (route_ready.status == Truth::yes && !traffic_migrated(configuration, route, previews))
    conditions.mark_unknown("RoutesReady", "TrafficNotMigrated", "Traffic is not yet migrated to the latest revision.");
  else
    conditions.copy("RoutesReady", route_ready);
}

/// The name that the template brings along, when a Revision of somebody else has it.
std::string taken_revision_name(World& world, const json::object& service, const json::object& configuration) {
  auto name = model::text_at(service, {"spec", "template", "metadata", "name"});
  const auto revision =
      name.empty() ? nullptr : world.objects().find(key_of(model::revision_kind(), namespace_of(service), name));
  return revision && model::controller_uid(*revision) != uid_of(configuration) ? name : std::string();
}

json::object status_of(World& world, const json::object& service, const json::object& configuration,
                       const json::object& route) {
  model::Conditions conditions("Ready", {"ConfigurationsReady", "RoutesReady"}, service, world.now());
  judge(conditions, configuration, route, preview_targets(world, service));
  if (const auto taken = taken_revision_name(world, service, configuration); !taken.empty())
    conditions.mark_false(
        "RoutesReady", "RevisionNameTaken",
        fmt::format("The revision name \"{}\" is taken by a conflicting Revision, so traffic will not be migrated",
                    taken));
  json::object status{{"observedGeneration", generation_of(service)}, {"conditions", conditions.to_json()}};
  const auto copy = [&](const json::object& from, std::string_view key) {
    if (const auto* value = model::find_value(from, {"status", key})) status[key] = *value;
  };
  for (const auto key : {"url", "address", "traffic", "rollout"}) copy(route, key);
  for (const auto key : {"latestCreatedRevisionName", "latestReadyRevisionName"}) copy(configuration, key);
  // The failed-deploy contract: why the newest revision does not serve, while an older one may.
  if (conditions.happy().status != Truth::yes) {
    const auto newest = model::text_at(configuration, {"status", "latestCreatedRevisionName"});
    if (const auto revision = world.objects().find(key_of(model::revision_kind(), namespace_of(service), newest)))
      if (const auto* failure = model::find_value(*revision, {"status", "lastFailure"}))
        status["lastFailure"] = *failure;
  }
  return status;
}

json::object not_owned_status(World& world, const json::object& service, std::string_view condition,
                              const std::string& message) {
  model::Conditions conditions("Ready", {"ConfigurationsReady", "RoutesReady"}, service, world.now());
  conditions.mark_false(condition, "NotOwned", message);
  return {{"observedGeneration", generation_of(service)}, {"conditions", conditions.to_json()}};
}

bool is_not_owned(const Error& error) {
  return error.code() == Errc::conflict && error.message().ends_with("is not owned by this object");
}

}  // namespace

awaitable<Result<void>> reconcile_service(World& world, ObjectKey key) {
  const auto service = world.objects().find(key);
  if (!service) co_return Result<void>();
  auto bound = co_await bind_sink(world, model::service_kind(), key, service);
  if (!bound) co_return fail(std::move(bound.error()).within("sink binding"));
  if (*bound) co_return Result<void>();

  auto configuration =
      co_await ensure_child(world, model::configuration_kind(), key_of(model::configuration_kind(), *service),
                            wanted_configuration(*service), {model::names::id_range});
  auto route = co_await ensure_child(world, model::route_kind(), key_of(model::route_kind(), *service),
                                     wanted_route(world, *service));
  json::object status;
  if (!configuration && is_not_owned(configuration.error()))
    status = not_owned_status(world, *service, "ConfigurationsReady",
                              fmt::format("There is an existing Configuration \"{}\" that we do not own.", key.name));
  else if (!configuration)
    co_return fail(std::move(configuration.error()).within("configuration"));
  else if (!route && is_not_owned(route.error()))
    status = not_owned_status(world, *service, "RoutesReady",
                              fmt::format("There is an existing Route \"{}\" that we do not own.", key.name));
  else if (!route)
    co_return fail(std::move(route.error()).within("route"));
  else
    status = status_of(world, *service, **configuration, **route);

  auto written = co_await world.objects().update_status(key, std::move(status));
  if (!written && written.error().code() != Errc::not_found) co_return fail(std::move(written.error()));
  co_return Result<void>();
}

}  // namespace wick::control
