// Who may send to what is ours: identities, the features that say whether anybody asks, and EventPolicies applied.
#pragma once

#include <string>

#include "control/world.hpp"
#include "wick/eventing/access.hpp"

namespace wick::control {

/// ConfigMap config-features of knative-eventing, Knative's feature flags.
struct EventingFeatures {
  bool authentication = false;  // authentication-oidc
  eventing::DefaultAccess otherwise = eventing::DefaultAccess::allow_same_namespace;
  std::string otherwise_text;  // "Allow-Same-Namespace"
};
EventingFeatures features_of(const store::Objects& objects);

/// Brings eventing to what the features say; makes the key of senders' tokens (a Secret) where it is missing.
awaitable<Result<void>> configure_access(World& world);

/// Knative's sources and Wick's own, and the same of sinks.
bool is_source_group(std::string_view group);
bool is_sink_group(std::string_view group);

/// The service account that Knative makes for what sends events: "ping-oidc-sources.knative.dev-pingsource".
std::string identity_name(const model::Kind& kind, const std::string& name);
/// The subject of its events.
std::string identity_of(const model::Kind& kind, const std::string& name_space, const std::string& name);
/// Condition OIDCIdentityCreated, and status.auth.
void judge_identity(World& world, const model::Kind& kind, const ObjectKey& key, model::Conditions& conditions,
                    json::object& status);

/// Puts the policies that apply to `object` in force for its stream or sink; condition EventPoliciesReady,
/// status.policies, and the audience of status.address.
void judge_policies(World& world, const model::Kind& kind, const json::object& object, const std::string& stream,
                    model::Conditions& conditions, json::object& status);
/// "eventing.knative.dev/broker/default/b".
std::string audience_of(const model::Kind& kind, const std::string& name_space, const std::string& name);

awaitable<Result<void>> reconcile_event_policy(World& world, ObjectKey key);

}  // namespace wick::control
