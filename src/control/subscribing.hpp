// What Triggers, Subscriptions, flows and sources share: where events go, how they are delivered, and what is said of
// it in a status.
#pragma once

#include <optional>
#include <string>

#include "control/world.hpp"
#include "wick/eventing/eventing.hpp"
#include "wick/model/eventing.hpp"

namespace wick::control {

inline constexpr milliseconds trigger_start_limit{5'000};  // the first save of a new trigger takes one sync

eventing::Destination to_eventing(const model::Destination& destination, const std::string& name_space);
eventing::Delivery to_eventing(const model::Delivery& delivery, const std::string& name_space);

/// What a single box adds to a Trigger or Subscription: wick.dev/ordering, max-in-flight, start-from and replies.
/// Errors: invalid.
Result<void> add_annotated(const model::Metadata& metadata, eventing::TriggerSpec& spec);

/// The address of an addressable object inside the box, by its name alone: "http://hello.default.svc.cluster.local",
/// "http://broker-ingress.knative-eventing.svc.cluster.local/default/b",
/// "http://c-kn-channel.default.svc.cluster.local".
std::string address_of(const model::Kind& kind, const std::string& name_space, const std::string& name);
/// "c-kn-channel.default.svc.cluster.local".
std::string channel_host(const std::string& name_space, const std::string& channel);
/// The stream ("namespace/name") behind a destination that is a broker, channel or flow of ours; nullopt for others.
std::optional<std::string> stream_of(const model::Destination& destination, const std::string& name_space);

struct Resolved {
  std::string uri;
  std::string problem;  // empty: all is well
};
/// The URI that a destination has now; what it refers to must exist (C7 of eventing.md 2.2).
Resolved resolve(World& world, const model::Destination& destination, const std::string& name_space);

/// Condition DeadLetterSinkResolved and status.deadLetterSinkUri.
void judge_dead_letter(World& world, const std::optional<model::Delivery>& delivery, const std::string& name_space,
                       model::Conditions& conditions, json::object& status);

/// {"apiVersion", "kind", "name", "namespace"} of an object.
json::object reference_to(const model::Kind& kind, const std::string& name_space, const std::string& name);

/// The object may be gone meanwhile: that is no error.
awaitable<Result<void>> write_status(World& world, ObjectKey key, json::object status);

}  // namespace wick::control
