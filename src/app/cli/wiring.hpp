// What the verbs for triggers, channels, flows and sources share: objects by their kind, and where events go.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "app/cli/verbs.hpp"

namespace wick::app::cli {

/// A kind as these verbs name it.
struct WiringKind {
  std::string_view word;         // "channel"
  std::string_view api_version;  // "messaging.knative.dev/v1"
  std::string_view kind;         // "Channel"
  std::string_view plural;       // "channels"
};
inline constexpr WiringKind channel_wiring{"channel", "messaging.knative.dev/v1", "Channel", "channels"};
inline constexpr WiringKind subscription_wiring{"subscription", "messaging.knative.dev/v1", "Subscription",
                                                "subscriptions"};
inline constexpr WiringKind sequence_wiring{"sequence", "flows.knative.dev/v1", "Sequence", "sequences"};
inline constexpr WiringKind parallel_wiring{"parallel", "flows.knative.dev/v1", "Parallel", "parallels"};
inline constexpr WiringKind ping_wiring{"ping", "sources.knative.dev/v1", "PingSource", "pingsources"};
inline constexpr WiringKind binding_wiring{"binding", "sources.knative.dev/v1", "SinkBinding", "sinkbindings"};
inline constexpr WiringKind container_wiring{"container", "sources.knative.dev/v1", "ContainerSource",
                                             "containersources"};
inline constexpr WiringKind job_sink_wiring{"job", "sinks.knative.dev/v1alpha1", "JobSink", "jobsinks"};
inline constexpr WiringKind mqtt_wiring{"mqtt", "sources.wick.dev/v1alpha1", "MQTTSource", "mqttsources"};
inline constexpr WiringKind webhook_wiring{"webhook", "sources.wick.dev/v1alpha1", "WebhookSource", "webhooksources"};
inline constexpr WiringKind mqtt_sink_wiring{"mqtt", "sinks.wick.dev/v1alpha1", "MQTTSink", "mqttsinks"};
inline constexpr WiringKind api_server_wiring{"apiserver", "sources.knative.dev/v1", "ApiServerSource",
                                              "apiserversources"};

/// What people may name that takes events.
inline constexpr const char* destination_words =
    "SERVICE, broker:NAME, channel:NAME, sequence:NAME, parallel:NAME, jobsink:NAME, mqttsink:NAME, transform:NAME or "
    "a "
    "URL";
/// A duck.knative.dev Destination as kn writes it. A usage problem for another prefix.
Outcome<json::object> destination_of(const std::string& text);
/// "brokers" of "Broker"; "" for a kind that takes no events.
std::string_view plural_of_destination(std::string_view kind);
/// The same back; "" for an absent one.
std::string shown_destination(const json::value& object, std::string_view pointer);

/// "True", "False" or "Unknown" of its condition Ready, and why when it is not True.
struct Readiness {
  std::string status;
  std::string because;
};
Readiness readiness_of(const json::value& object);

/// spec.url, version and auth of what speaks with an MQTT server.
struct MqttOptions;
json::object mqtt_server_of(const MqttOptions& options);

/// A pod template of one container. A usage problem for a variable without '='.
struct ContainerOptions;
Outcome<json::object> pod_template_of(const ContainerOptions& options);

json::object new_object(const WiringKind& kind, const Session& session, const std::string& name, json::object spec);
/// Creates it; as it came to be.
Outcome<json::value> make_object(Session& session, const WiringKind& kind, json::object object);
/// Creates it and says `line`.
Outcome<void> create_object(Session& session, const WiringKind& kind, json::object object, const std::string& line);
Outcome<json::value> list_objects(Session& session, const WiringKind& kind);
/// Which of the kinds has an object of this name; "KIND/NAME" says which where several have. Errors: not found, usage.
Outcome<std::pair<WiringKind, json::value>> find_object(Session& session, const std::vector<WiringKind>& kinds,
                                                        const std::string& name);
/// Kind, address, conditions and what it sends where.
Outcome<void> describe_object(Session& session, const std::vector<WiringKind>& kinds, const std::string& name);
Outcome<void> remove_object(Session& session, const std::vector<WiringKind>& kinds, const std::string& name);
/// `rows` begins with the heading; `hint` is said where there are none.
void print_list(Session& session, const std::vector<std::vector<std::string>>& rows, const json::array& documents,
                std::string_view hint);

}  // namespace wick::app::cli
