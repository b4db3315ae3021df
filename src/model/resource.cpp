#include "wick/model/resource.hpp"

#include <boost/json/array.hpp>

#include "wick/model/object_reader.hpp"

namespace wick::model {

namespace {

constexpr std::string_view serving = "serving.knative.dev";
constexpr std::string_view eventing = "eventing.knative.dev";
constexpr std::string_view shipwright = "shipwright.io";

const std::vector<Kind>& table() {
  static const std::vector<std::string_view> serving_categories{"all", "knative", "serving"};
  static const std::vector<std::string_view> eventing_categories{"all", "knative", "eventing"};
  static const std::vector<Kind> all{
      {"", "v1", "Namespace", "namespaces", "namespace", {"ns"}, false, true, {}},
      {serving, "v1", "Service", "services", "service", {"kservice", "ksvc"}, true, true, serving_categories},
      {serving,
       "v1",
       "Configuration",
       "configurations",
       "configuration",
       {"config", "cfg"},
       true,
       true,
       serving_categories},
      {serving, "v1", "Revision", "revisions", "revision", {"rev"}, true, true, serving_categories},
      {serving, "v1", "Route", "routes", "route", {"rt"}, true, true, serving_categories},
      {eventing, "v1", "Broker", "brokers", "broker", {}, true, true, eventing_categories},
      {eventing, "v1", "Trigger", "triggers", "trigger", {}, true, true, eventing_categories},
      {shipwright, "v1beta1", "Build", "builds", "build", {}, true, true, {}},
      {shipwright, "v1beta1", "BuildRun", "buildruns", "buildrun", {"br"}, true, true, {}},
  };
  return all;
}

}  // namespace

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

const Kind& namespace_kind() { return table()[0]; }
const Kind& service_kind() { return table()[1]; }
const Kind& configuration_kind() { return table()[2]; }
const Kind& revision_kind() { return table()[3]; }
const Kind& route_kind() { return table()[4]; }
const Kind& broker_kind() { return table()[5]; }
const Kind& trigger_kind() { return table()[6]; }
const Kind& build_kind() { return table()[7]; }
const Kind& build_run_kind() { return table()[8]; }

json::object owner_reference(const Kind& kind, const json::object& owner) {
  return {{"apiVersion", kind.api_version()},
          {"kind", kind.kind},
          {"name", text_at(owner, {"metadata", "name"})},
          {"uid", text_at(owner, {"metadata", "uid"})},
          {"controller", true},
          {"blockOwnerDeletion", true}};
}

std::string controller_uid(const json::object& object) {
  const auto* owners = find_value(object, {"metadata", "ownerReferences"});
  if (!owners || !owners->is_array()) return {};
  for (const auto& owner : owners->get_array()) {
    const auto* reference = owner.if_object();
    if (!reference) continue;
    const auto* controller = reference->if_contains("controller");
    if (controller && controller->is_bool() && controller->get_bool()) return text_at(*reference, {"uid"});
  }
  return {};
}

}  // namespace wick::model
