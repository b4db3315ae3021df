// Objects that a client of Knative looks for on a cluster: the placeholder Service of a Route, the Service of the
// ingress gateway (serving.md 2.6), and the CustomResourceDefinitions.
#include <fmt/format.h>

#include <boost/json/array.hpp>

#include "api/views.hpp"
#include "wick/base/text.hpp"
#include "wick/model/object_reader.hpp"

namespace wick::api {

namespace json = boost::json;

namespace {

json::object open_schema(std::string_view description) {
  const json::object open{{"type", "object"}, {"x-kubernetes-preserve-unknown-fields", true}};
  return {{"type", "object"},
          {"description", description},
          {"properties",
           {{"apiVersion", {{"type", "string"}}},
            {"kind", {{"type", "string"}}},
            {"metadata", open},
            {"spec", open},
            {"status", open}}}};
}

json::object service_schema() {
  return open_schema("The addresses of a Route, as Kubernetes would show them. Read only.");
}
json::object definition_schema() { return open_schema("A kind of this API, as Kubernetes would show it. Read only."); }

/// A uid that stays the same for as long as its owner's does.
std::string derived_uid(std::string uid, char mark) {
  if (!uid.empty()) uid.front() = mark;
  return uid;
}

json::object placeholder(const json::object& route) {
  const auto name = model::text_at(route, {"metadata", "name"});
  const auto name_space = model::text_at(route, {"metadata", "namespace"});
  json::object metadata{{"name", name},
                        {"namespace", name_space},
                        {"uid", derived_uid(model::text_at(route, {"metadata", "uid"}), '0')},
                        {"creationTimestamp", model::text_at(route, {"metadata", "creationTimestamp"})}};
  json::object labels;
  if (const auto* own = model::find_value(route, {"metadata", "labels"}); own && own->is_object())
    labels = own->get_object();
  labels["serving.knative.dev/route"] = name;
  metadata["labels"] = std::move(labels);
  if (const auto* annotations = model::find_value(route, {"metadata", "annotations"}))
    metadata["annotations"] = *annotations;
  metadata["ownerReferences"] = json::array{model::owner_reference(model::route_kind(), route)};
  // Kubernetes does not look at the selector of an ExternalName, but kubectl does: kubectl logs and exec svc/NAME.
  const json::object selector{{"serving.knative.dev/service", name}};
  return {{"apiVersion", "v1"},
          {"kind", "Service"},
          {"metadata", std::move(metadata)},
          {"spec",
           {{"type", "ExternalName"},
            {"selector", selector},
            {"externalName", fmt::format("{}.{}.svc.cluster.local", name, name_space)},
            {"sessionAffinity", "None"},
            {"ports", json::array{{{"name", "http2"}, {"port", 80}, {"protocol", "TCP"}, {"targetPort", 80}}}}}},
          {"status", {{"loadBalancer", json::object()}}}};
}

json::object gateway(std::string_view name_space, std::string_view name, const std::string& listen) {
  const auto colon = listen.rfind(':');
  auto host = listen.substr(0, colon);
  if (host.empty() || host == "0.0.0.0" || host == "[::]") host = "127.0.0.1";
  const auto port = parse_unsigned(listen.substr(colon + 1)).value_or(80);
  return {{"apiVersion", "v1"},
          {"kind", "Service"},
          {"metadata",
           {{"name", name},
            {"namespace", name_space},
            {"uid", fmt::format("00000000-0000-4000-8000-{:012x}", name.size())},
            {"creationTimestamp", "1970-01-01T00:00:00Z"}}},
          {"spec",
           {{"type", "LoadBalancer"},
            {"clusterIP", host},
            {"sessionAffinity", "None"},
            {"ports",
             json::array{
                 {{"name", "http2"}, {"port", 80}, {"protocol", "TCP"}, {"targetPort", port}, {"nodePort", port}}}}}},
          {"status", {{"loadBalancer", {{"ingress", json::array{{{"ip", host}}}}}}}}};
}

json::object column(const model::PrinterColumn& printed) {
  json::object object{{"name", printed.name}, {"type", printed.type}, {"jsonPath", printed.json_path}};
  if (printed.priority != 0) object["priority"] = printed.priority;
  return object;
}

json::object version_of(const model::Kind& kind) {
  json::array columns;
  for (const auto& printed : kind.columns) columns.push_back(column(printed));
  json::object version{{"name", kind.version},
                       {"served", true},
                       {"storage", kind.stored},
                       {"schema", {{"openAPIV3Schema", model::schema_of(kind)}}},
                       {"additionalPrinterColumns", std::move(columns)}};
  if (kind.has_status) version["subresources"] = {{"status", json::object()}};
  return version;
}

json::object definition(const model::Kind& kind) {
  json::array versions;
  for (const auto& other : model::kinds())
    if (other.resource() == kind.resource()) versions.push_back(version_of(other));
  json::array short_names;
  for (const auto name : kind.short_names) short_names.emplace_back(name);
  json::array categories;
  for (const auto name : kind.categories) categories.emplace_back(name);
  json::object names{{"plural", kind.plural},
                     {"singular", kind.singular},
                     {"kind", kind.kind},
                     {"listKind", std::string(kind.kind) + "List"},
                     {"shortNames", std::move(short_names)},
                     {"categories", std::move(categories)}};
  json::object labels;
  for (const auto duck : kind.ducks) labels[duck] = "true";
  constexpr std::string_view since = "1970-01-01T00:00:00Z";
  json::array conditions;
  for (const auto type : {"NamesAccepted", "Established"})
    conditions.push_back({{"type", type}, {"status", "True"}, {"reason", type}, {"lastTransitionTime", since}});
  return {{"apiVersion", "apiextensions.k8s.io/v1"},
          {"kind", "CustomResourceDefinition"},
          {"metadata",
           {{"name", kind.resource()},
            {"uid", fmt::format("00000000-0000-4000-8001-{:012x}", std::hash<std::string>()(kind.resource()) >> 16)},
            {"creationTimestamp", since},
            {"labels", std::move(labels)}}},
          {"spec",
           {{"group", kind.group},
            {"scope", kind.namespaced ? "Namespaced" : "Cluster"},
            {"names", names},
            {"versions", std::move(versions)}}},
          {"status",
           {{"acceptedNames", names}, {"conditions", std::move(conditions)}, {"storedVersions", {kind.version}}}}};
}

}  // namespace

const model::Kind& core_service_kind() {
  static const model::Kind kind{.group = "",
                                .version = "v1",
                                .kind = "Service",
                                .plural = "services",
                                .singular = "service",
                                .short_names = {"svc"},
                                .namespaced = true,
                                .has_status = false,
                                .categories = {"all"},
                                .columns = {{"Type", "string", ".spec.type"},
                                            {"Cluster-IP", "string", ".spec.clusterIP"},
                                            {"External-IP", "string", "@external"},
                                            {"Port(s)", "string", "@ports"},
                                            {"Age", "date", ".metadata.creationTimestamp"}},
                                .schema = service_schema};
  return kind;
}

const model::Kind& definition_kind() {
  static const model::Kind kind{.group = "apiextensions.k8s.io",
                                .version = "v1",
                                .kind = "CustomResourceDefinition",
                                .plural = "customresourcedefinitions",
                                .singular = "customresourcedefinition",
                                .short_names = {"crd", "crds"},
                                .namespaced = false,
                                .has_status = false,
                                .categories = {"api-extensions"},
                                .columns = {{"Created At", "date", ".metadata.creationTimestamp"}},
                                .schema = definition_schema};
  return kind;
}

std::vector<json::object> list_core_services(const Doors& doors) {
  std::vector<json::object> services;
  for (const auto& route : doors.objects.list(model::route_kind().resource())) services.push_back(placeholder(*route));
  services.push_back(gateway("istio-system", "istio-ingressgateway", doors.info.listen));
  services.push_back(gateway("kourier-system", "kourier", doors.info.listen));
  return services;
}

std::vector<json::object> list_definitions() {
  std::vector<json::object> definitions;
  for (const auto& kind : model::kinds())
    if (kind.stored && !kind.group.empty() && kind.group.find('.') != kind.group.npos && kind.group != "events.k8s.io")
      definitions.push_back(definition(kind));
  return definitions;
}

json::value computed_cell(std::string_view path, const json::object& object) {
  const auto count = [&](bool ready_only) {
    const auto* statuses = model::find_value(object, {"status", "containerStatuses"});
    std::size_t number = 0;
    if (statuses && statuses->is_array())
      for (const auto& status : statuses->get_array()) {
        const auto* ready = status.is_object() ? status.get_object().if_contains("ready") : nullptr;
        if (!ready_only || (ready && *ready == true)) ++number;
      }
    return number;
  };
  if (path == "@ready") return json::value(fmt::format("{}/{}", count(true), count(false)));
  if (path == "@status") {
    if (model::find_value(object, {"metadata", "deletionTimestamp"})) return "Terminating";
    const auto phase = model::text_at(object, {"status", "phase"});
    std::string waiting;
    std::size_t init = 0, done = 0;
    for (const auto list : {"initContainerStatuses", "containerStatuses"}) {
      const auto* statuses = model::find_value(object, {"status", list});
      if (!statuses || !statuses->is_array()) continue;
      for (const auto& status : statuses->get_array()) {
        if (!status.is_object()) continue;
        if (list == std::string_view("initContainerStatuses")) {
          ++init;
          const auto* ready = status.get_object().if_contains("ready");
          done += ready && *ready == true ? 1 : 0;
        }
        if (const auto reason = model::text_at(status.get_object(), {"state", "waiting", "reason"});
            reason == "CrashLoopBackOff")
          waiting = reason;
      }
    }
    // As kubectl's printer has it (printPod).
    if (init > done && phase == "Pending") return json::value(fmt::format("Init:{}/{}", done, init));
    return json::value(waiting.empty() ? phase : waiting);
  }
  if (path == "@object")
    return json::value(to_lower(model::text_at(object, {"involvedObject", "kind"})) + "/" +
                       model::text_at(object, {"involvedObject", "name"}));
  if (path == "@external") {
    const auto name = model::text_at(object, {"spec", "externalName"});
    return json::value(name.empty() ? model::text_at(object, {"spec", "clusterIP"}) : name);
  }
  if (path == "@ports") {
    std::string text;
    const auto* ports = model::find_value(object, {"spec", "ports"});
    if (ports && ports->is_array())
      for (const auto& port : ports->get_array()) {
        const auto node = model::integer_at(port.as_object(), {"nodePort"});
        text += fmt::format("{}{}{}/{}", text.empty() ? "" : ",", model::integer_at(port.as_object(), {"port"}),
                            node != 0 ? fmt::format(":{}", node) : "", model::text_at(port.as_object(), {"protocol"}));
      }
    return json::value(text);
  }
  return nullptr;
}

}  // namespace wick::api
