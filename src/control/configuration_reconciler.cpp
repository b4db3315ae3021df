// A Configuration stamps out a Revision for every generation of its spec, follows the newest, and forgets the oldest.
#include <fmt/format.h>

#include <set>

#include "control/pod_spec.hpp"
#include "control/reconcilers.hpp"
#include "control/revision_gc.hpp"
#include "wick/base/text.hpp"
#include "wick/container/runner.hpp"

namespace wick::control {

namespace {

using model::Truth;

/// `<configuration>-%05d`.
std::string revision_name(const json::object& configuration) {
  const auto own = model::text_at(configuration, {"spec", "template", "metadata", "name"});
  if (!own.empty()) return own;
  return child_name(name_of(configuration), fmt::format("-{:05}", generation_of(configuration)));
}

/// The next range after the last one given that no Configuration, Revision, JobSink, Job or ContainerSource
/// has, and no other reconcile is about
/// to write down. What was given back is not given again at once.
Result<std::uint32_t> free_id_range(World& world) {
  constexpr auto first = container::store_id_range + 1;
  for (auto left = container::id_ranges_max - first; left > 0; --left) {
    world.last_id_range = world.last_id_range + 1 < container::id_ranges_max ? world.last_id_range + 1 : first;
    const auto range = world.last_id_range;
    if (!world.id_ranges_promised.contains(range) &&
        world.objects().keys_by(world.indexes.by_id_range, std::to_string(range)).empty())
      return range;
  }
  return fail(Errc::overloaded, fmt::format("all {} id ranges are in use", container::id_ranges_max),
              "delete services that are not needed");
}

/// Holds a range until it is in the table.
class Promise {
 public:
  Promise(std::set<std::uint32_t>& promised, std::uint32_t range) : promised_(promised), range_(range) {
    promised_.insert(range_);
  }
  Promise(const Promise&) = delete;
  ~Promise() { promised_.erase(range_); }

 private:
  std::set<std::uint32_t>& promised_;
  std::uint32_t range_;
};

json::object wanted_revision(World& world, const json::object& configuration, const std::string& name) {
  json::object metadata;
  if (const auto* value = model::find_value(configuration, {"spec", "template", "metadata"});
      value && value->is_object())
    metadata = value->get_object();
  metadata["name"] = name;
  metadata["namespace"] = namespace_of(configuration);
  metadata["ownerReferences"] = json::array{model::owner_reference(model::configuration_kind(), configuration)};
  auto& labels = model::object_at(metadata, {"labels"});
  const auto service = labels_of(configuration);
  for (const auto label : {model::names::service, model::names::service_uid})
    if (const auto found = service.find(std::string(label)); found != service.end()) labels[label] = found->second;
  labels[model::names::configuration] = name_of(configuration);
  labels[model::names::configuration_uid] = uid_of(configuration);
  labels[model::names::configuration_generation] = std::to_string(generation_of(configuration));
  labels[model::names::routing_state] = "pending";
  auto& annotations = model::object_at(metadata, {"annotations"});
  annotations[model::names::routing_state_modified] = to_rfc3339(world.now());
  annotations[model::names::id_range] =
      model::text_at(configuration, {"metadata", "annotations", model::names::id_range});
  const auto creator = model::text_at(configuration, {"metadata", "annotations", model::names::creator});
  if (!creator.empty()) annotations[model::names::creator] = creator;
  return {{"apiVersion", model::revision_kind().api_version()},
          {"kind", "Revision"},
          {"metadata", std::move(metadata)},
          {"spec", configuration.at("spec").as_object().at("template").as_object().at("spec")}};
}

std::int64_t configuration_generation(const json::object& revision) {
  const auto text = model::text_at(revision, {"metadata", "labels", model::names::configuration_generation});
  return static_cast<std::int64_t>(parse_unsigned(text).value_or(0));
}

std::vector<ObjectValue> revisions_of(World& world, const json::object& configuration) {
  return world.objects().find_by(world.indexes.by_controller, uid_of(configuration));
}

/// The ready revision of the highest generation.
std::string latest_ready(const std::vector<ObjectValue>& revisions) {
  std::int64_t best = -1;
  std::string name;
  for (const auto& revision : revisions)
    if (configuration_generation(*revision) > best && model::find_condition(*revision, "Ready").status == Truth::yes) {
      best = configuration_generation(*revision);
      name = name_of(*revision);
    }
  return name;
}

void judge(model::Conditions& conditions, const json::object& revision) {
  const auto ready = model::find_condition(revision, "Ready");
  switch (ready.status) {
    case Truth::yes:
      conditions.mark_true("Ready");
      break;
    case Truth::no:
      conditions.mark_false("Ready", "RevisionFailed",
                            fmt::format("Revision \"{}\" failed with message: {}.", name_of(revision), ready.message));
      break;
    case Truth::unknown:
      conditions.mark_unknown("Ready", ready.reason, ready.message);
      break;
  }
}

awaitable<void> collect_old(World& world, const json::object& configuration, const std::vector<ObjectValue>& revisions,
                            std::string newest, std::string ready) {
  std::vector<RevisionAge> candidates;
  for (const auto& revision : revisions) {
    const auto name = name_of(*revision);
    const auto labels = labels_of(*revision);
    const auto state = labels.find(std::string(model::names::routing_state));
    if (state == labels.end() || state->second != "reserve" || name == newest || name == ready) continue;
    const auto annotations = annotations_of(*revision);
    if (const auto kept = annotations.find(std::string(model::names::no_gc));
        kept != annotations.end() && kept->second == "true")
      continue;
    const auto created = parse_rfc3339(model::text_at(*revision, {"metadata", "creationTimestamp"}));
    const auto modified = annotations.find(std::string(model::names::routing_state_modified));
    const auto active = modified == annotations.end() ? created : parse_rfc3339(modified->second);
    if (created) candidates.push_back({name, *created, active ? *active : *created});
  }
  const auto name_space = namespace_of(configuration);
  for (auto& name : revisions_to_delete(std::move(candidates), world.now()))
    co_await world.objects().remove(key_of(model::revision_kind(), name_space, std::move(name)));
}

}  // namespace

/// nullopt when it has none yet.
std::optional<std::uint32_t> id_range_of(const json::object& object) {
  const auto number = parse_unsigned(model::text_at(object, {"metadata", "annotations", model::names::id_range}));
  if (!number || *number == 0 || *number >= container::id_ranges_max) return std::nullopt;
  return static_cast<std::uint32_t>(*number);
}

awaitable<Result<ObjectValue>> with_id_range(World& world, ObjectKey key, ObjectValue object) {
  if (id_range_of(*object)) co_return object;
  const auto range = free_id_range(world);
  if (!range) co_return fail(range.error());
  const Promise promise(world.id_ranges_promised, *range);
  auto next = *object;
  model::object_at(next, {"metadata", "annotations"})[model::names::id_range] = std::to_string(*range);
  const auto version = version_of(*object);
  auto updated = co_await world.objects().update(std::move(key), std::move(next), version);
  co_return updated;
}

awaitable<Result<void>> reconcile_configuration(World& world, ObjectKey key) {
  auto configuration = world.objects().find(key);
  if (!configuration) co_return Result<void>();
  auto bound = co_await bind_sink(world, model::configuration_kind(), key, configuration);
  if (!bound) co_return fail(std::move(bound.error()).within("sink binding"));
  if (*bound) co_return Result<void>();
  auto ranged = co_await with_id_range(world, key, configuration);
  if (!ranged) co_return fail(std::move(ranged.error()));
  configuration = *ranged;

  const auto name = revision_name(*configuration);
  const auto revision_key = key_of(model::revision_kind(), key.name_space, name);
  auto revision = world.objects().find(revision_key);
  model::Conditions conditions("Ready", {"Ready"}, *configuration, world.now());
  // A revision that was deleted by hand is not made again for the same generation: Knative says so in the status.
  const bool made_before =
      model::text_at(*configuration, {"status", "latestCreatedRevisionName"}) == name && is_current(*configuration);
  if (!revision && !made_before) {
    auto created = co_await world.objects().create(revision_key, wanted_revision(world, *configuration, name));
    if (!created) co_return fail(std::move(created.error()));
    revision = *created;
  }
  if (revision && model::controller_uid(*revision) != uid_of(*configuration) && !is_owned(world, *revision))
    co_return fail(Errc::unavailable, fmt::format("an earlier Revision \"{}\" is still being deleted", name));
  const auto revisions = revisions_of(world, *configuration);
  const auto ready = latest_ready(revisions);
  if (!revision)
    conditions.mark_false("Ready", "RevisionDeleted", fmt::format("Revision \"{}\" was deleted.", name));
  else if (model::controller_uid(*revision) != uid_of(*configuration))
    conditions.mark_false(
        "Ready", "RevisionFailed",
        fmt::format("Revision creation failed with message: revisions.serving.knative.dev \"{}\" already exists.",
                    name));
  else
    judge(conditions, *revision);

  json::object status{{"observedGeneration", generation_of(*configuration)},
                      {"conditions", conditions.to_json()},
                      {"latestCreatedRevisionName", name}};
  if (!ready.empty()) status["latestReadyRevisionName"] = ready;
  auto written = co_await world.objects().update_status(key, std::move(status));
  if (!written && written.error().code() != Errc::not_found) co_return fail(std::move(written.error()));
  co_await collect_old(world, *configuration, revisions, name, ready);
  co_return Result<void>();
}

}  // namespace wick::control
