// What a person made, as manifests: objects without a controller, without what only a server says of them.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "app/cli/verbs.hpp"
#include "app/cli/yaml_text.hpp"
#include "wick/model/resource.hpp"

namespace wick::app::cli {

namespace {

/// Written by servers, and refused or meaningless where the manifest goes.
const std::set<std::string_view> servers_metadata{"uid",
                                                  "resourceVersion",
                                                  "generation",
                                                  "managedFields",
                                                  "creationTimestamp",
                                                  "selfLink",
                                                  "deletionTimestamp",
                                                  "deletionGracePeriodSeconds",
                                                  "finalizers"};
const std::set<std::string_view> servers_annotations{model::names::creator, model::names::last_modifier,
                                                     model::names::last_applied, model::names::id_range};
/// Things that happened, or that others make.
const std::set<std::string_view> not_exported{"BuildRun", "Revision", "Event", "EventType", "Job"};

/// Of a group that no cluster knows.
bool is_wicks_own(const json::value& object) {
  const auto version = text_at(object, "/apiVersion");
  return version.substr(0, version.find('/')).ends_with(".wick.dev");
}

bool is_made_by_others(const json::value& object) {
  for (const auto& owner : array_at(object, "/metadata/ownerReferences"))
    if (const auto* controller = find_at(owner, "/controller"); controller && *controller == true) return true;
  return false;
}

/// Keys in the order people write them, the rest by name: the same object is the same text.
json::value in_order(const json::value& value, bool top = false) {
  if (const auto* array = value.if_array()) {
    json::array ordered;
    for (const auto& element : *array) ordered.push_back(in_order(element));
    return ordered;
  }
  const auto* object = value.if_object();
  if (!object) return value;
  std::map<std::string, json::value> sorted;
  for (const auto& [key, member] : *object) sorted[std::string(key)] = in_order(member);
  json::object ordered;
  for (const std::string key : {"apiVersion", "kind", "metadata", "name", "namespace"})
    if (const auto found = sorted.find(key); found != sorted.end() && (top || key == "name")) {
      ordered[key] = std::move(found->second);
      sorted.erase(found);
    }
  for (auto& [key, member] : sorted) ordered[key] = std::move(member);
  return ordered;
}

json::value manifest_of(const json::value& stored) {
  auto object = stored.as_object();
  object.erase("status");
  auto& metadata = object["metadata"].as_object();
  for (const auto key : servers_metadata) metadata.erase(key);
  if (auto* annotations = metadata.if_contains("annotations"); annotations && annotations->is_object()) {
    auto& map = annotations->get_object();
    for (const auto key : servers_annotations) map.erase(key);
    // A cluster has brokers of its own classes.
    if (const auto* own = map.if_contains(model::names::broker_class); own && *own == "Wick")
      map.erase(model::names::broker_class);
    if (map.empty()) metadata.erase("annotations");
  }
  if (auto* labels = metadata.if_contains("labels"); labels && labels->is_object() && labels->get_object().empty())
    metadata.erase("labels");
  return in_order(object, true);
}

Outcome<std::vector<json::value>> list_kind(Session& session, const model::Kind& kind, const ExportOptions& options) {
  const auto api_version = kind.api_version();
  const auto prefix = fmt::format("/{}/{}", kind.group.empty() ? "api" : "apis", api_version);
  const bool everywhere = options.all_namespaces || !kind.namespaced;
  auto list = session.client.get(
      fmt::format("{}/{}{}", prefix, everywhere ? "" : fmt::format("namespaces/{}/", session.name_space), kind.plural));
  if (!list) return stop_with(std::move(list.error()));
  std::vector<json::value> objects;
  for (const auto& item : array_at(*list, "/items")) {
    auto object = item.as_object();
    object["apiVersion"] = api_version;
    object["kind"] = kind.kind;
    objects.emplace_back(std::move(object));
  }
  return objects;
}

/// Namespaces and what others refer to first; the order is that of applying.
std::vector<const model::Kind*> kinds_in_order() {
  std::vector<const model::Kind*> kinds;
  for (const bool namespaced : {false, true})
    for (const auto& kind : model::kinds())
      if (kind.stored && kind.namespaced == namespaced && !not_exported.contains(kind.kind)) kinds.push_back(&kind);
  return kinds;
}

}  // namespace

Outcome<void> export_manifests(Session& session, const ExportOptions& options) {
  json::array manifests;
  std::set<std::string> missing(options.names.begin(), options.names.end());
  std::size_t secrets_left_out = 0;
  for (const auto* kind : kinds_in_order()) {
    if (!options.names.empty() && kind != &model::service_kind()) continue;
    if (!kind->namespaced && !options.all_namespaces) continue;
    auto objects = list_kind(session, *kind, options);
    if (!objects) return stop_with(std::move(objects.error()));
    for (const auto& object : *objects) {
      const auto name = text_at(object, "/metadata/name");
      if (is_made_by_others(object)) continue;
      if (!options.names.empty() && std::ranges::find(options.names, name) == options.names.end()) continue;
      if (kind->kind == "Namespace" && name == "default") continue;
      if (kind->kind == "Secret" && !options.secrets) {
        ++secrets_left_out;
        continue;
      }
      missing.erase(name);
      manifests.push_back(manifest_of(object));
    }
  }
  if (!missing.empty())
    return stop_with({.exit = ExitCode::not_found,
                      .what = fmt::format("there is no service {}", *missing.begin()),
                      .slug = "E_NOT_FOUND",
                      .because = fmt::format("the namespace {} has none of that name", session.name_space),
                      .last_output = {},
                      .notes = {},
                      .hint = "wick ps lists the services"});
  if (secrets_left_out > 0)
    session.terminal.say(fmt::format("{} Secret{} left out. hint: --secrets prints them, values and all",
                                     secrets_left_out, secrets_left_out == 1 ? "" : "s"));
  std::set<std::string> own;
  for (const auto& manifest : manifests)
    if (is_wicks_own(manifest)) own.insert(text_at(manifest, "/kind"));
  for (const auto& kind : own)
    session.terminal.say(
        fmt::format("a Knative cluster has no {}: it is a kind of Wick's own, and is refused there", kind));
  if (session.json) {
    print_document(session, json::object{{"apiVersion", "v1"}, {"kind", "List"}, {"items", std::move(manifests)}});
    return {};
  }
  for (std::size_t i = 0; i < manifests.size(); ++i) {
    const std::string comment = is_wicks_own(manifests[i]) ? "# Wick's own: a Knative cluster has no such kind.\n" : "";
    session.terminal.result_bytes((i == 0 ? "" : "---\n") + comment + to_yaml(manifests[i]));
  }
  return {};
}

}  // namespace wick::app::cli
