// One function a group of kinds; kinds.cpp makes the table of them.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "wick/model/resource.hpp"

namespace wick::model {

std::vector<Kind> core_kinds();
std::vector<Kind> serving_kinds();
std::vector<Kind> eventing_kinds();
std::vector<Kind> policy_kinds();     // EventPolicy
std::vector<Kind> transform_kinds();  // EventTransform
std::vector<Kind> flow_kinds();       // messaging.knative.dev and flows.knative.dev
std::vector<Kind> source_kinds();     // sources.knative.dev and sinks.knative.dev
std::vector<Kind> mqtt_kinds();       // MQTTSource and MQTTSink, of Wick's own groups
std::vector<Kind> webhook_kinds();    // WebhookSource, likewise
std::vector<Kind> job_kinds();
std::vector<Kind> build_kinds();

/// Outlines are put together from shared parts.
std::string join_outlines(std::initializer_list<std::string_view> parts);

/// Columns that many kinds share.
inline constexpr PrinterColumn ready_column{"Ready", "string", ".status.conditions[?(@.type=='Ready')].status"};
inline constexpr PrinterColumn reason_column{"Reason", "string", ".status.conditions[?(@.type=='Ready')].reason"};
inline constexpr PrinterColumn age_column{"Age", "date", ".metadata.creationTimestamp"};

/// Of a duck.knative.dev Destination: ref or uri, complete, and in `own_namespace`.
void check_destination(class ObjectReader reader, std::string_view own_namespace);
/// Of a duck.knative.dev KReference.
void check_reference(class ObjectReader reader, std::string_view own_namespace);
void check_delivery(class ObjectReader reader, std::string_view own_namespace);
/// What every source has: outlines of its spec and of its status, the namespace of its sink, and the check of what is
/// left of its spec once the kind's own fields were read.
extern const std::string_view sink_lines;
extern const std::string_view source_status_lines;
void default_sink(json::object& object);
void check_source(class ObjectReader& spec, std::string_view own_namespace);
/// A PodTemplateSpec that runs by itself: what a Service may say of its containers, one of them, and a restartPolicy.
void check_pod_template(class ObjectReader reader);
/// The spec of a batch/v1 Job.
void check_job_spec(class ObjectReader spec);
inline constexpr std::int64_t job_seconds_max = 2'147'483'647;  // Kubernetes has them in 32 bits
/// `filters` of a Trigger or EventPolicy: their shape.
void check_filters(class ObjectReader& spec);

}  // namespace wick::model
