#include "api/openapi.hpp"

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <map>

#include "wick/base/digest.hpp"
#include "wick/base/text.hpp"

namespace wick::api {

namespace json = boost::json;

namespace {

/// "apis/serving.knative.dev/v1", "api/v1".
std::string place_of(const model::Kind& kind) { return (kind.group.empty() ? "api/" : "apis/") + kind.api_version(); }

/// "dev.knative.serving.v1.Service": the group's labels the other way round.
std::string component_of(const model::Kind& kind) {
  std::string name = kind.group.empty() ? "io.k8s.api.core" : "";
  for (const auto label : split(kind.group, '.'))
    if (!label.empty()) name = name.empty() ? std::string(label) : std::string(label) + "." + name;
  return name + "." + std::string(kind.version) + "." + std::string(kind.kind);
}

json::object group_version_kind(const model::Kind& kind) {
  return {{"group", kind.group}, {"version", kind.version}, {"kind", kind.kind}};
}

json::object reference_to(const std::string& component) { return {{"$ref", "#/components/schemas/" + component}}; }

json::object content(const std::string& component, std::initializer_list<std::string_view> types) {
  json::object content;
  for (const auto type : types) content[type] = json::object{{"schema", reference_to(component)}};
  return content;
}

json::object parameter(std::string_view name, std::string_view place, std::string_view type) {
  json::object object{{"name", name}, {"in", place}, {"schema", {{"type", type}}}};
  if (place == "path") object["required"] = true;
  return object;
}

struct Operation {
  std::string_view method;
  std::string_view action;  // Kubernetes' word for it
  bool has_body = false;
  bool one = false;
  std::initializer_list<std::string_view> parameters;
};

json::object operation_of(const model::Kind& kind, const Operation& operation) {
  const auto component = component_of(kind);
  const auto answer = operation.one || operation.action == "post" ? component : component + "List";
  json::array parameters;
  for (const auto name : operation.parameters) {
    const bool flag = name == "force" || name == "watch" || name == "allowWatchBookmarks";
    const bool number = name == "limit" || name == "timeoutSeconds";
    parameters.push_back(parameter(name, "query", flag ? "boolean" : number ? "integer" : "string"));
  }
  json::object object{
      {"operationId", std::string(operation.action) + std::string(kind.kind)},
      {"parameters", std::move(parameters)},
      {"responses", {{"200", {{"description", "OK"}, {"content", content(answer, {"application/json"})}}}}},
      {"x-kubernetes-action", operation.action},
      {"x-kubernetes-group-version-kind", group_version_kind(kind)}};
  if (operation.has_body)
    object["requestBody"] = {
        {"required", true},
        {"content", operation.method == "patch"
                        ? content(component, {"application/json-patch+json", "application/merge-patch+json",
                                              "application/apply-patch+yaml"})
                        : content(component, {"application/json", "application/yaml"})}};
  return object;
}

void add_paths(const model::Kind& kind, json::object& paths) {
  const Operation collection[]{
      {"get",
       "list",
       false,
       false,
       {"labelSelector", "fieldSelector", "limit", "continue", "watch", "resourceVersion", "timeoutSeconds",
        "allowWatchBookmarks"}},
      {"post", "post", true, false, {"dryRun", "fieldManager", "fieldValidation"}},
      {"delete", "deletecollection", false, false, {"labelSelector", "fieldSelector", "propagationPolicy", "dryRun"}}};
  const Operation one[]{{"get", "get", false, true, {}},
                        {"put", "put", true, true, {"dryRun", "fieldManager", "fieldValidation"}},
                        {"patch", "patch", true, true, {"dryRun", "fieldManager", "fieldValidation", "force"}},
                        {"delete", "delete", false, true, {"propagationPolicy", "dryRun"}}};
  json::array place;
  std::string path = "/" + place_of(kind);
  if (kind.namespaced) {
    path += "/namespaces/{namespace}";
    place.push_back(parameter("namespace", "path", "string"));
  }
  path += "/" + std::string(kind.plural);
  json::object many{{"parameters", place}};
  for (const auto& operation : collection) many[operation.method] = operation_of(kind, operation);
  paths[path] = std::move(many);
  place.push_back(parameter("name", "path", "string"));
  json::object single{{"parameters", std::move(place)}};
  for (const auto& operation : one) single[operation.method] = operation_of(kind, operation);
  paths[path + "/{name}"] = std::move(single);
}

void add_schemas(const model::Kind& kind, json::object& schemas) {
  const auto component = component_of(kind);
  auto schema = model::schema_of(kind);
  schema["x-kubernetes-group-version-kind"] = json::array{group_version_kind(kind)};
  schemas[component] = std::move(schema);
  json::object list_kind = group_version_kind(kind);
  list_kind["kind"] = std::string(kind.kind) + "List";
  schemas[component + "List"] = {{"type", "object"},
                                 {"description", "A list of " + std::string(kind.plural) + "."},
                                 {"required", {"items"}},
                                 {"properties",
                                  {{"apiVersion", {{"type", "string"}}},
                                   {"kind", {{"type", "string"}}},
                                   {"metadata", {{"type", "object"}, {"x-kubernetes-preserve-unknown-fields", true}}},
                                   {"items", {{"type", "array"}, {"items", reference_to(component)}}}}},
                                 {"x-kubernetes-group-version-kind", json::array{std::move(list_kind)}}};
}

json::object document(const std::vector<const model::Kind*>& kinds, const std::string& version) {
  json::object paths;
  json::object schemas;
  for (const auto* kind : kinds) {
    add_paths(*kind, paths);
    add_schemas(*kind, schemas);
  }
  return {{"openapi", "3.0.0"},
          {"info", {{"title", "Wick"}, {"version", version}}},
          {"paths", std::move(paths)},
          {"components", {{"schemas", std::move(schemas)}}}};
}

}  // namespace

std::optional<json::object> openapi(const std::vector<const model::Kind*>& kinds,
                                    const std::vector<std::string>& segments, const std::string& version) {
  std::map<std::string, std::vector<const model::Kind*>> places;
  for (const auto* kind : kinds) places[place_of(*kind)].push_back(kind);
  if (segments.empty()) {
    json::object paths;
    for (const auto& [place, of_place] : places) {
      // The hash only has to change when the document does, and that it does with the program.
      const auto hash = Digest::of(version + place).hex().substr(0, 32);
      paths[place] = {{"serverRelativeURL", "/openapi/v3/" + place + "?hash=" + hash}};
    }
    return json::object{{"paths", std::move(paths)}};
  }
  std::string place = segments[0];
  for (std::size_t i = 1; i < segments.size(); ++i) place += "/" + segments[i];
  const auto found = places.find(place);
  return found == places.end() ? std::nullopt : std::optional(document(found->second, version));
}

}  // namespace wick::api
