// SinkBinding (sources.knative.dev/v1): K_SINK and K_CE_OVERRIDES in every container of a Service or Configuration, so
// that what it runs knows where its events go (pkg/apis/sources/v1/sinkbinding_lifecycle.go, knative.dev/pkg
// psbinding).
//
// Knative's webhook writes them into the subject as it is admitted. Here the subject's own reconciler does so before it
// does anything else, so no revision is stamped without them. The annotation says whose they are: what a binding that
// is gone, or selects something else now, wrote is taken out again.
#include <fmt/format.h>

#include <algorithm>

#include <boost/json/serialize.hpp>

#include "control/event_access.hpp"
#include "control/reconcilers.hpp"
#include "control/sources.hpp"
#include "wick/base/text.hpp"

namespace wick::control {

namespace {

using model::Truth;

constexpr std::string_view sink_variable = "K_SINK";
constexpr std::string_view overrides_variable = "K_CE_OVERRIDES";

std::string binding_of(const json::object& subject) {
  return model::text_at(subject, {"metadata", "annotations", bound_annotation});
}

/// spec.ceOverrides as JSON; "" where there is none.
std::string overrides_of(const json::object& binding) {
  const auto* overrides = model::find_value(binding, {"spec", "ceOverrides"});
  return overrides ? json::serialize(*overrides) : std::string();
}

/// Takes both variables out of every container, and puts these in where there are any.
void set_variables(json::object& subject, const std::optional<std::pair<std::string, std::string>>& values) {
  auto* spec = model::object_if(subject, {"spec", "template", "spec"});
  if (!spec) return;
  for (const auto list : {"initContainers", "containers"}) {
    auto* containers = spec->if_contains(list);
    if (!containers || !containers->is_array()) continue;
    for (auto& element : containers->get_array()) {
      auto& container = element.as_object();
      json::array env;
      if (const auto* own = container.if_contains("env"); own && own->is_array())
        for (const auto& variable : own->get_array()) {
          const auto name = variable.is_object() ? model::text_at(variable.get_object(), {"name"}) : std::string();
          if (name != sink_variable && name != overrides_variable) env.push_back(variable);
        }
      if (values) {
        env.push_back({{"name", sink_variable}, {"value", values->first}});
        env.push_back({{"name", overrides_variable}, {"value", values->second}});
      }
      if (env.empty())
        container.erase("env");
      else
        container["env"] = std::move(env);
    }
  }
}

/// The binding that this subject has: the first by name.
ObjectValue binding_for(World& world, const model::Kind& kind, const json::object& subject) {
  for (const auto& binding : world.objects().list(model::sink_binding_kind().resource(), namespace_of(subject)))
    if (!is_being_deleted(*binding) && binds(*binding, kind, subject)) return binding;
  return nullptr;
}

Resolved sink_of_binding(World& world, const json::object& binding) {
  model::FieldErrors ignored;
  model::ObjectReader root(binding, ignored);
  const auto sink = model::decode_destination(root.object("spec").object("sink"), namespace_of(binding));
  return resolve(world, sink, namespace_of(binding));
}

}  // namespace

bool binds(const json::object& binding, const model::Kind& kind, const json::object& subject) {
  if (model::text_at(binding, {"spec", "subject", "kind"}) != kind.kind ||
      model::text_at(binding, {"spec", "subject", "apiVersion"}) != kind.api_version())
    return false;
  if (const auto name = model::text_at(binding, {"spec", "subject", "name"}); !name.empty())
    return name == name_of(subject);
  const auto* selector = model::find_value(binding, {"spec", "subject", "selector"});
  return selector && selector->is_object() && selects(selector->get_object(), labels_of(subject));
}

bool is_bound_by(const json::object& subject, std::string_view binding) { return binding_of(subject) == binding; }

awaitable<Result<bool>> bind_sink(World& world, const model::Kind& kind, ObjectKey key, ObjectValue subject) {
  // What has an owner gets its template from there.
  if (!model::controller_uid(*subject).empty()) co_return false;
  const auto binding = binding_for(world, kind, *subject);
  if (!binding && binding_of(*subject).empty()) co_return false;
  auto next = *subject;
  if (binding) {
    const auto sink = sink_of_binding(world, *binding);
    if (!sink.problem.empty()) co_return false;  // it stays as it is until the sink is there
    set_variables(next, std::pair(sink.uri, overrides_of(*binding)));
    model::object_at(next, {"metadata", "annotations"})[bound_annotation] = name_of(*binding);
  } else {
    set_variables(next, std::nullopt);
    model::object_at(next, {"metadata", "annotations"}).erase(bound_annotation);
  }
  if (next == *subject) co_return false;
  auto updated = co_await world.objects().update(std::move(key), std::move(next), version_of(*subject));
  if (!updated && updated.error().code() != Errc::not_found) co_return fail(std::move(updated.error()));
  co_return true;  // the change brings us here again
}

awaitable<Result<void>> reconcile_sink_binding(World& world, ObjectKey key) {
  const auto object = world.objects().find(key);
  if (!object) co_return Result<void>();  // its subjects see that it is gone
  model::Conditions conditions("Ready", {"SinkBindingAvailable", "SinkProvided", "OIDCIdentityCreated"}, *object,
                               world.now());
  json::object status{{"observedGeneration", generation_of(*object)}};
  judge_identity(world, model::sink_binding_kind(), key, conditions, status);
  const auto sink = sink_of_binding(world, *object);
  if (sink.problem.empty()) {
    conditions.mark_true("SinkProvided");
    status["sinkUri"] = sink.uri;
  } else {
    conditions.mark_false("SinkProvided", "NotFound", sink.problem);
  }
  const auto version = model::text_at(*object, {"spec", "subject", "apiVersion"});
  const auto kind_name = model::text_at(*object, {"spec", "subject", "kind"});
  const auto subject_name = model::text_at(*object, {"spec", "subject", "name"});
  const auto* kind = model::find_kind_by_name(version, kind_name);
  const auto subject =
      kind && !subject_name.empty() ? world.objects().find(key_of(*kind, key.name_space, subject_name)) : nullptr;
  if (kind != &model::service_kind() && kind != &model::configuration_kind()) {
    conditions.mark_false("SinkBindingAvailable", "SubjectNotSupported",
                          fmt::format("{} {} cannot be bound here: serving.knative.dev/v1 Service or Configuration",
                                      printable(version), printable(kind_name)));
  } else if (!subject_name.empty() && !subject) {
    conditions.mark_false("SinkBindingAvailable", "SubjectMissing",
                          fmt::format("{} \"{}\" not found", kind->resource(), subject_name));
  } else if (subject && !model::controller_uid(*subject).empty()) {
    conditions.mark_false("SinkBindingAvailable", "SubjectOwned",
                          fmt::format("{} \"{}\" belongs to another object: bind that one", kind->kind, subject_name));
  } else if (const auto other = subject ? binding_for(world, *kind, *subject) : object;
             other && uid_of(*other) != uid_of(*object)) {
    conditions.mark_false(
        "SinkBindingAvailable", "SubjectBound",
        fmt::format("{} \"{}\" is bound by SinkBinding \"{}\"", kind->kind, subject_name, name_of(*other)));
  } else {
    conditions.mark_true("SinkBindingAvailable");
  }
  status["conditions"] = conditions.to_json();
  auto written = co_await write_status(world, std::move(key), std::move(status));
  co_return written;
}

}  // namespace wick::control
