#include "model/kinds.hpp"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <map>
#include <stdexcept>

#include "wick/base/text.hpp"
#include "wick/model/object_reader.hpp"

namespace wick::model {

namespace {

const std::vector<Kind>& table() {
  static const std::vector<Kind> all = [] {
    std::vector<Kind> rows;
    for (auto* group : {core_kinds, serving_kinds, eventing_kinds, policy_kinds, transform_kinds, flow_kinds,
                        source_kinds, mqtt_kinds, webhook_kinds, job_kinds, build_kinds})
      for (auto& kind : group()) rows.push_back(std::move(kind));
    return rows;
  }();
  return all;
}

const Kind& named(std::string_view group, std::string_view kind) {
  for (const auto& row : table())
    if (row.group == group && row.kind == kind && row.stored) return row;
  throw std::logic_error(fmt::format("the table has no kind {} {}", group, kind));
}

}  // namespace

std::string join_outlines(std::initializer_list<std::string_view> parts) {
  std::string text;
  for (const auto part : parts) text += part;
  return text;
}

std::string Kind::api_version() const {
  return group.empty() ? std::string(version) : std::string(group) + "/" + std::string(version);
}

std::string Kind::resource() const {
  return group.empty() ? std::string(plural) : std::string(plural) + "." + std::string(group);
}

std::span<const Kind> kinds() { return table(); }

const Kind* find_kind(std::string_view group, std::string_view version, std::string_view plural) {
  for (const auto& kind : table())
    if (kind.group == group && kind.version == version && kind.plural == plural) return &kind;
  return nullptr;
}

const Kind* find_kind_by_name(std::string_view api_version, std::string_view name) {
  for (const auto& kind : table())
    if (kind.kind == name && kind.api_version() == api_version) return &kind;
  return nullptr;
}

const Kind* find_stored_kind(std::string_view resource) {
  const auto dot = resource.find('.');
  const auto plural = resource.substr(0, dot);
  const auto group = dot == resource.npos ? std::string_view() : resource.substr(dot + 1);
  for (const auto& kind : table())
    if (kind.stored && kind.plural == plural && kind.group == group) return &kind;
  return nullptr;
}

void to_stored(const Kind& kind, json::object& object) {
  if (kind.stored) return;
  if (kind.to_stored) kind.to_stored(object);
  object["apiVersion"] = find_stored_kind(kind.resource())->api_version();
}

void from_stored(const Kind& kind, json::object& object) {
  if (kind.stored) return;
  if (kind.from_stored) kind.from_stored(object);
  object["apiVersion"] = kind.api_version();
}

#define WICK_KIND(function, group, kind)           \
  const Kind& function() {                         \
    static const Kind& found = named(group, kind); \
    return found;                                  \
  }
WICK_KIND(namespace_kind, "", "Namespace")
WICK_KIND(secret_kind, "", "Secret")
WICK_KIND(config_map_kind, "", "ConfigMap")
WICK_KIND(service_kind, "serving.knative.dev", "Service")
WICK_KIND(configuration_kind, "serving.knative.dev", "Configuration")
WICK_KIND(revision_kind, "serving.knative.dev", "Revision")
WICK_KIND(route_kind, "serving.knative.dev", "Route")
WICK_KIND(domain_mapping_kind, "serving.knative.dev", "DomainMapping")
WICK_KIND(broker_kind, "eventing.knative.dev", "Broker")
WICK_KIND(trigger_kind, "eventing.knative.dev", "Trigger")
WICK_KIND(channel_kind, "messaging.knative.dev", "Channel")
WICK_KIND(in_memory_channel_kind, "messaging.knative.dev", "InMemoryChannel")
WICK_KIND(subscription_kind, "messaging.knative.dev", "Subscription")
WICK_KIND(sequence_kind, "flows.knative.dev", "Sequence")
WICK_KIND(parallel_kind, "flows.knative.dev", "Parallel")
WICK_KIND(ping_source_kind, "sources.knative.dev", "PingSource")
WICK_KIND(sink_binding_kind, "sources.knative.dev", "SinkBinding")
WICK_KIND(container_source_kind, "sources.knative.dev", "ContainerSource")
WICK_KIND(api_server_source_kind, "sources.knative.dev", "ApiServerSource")
WICK_KIND(event_type_kind, "eventing.knative.dev", "EventType")
WICK_KIND(event_policy_kind, "eventing.knative.dev", "EventPolicy")
WICK_KIND(job_sink_kind, "sinks.knative.dev", "JobSink")
WICK_KIND(job_kind, "batch", "Job")
WICK_KIND(build_kind, "shipwright.io", "Build")
WICK_KIND(build_run_kind, "shipwright.io", "BuildRun")
#undef WICK_KIND

}  // namespace wick::model
