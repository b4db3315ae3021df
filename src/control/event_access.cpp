// EventPolicy (eventing.knative.dev/v1alpha1) and the identities that it names (pkg/auth of knative/eventing).
//
// As in Knative nobody is asked who he is, and policies guard nothing, while the feature authentication-oidc is
// disabled: the policy's status says so. What sends from inside the box has its identity without a token.
#include "control/event_access.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "control/event_transforms.hpp"
#include "control/reconcilers.hpp"
#include "control/subscribing.hpp"
#include "wick/base/text.hpp"
#include "wick/eventing/filter.hpp"

namespace wick::control {

namespace {

constexpr std::string_view system_namespace = "knative-eventing";
constexpr std::string_view features_map = "config-features";
constexpr std::string_view token_key_secret = "wick-sender-token-key";
constexpr std::size_t token_key_bytes = 32;

std::string group_of(const std::string& api_version) {
  const auto slash = api_version.find('/');
  return slash == std::string::npos ? std::string() : api_version.substr(0, slash);
}

/// The kinds whose events policies guard.
bool is_guarded(const model::Kind& kind) {
  return &kind == &model::broker_kind() || &kind == &model::channel_kind() ||
         &kind == &model::in_memory_channel_kind() || &kind == &model::sequence_kind() ||
         &kind == &model::parallel_kind() || &kind == &event_transform_kind() || is_sink_group(kind.group);
}

/// The kinds that have an identity.
bool has_identity(const model::Kind& kind) {
  return &kind == &model::ping_source_kind() || &kind == &model::api_server_source_kind() ||
         &kind == &model::container_source_kind() || &kind == &model::sink_binding_kind() ||
         &kind == &model::trigger_kind() || &kind == &model::subscription_kind() || kind.group == "sources.wick.dev";
}

bool applies_to(const json::object& policy, const model::Kind& kind, const json::object& object) {
  const auto* to = model::find_value(policy, {"spec", "to"});
  if (!to || !to->is_array() || to->get_array().empty()) return true;
  const auto is_of_kind = [&](const json::object& where) {
    return iequals(group_of(model::text_at(where, {"apiVersion"})), kind.group) &&
           iequals(model::text_at(where, {"kind"}), kind.kind);
  };
  return std::ranges::any_of(to->get_array(), [&](const json::value& one) {
    if (!one.is_object()) return false;
    if (const auto* reference = model::find_value(one.get_object(), {"ref"}); reference && reference->is_object())
      if (is_of_kind(reference->get_object()) &&
          iequals(model::text_at(reference->get_object(), {"name"}), name_of(object)))
        return true;
    const auto* selector = model::find_value(one.get_object(), {"selector"});
    return selector && selector->is_object() && is_of_kind(selector->get_object()) &&
           selects(selector->get_object(), labels_of(object));
  });
}

std::vector<std::string> subjects_in_status(const json::object& policy) {
  std::vector<std::string> subjects;
  if (const auto* from = model::find_value(policy, {"status", "from"}); from && from->is_array())
    for (const auto& subject : from->get_array())
      if (subject.is_string()) subjects.emplace_back(subject.get_string());
  return subjects;
}

bool is_in_force(const json::object& policy) {
  return is_current(policy) && model::find_condition(policy, "Ready").status == model::Truth::yes;
}

/// One that is not ready names nobody: what it was written to keep out is kept out.
eventing::AccessPolicy in_force(const json::object& policy) {
  eventing::AccessPolicy applied{.name = name_of(policy), .subjects = {}, .filters = {}};
  if (!is_in_force(policy)) return applied;
  const auto* filters = model::find_value(policy, {"spec", "filters"});
  auto read = eventing::filters_from_json(filters ? *filters : json::value());
  if (!read) return applied;
  auto matcher = eventing::Matcher::compile({}, *read);
  if (!matcher) return applied;
  applied.subjects = subjects_in_status(policy);
  applied.filters = std::move(*matcher);
  return applied;
}

struct Subjects {
  json::array found;
  std::string problem;
};

Subjects subjects_of(World& world, const json::object& policy) {
  Subjects subjects;
  const auto* from = model::find_value(policy, {"spec", "from"});
  if (!from || !from->is_array()) return subjects;
  for (const auto& one : from->get_array()) {
    if (!one.is_object()) continue;
    if (const auto subject = model::text_at(one.get_object(), {"sub"}); !subject.empty()) {
      subjects.found.emplace_back(subject);
      continue;
    }
    const auto field = [&](std::string_view key) { return model::text_at(one.get_object(), {"ref", key}); };
    const auto version = field("apiVersion"), kind_name = field("kind"), name = field("name");
    const auto name_space = field("namespace").empty() ? namespace_of(policy) : field("namespace");
    const auto* found = model::find_kind_by_name(version, kind_name);
    const auto* kind = found ? model::find_stored_kind(found->resource()) : nullptr;
    if (!kind || !has_identity(*kind)) {
      subjects.problem = fmt::format(
          "{} {} has no identity of its own: PingSource, ApiServerSource, ContainerSource, MQTTSource, WebhookSource, "
          "SinkBinding, "
          "Trigger and Subscription have, and spec.from.sub names a service account",
          printable(version), printable(kind_name));
    } else if (!world.objects().find(key_of(*kind, name_space, name))) {
      subjects.problem = fmt::format("{} \"{}\" not found in namespace \"{}\"", kind->resource(), printable(name),
                                     printable(name_space));
    } else {
      subjects.found.emplace_back(identity_of(*kind, name_space, name));
    }
  }
  return subjects;
}

json::array guarded_by(World& world, const json::object& policy) {
  json::array guarded;
  for (const auto& kind : model::kinds()) {
    if (!kind.stored || !is_guarded(kind)) continue;
    for (const auto& object : world.objects().list(kind.resource(), namespace_of(policy)))
      if (applies_to(policy, kind, *object))
        guarded.push_back({{"apiVersion", kind.api_version()}, {"kind", kind.kind}, {"name", name_of(*object)}});
  }
  return guarded;
}

/// What a policy may name a channel's stream by: itself, the Channel of its name, the flow whose entrance it is.
std::vector<std::pair<const model::Kind*, ObjectValue>> names_of_channel(World& world, const std::string& name_space,
                                                                         const std::string& channel) {
  std::vector<std::pair<const model::Kind*, ObjectValue>> found;
  if (auto object = world.objects().find(key_of(model::channel_kind(), name_space, channel)))
    found.emplace_back(&model::channel_kind(), std::move(object));
  for (const auto* kind : {&model::sequence_kind(), &model::parallel_kind()})
    for (const auto& flow : world.objects().list(kind->resource(), name_space))
      if (address_of(*kind, name_space, name_of(*flow)) ==
          address_of(model::in_memory_channel_kind(), name_space, channel))
        found.emplace_back(kind, flow);
  return found;
}

awaitable<Result<std::string>> token_key(World& world) {
  const auto key = key_of(model::secret_kind(), std::string(system_namespace), std::string(token_key_secret));
  if (!world.objects().find(key)) {
    json::object secret{{"apiVersion", "v1"},
                        {"kind", "Secret"},
                        {"metadata", {{"name", token_key_secret}, {"namespace", system_namespace}}},
                        {"type", "Opaque"},
                        {"data", {{"key", base64_encode(random_hex(token_key_bytes))}}}};
    auto made = co_await world.objects().create(key, std::move(secret));
    if (!made && made.error().code() != Errc::already_exists) co_return fail(std::move(made.error()));
  }
  const auto found = world.objects().find(key);
  const auto text = found ? base64_decode(model::text_at(*found, {"data", "key"})) : std::nullopt;
  co_return text.value_or(std::string());
}

}  // namespace

bool is_source_group(std::string_view group) { return group == "sources.knative.dev" || group == "sources.wick.dev"; }
bool is_sink_group(std::string_view group) { return group == "sinks.knative.dev" || group == "sinks.wick.dev"; }

EventingFeatures features_of(const store::Objects& objects) {
  const auto map =
      objects.find(key_of(model::config_map_kind(), std::string(system_namespace), std::string(features_map)));
  EventingFeatures features;
  const auto flag = [&](std::string_view name) { return map ? model::text_at(*map, {"data", name}) : std::string(); };
  features.authentication = iequals(flag("authentication-oidc"), "enabled");
  const auto mode = flag("default-authorization-mode");
  using eventing::DefaultAccess;
  if (iequals(mode, "allow-all")) features.otherwise = DefaultAccess::allow_all;
  if (iequals(mode, "deny-all")) features.otherwise = DefaultAccess::deny_all;
  features.otherwise_text = features.otherwise == DefaultAccess::allow_all  ? "Allow-All"
                            : features.otherwise == DefaultAccess::deny_all ? "Deny-All"
                                                                            : "Allow-Same-Namespace";
  return features;
}

awaitable<Result<void>> configure_access(World& world) {
  const auto features = features_of(world.objects());
  eventing::AccessSettings settings{
      .enabled = features.authentication, .otherwise = features.otherwise, .token_key = {}};
  world.with.eventing.set_access(settings);  // at once: no event comes in between
  if (!features.authentication) co_return Result<void>();
  auto key = co_await token_key(world);
  if (!key) co_return fail(std::move(key.error()).within("key of senders' tokens"));
  settings.token_key = std::move(*key);
  world.with.eventing.set_access(std::move(settings));
  co_return Result<void>();
}

std::string identity_name(const model::Kind& kind, const std::string& name) {
  return to_lower(child_name(name, fmt::format("-oidc-{}-{}", kind.group, kind.kind)));
}

std::string identity_of(const model::Kind& kind, const std::string& name_space, const std::string& name) {
  return eventing::service_account_subject(name_space, identity_name(kind, name));
}

void judge_identity(World& world, const model::Kind& kind, const ObjectKey& key, model::Conditions& conditions,
                    json::object& status) {
  if (!features_of(world.objects()).authentication) {
    conditions.mark_true("OIDCIdentityCreated", "authentication-oidc feature disabled");
    return;
  }
  conditions.mark_true("OIDCIdentityCreated");
  status["auth"] = {{"serviceAccountName", identity_name(kind, key.name)}};
}

std::string audience_of(const model::Kind& kind, const std::string& name_space, const std::string& name) {
  return to_lower(fmt::format("{}/{}/{}/{}", kind.group, kind.kind, name_space, name));
}

void judge_policies(World& world, const model::Kind& kind, const json::object& object, const std::string& stream,
                    model::Conditions& conditions, json::object& status) {
  const auto name_space = namespace_of(object);
  const auto features = features_of(world.objects());
  std::vector<std::pair<const model::Kind*, ObjectValue>> names;
  if (&kind == &model::in_memory_channel_kind()) names = names_of_channel(world, name_space, name_of(object));
  eventing::AccessRules rules{.audience = audience_of(kind, name_space, name_of(object)), .policies = {}};
  json::array ready;
  std::string unready;
  for (const auto& policy : world.objects().list(model::event_policy_kind().resource(), name_space)) {
    const bool applies = applies_to(*policy, kind, object) || std::ranges::any_of(names, [&](const auto& name) {
                           return applies_to(*policy, *name.first, *name.second);
                         });
    if (is_being_deleted(*policy) || !applies) continue;
    rules.policies.push_back(in_force(*policy));
    if (is_in_force(*policy))
      ready.push_back({{"apiVersion", model::event_policy_kind().api_version()}, {"name", name_of(*policy)}});
    else
      unready += (unready.empty() ? "" : ", ") + name_of(*policy);
  }
  if (!unready.empty())
    conditions.mark_false("EventPoliciesReady", "EventPoliciesNotReady",
                          fmt::format("event policies {} are not ready", unready));
  else if (!ready.empty())
    conditions.mark_true("EventPoliciesReady");
  else if (features.authentication)
    conditions.mark_true("EventPoliciesReady", "DefaultAuthorizationMode",
                         fmt::format("Default authz mode is \"{}\"", features.otherwise_text));
  else
    conditions.mark_true("EventPoliciesReady", "OIDCDisabled",
                         "Feature \"authentication-oidc\" must be enabled to support Authorization");
  if (!ready.empty()) status["policies"] = std::move(ready);
  if (auto* address = status.if_contains("address"); features.authentication && address && address->is_object())
    address->get_object()["audience"] = rules.audience;
  world.with.eventing.set_access_rules(name_space, stream, std::move(rules));
}

awaitable<Result<void>> reconcile_event_policy(World& world, ObjectKey key) {
  const auto object = world.objects().find(key);
  if (!object) co_return Result<void>();  // what it guarded sees that it is gone
  model::Conditions conditions("Ready", {"AuthenticationEnabled", "SubjectsResolved"}, *object, world.now());
  auto subjects = subjects_of(world, *object);
  const auto* filters = model::find_value(*object, {"spec", "filters"});
  const auto read = eventing::filters_from_json(filters ? *filters : json::value());
  if (features_of(world.objects()).authentication)
    conditions.mark_true("AuthenticationEnabled");
  else
    conditions.mark_false("AuthenticationEnabled", "OIDCAuthenticationDisabled",
                          "Feature \"authentication-oidc\" must be enabled to support Authorization: set it in the "
                          "ConfigMap config-features of the namespace knative-eventing");
  if (!subjects.problem.empty())
    conditions.mark_false("SubjectsResolved", "SubjectsNotResolved",
                          "Error resolving from[].refs: " + subjects.problem);
  else if (!read)
    conditions.mark_false("SubjectsResolved", "FilterInvalid", read.error().what());
  else
    conditions.mark_true("SubjectsResolved");
  json::object status{{"observedGeneration", generation_of(*object)},
                      {"conditions", conditions.to_json()},
                      {"from", std::move(subjects.found)},
                      {"appliedToResources", guarded_by(world, *object)}};
  auto written = co_await write_status(world, std::move(key), std::move(status));
  co_return written;
}

std::string sender_of(const store::Objects& objects, std::string_view owner) {
  const auto slash = owner.find('/');
  const std::string name_space(owner.substr(0, slash));
  const std::string name(slash == owner.npos ? std::string_view() : owner.substr(slash + 1));
  std::string account = "default";
  constexpr std::string_view of_source = "containersources/", of_job = "jobs/";
  if (name.starts_with(of_source))
    return identity_of(model::container_source_kind(), name_space, name.substr(of_source.size()));
  if (name.starts_with(of_job))
    if (const auto job = objects.find(key_of(model::job_kind(), name_space, name.substr(of_job.size()))))
      if (const auto own = model::text_at(*job, {"spec", "template", "spec", "serviceAccountName"}); !own.empty())
        account = own;
  if (const auto revision = objects.find(key_of(model::revision_kind(), name_space, name))) {
    const auto labels = labels_of(*revision);
    const auto bound_to = [&](const model::Kind& kind, std::string_view label) -> std::string {
      const auto found = labels.find(std::string(label));
      if (found == labels.end()) return {};
      const auto object = objects.find(key_of(kind, name_space, found->second));
      return object ? model::text_at(*object, {"metadata", "annotations", bound_annotation}) : std::string();
    };
    auto binding = bound_to(model::service_kind(), model::names::service);
    if (binding.empty()) binding = bound_to(model::configuration_kind(), model::names::configuration);
    if (!binding.empty()) return identity_of(model::sink_binding_kind(), name_space, binding);
    if (const auto own = model::text_at(*revision, {"spec", "serviceAccountName"}); !own.empty()) account = own;
  }
  return eventing::service_account_subject(name_space, account);
}

}  // namespace wick::control
