#include "api/discovery.hpp"

#include <algorithm>
#include <boost/json/array.hpp>
#include <map>

#include "wick/base/text.hpp"

namespace wick::api {

namespace json = boost::json;

namespace {

json::array texts(const std::vector<std::string_view>& values) {
  json::array array;
  for (const auto value : values) array.emplace_back(value);
  return array;
}

/// Versions of a group, those that are stored (and so preferred) first.
std::vector<std::string> versions_of(const std::vector<Served>& kinds, std::string_view group) {
  std::vector<std::string> versions;
  for (const bool stored : {true, false})
    for (const auto& served : kinds)
      if (served.kind->group == group && served.kind->stored == stored &&
          std::ranges::find(versions, served.kind->version) == versions.end())
        versions.emplace_back(served.kind->version);
  return versions;
}

json::object group(const std::vector<Served>& kinds, const std::string& name) {
  json::array list;
  for (const auto& version : versions_of(kinds, name))
    list.push_back({{"groupVersion", name + "/" + version}, {"version", version}});
  const auto preferred = list.front();
  return {{"name", name}, {"versions", std::move(list)}, {"preferredVersion", preferred}};
}

/// In the table's order, which is the order kubectl looks short names up in: the core group aside, serving is first.
std::vector<std::string> groups(const std::vector<Served>& kinds) {
  std::vector<std::string> names;
  for (const auto& served : kinds)
    if (!served.kind->group.empty() && std::ranges::find(names, served.kind->group) == names.end())
      names.emplace_back(served.kind->group);
  return names;
}

json::array verbs_of(const Served& served) {
  if (!served.writable) return texts({"get", "list", "watch"});
  auto verbs = texts({"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"});
  if (served.kind == &model::revision_kind()) verbs.erase(verbs.begin());
  return verbs;
}

std::vector<std::string_view> subresources_of(const Served& served) {
  auto names = served.subresources;
  if (served.kind->has_status && served.writable) names.emplace_back("status");
  return names;
}

json::array verbs_of_subresource(std::string_view name) {
  if (name == "exec") return texts({"create", "get"});
  return name == "status" ? texts({"get", "patch", "update"}) : texts({"get"});
}

std::string_view kind_of_subresource(const model::Kind& kind, std::string_view name) {
  return name == "exec" ? "PodExecOptions" : std::string_view(kind.kind);
}

json::object resource(const Served& served) {
  const auto& kind = *served.kind;
  json::object object{{"name", kind.plural},
                      {"singularName", kind.singular},
                      {"namespaced", kind.namespaced},
                      {"kind", kind.kind},
                      {"verbs", verbs_of(served)}};
  if (!kind.short_names.empty()) object["shortNames"] = texts(kind.short_names);
  if (!kind.categories.empty()) object["categories"] = texts(kind.categories);
  return object;
}

std::optional<json::object> resource_list(const std::vector<Served>& kinds, const std::string& group_name,
                                          const std::string& version) {
  json::array resources;
  for (const auto& served : kinds) {
    const auto& kind = *served.kind;
    if (kind.group != group_name || kind.version != version) continue;
    resources.push_back(resource(served));
    for (const auto name : subresources_of(served))
      resources.push_back(json::object{{"name", std::string(kind.plural) + "/" + std::string(name)},
                                       {"singularName", ""},
                                       {"namespaced", kind.namespaced},
                                       {"kind", kind_of_subresource(kind, name)},
                                       {"verbs", verbs_of_subresource(name)}});
  }
  if (resources.empty()) return std::nullopt;
  return json::object{{"kind", "APIResourceList"},
                      {"apiVersion", "v1"},
                      {"groupVersion", group_name.empty() ? version : group_name + "/" + version},
                      {"resources", std::move(resources)}};
}

json::object aggregated_resource(const Served& served) {
  const auto& kind = *served.kind;
  const auto response = [&](std::string_view name) {
    return json::object{{"group", kind.group}, {"version", kind.version}, {"kind", name}};
  };
  json::object object{{"resource", kind.plural},
                      {"responseKind", response(kind.kind)},
                      {"scope", kind.namespaced ? "Namespaced" : "Cluster"},
                      {"singularResource", kind.singular},
                      {"verbs", verbs_of(served)}};
  if (!kind.short_names.empty()) object["shortNames"] = texts(kind.short_names);
  if (!kind.categories.empty()) object["categories"] = texts(kind.categories);
  json::array subresources;
  for (const auto name : subresources_of(served))
    subresources.push_back({{"subresource", name},
                            {"responseKind", response(kind_of_subresource(kind, name))},
                            {"verbs", verbs_of_subresource(name)}});
  if (!subresources.empty()) object["subresources"] = std::move(subresources);
  return object;
}

json::object aggregated_group(const std::vector<Served>& kinds, const std::string& name) {
  json::array versions;
  for (const auto& version : versions_of(kinds, name)) {
    json::array resources;
    for (const auto& served : kinds)
      if (served.kind->group == name && served.kind->version == version)
        resources.push_back(aggregated_resource(served));
    versions.push_back({{"version", version}, {"freshness", "Current"}, {"resources", std::move(resources)}});
  }
  json::object metadata{{"creationTimestamp", nullptr}};
  if (!name.empty()) metadata["name"] = name;
  return {{"metadata", std::move(metadata)}, {"versions", std::move(versions)}};
}

}  // namespace

std::optional<json::object> discovery(const std::vector<Served>& kinds, const std::vector<std::string>& segments) {
  if (segments.empty()) return std::nullopt;
  if (segments[0] == "api") {
    if (segments.size() == 1)
      return json::object{{"kind", "APIVersions"}, {"versions", {"v1"}}, {"serverAddressByClientCIDRs", json::array()}};
    if (segments.size() == 2) return resource_list(kinds, "", segments[1]);
    return std::nullopt;
  }
  if (segments[0] != "apis") return std::nullopt;
  const auto all = groups(kinds);
  if (segments.size() == 1) {
    json::array list;
    for (const auto& name : all) list.push_back(group(kinds, name));
    return json::object{{"kind", "APIGroupList"}, {"apiVersion", "v1"}, {"groups", std::move(list)}};
  }
  if (std::ranges::find(all, segments[1]) == all.end()) return std::nullopt;
  if (segments.size() == 2) {
    auto document = group(kinds, segments[1]);
    document["kind"] = "APIGroup";
    document["apiVersion"] = "v1";
    return document;
  }
  if (segments.size() == 3) return resource_list(kinds, segments[1], segments[2]);
  return std::nullopt;
}

json::object aggregated_discovery(const std::vector<Served>& kinds, bool core, std::string_view version) {
  json::array items;
  if (core)
    items.push_back(aggregated_group(kinds, ""));
  else
    for (const auto& name : groups(kinds)) items.push_back(aggregated_group(kinds, name));
  return {{"kind", "APIGroupDiscoveryList"},
          {"apiVersion", "apidiscovery.k8s.io/" + std::string(version)},
          {"metadata", json::object()},
          {"items", std::move(items)}};
}

std::string_view aggregated_version(std::string_view accept) {
  for (const auto range : split(accept, ',')) {
    const bool aggregated = range.find("as=APIGroupDiscoveryList") != range.npos;
    if (aggregated && range.find("v=v2beta1") != range.npos) return "v2beta1";
    if (aggregated && range.find("v=v2") != range.npos) return "v2";
    if (!aggregated) return {};
  }
  return {};
}

json::object version_document(const std::string& version) {
  return {{"major", "1"},    {"minor", "32"},           {"gitVersion", "v1.32.0+wick." + version},
          {"gitCommit", ""}, {"gitTreeState", "clean"}, {"buildDate", "1970-01-01T00:00:00Z"},
          {"goVersion", ""}, {"compiler", ""},          {"platform", "linux/amd64"}};
}

}  // namespace wick::api
