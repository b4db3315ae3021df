#include "api/discovery.hpp"

#include <boost/json/array.hpp>
#include <map>
#include <set>

#include "wick/model/resource.hpp"

namespace wick::api {

namespace json = boost::json;

namespace {

json::array texts(const std::vector<std::string_view>& values) {
  json::array array;
  for (const auto value : values) array.emplace_back(value);
  return array;
}

json::object group(const std::string& name, const std::set<std::string>& versions) {
  json::array list;
  for (const auto& version : versions) list.push_back({{"groupVersion", name + "/" + version}, {"version", version}});
  const auto preferred = list.front();
  return {{"name", name}, {"versions", std::move(list)}, {"preferredVersion", preferred}};
}

std::map<std::string, std::set<std::string>> groups() {
  std::map<std::string, std::set<std::string>> all;
  for (const auto& kind : model::kinds())
    if (!kind.group.empty()) all[std::string(kind.group)].emplace(kind.version);
  return all;
}

json::object resource(const model::Kind& kind) {
  json::array verbs;
  for (const auto verb : {"create", "delete", "get", "list", "patch", "update", "watch"})
    if (&kind != &model::revision_kind() || std::string_view(verb) != "create") verbs.emplace_back(verb);
  json::object object{{"name", kind.plural},
                      {"singularName", kind.singular},
                      {"namespaced", kind.namespaced},
                      {"kind", kind.kind},
                      {"verbs", std::move(verbs)}};
  if (!kind.short_names.empty()) object["shortNames"] = texts(kind.short_names);
  if (!kind.categories.empty()) object["categories"] = texts(kind.categories);
  return object;
}

std::optional<json::object> resource_list(const std::string& group_name, const std::string& version) {
  json::array resources;
  for (const auto& kind : model::kinds()) {
    if (kind.group != group_name || kind.version != version) continue;
    resources.push_back(resource(kind));
    if (kind.has_status)
      resources.push_back(json::object{{"name", std::string(kind.plural) + "/status"},
                                       {"singularName", ""},
                                       {"namespaced", kind.namespaced},
                                       {"kind", kind.kind},
                                       {"verbs", json::array{"get"}}});
  }
  if (resources.empty()) return std::nullopt;
  return json::object{{"kind", "APIResourceList"},
                      {"apiVersion", "v1"},
                      {"groupVersion", group_name.empty() ? version : group_name + "/" + version},
                      {"resources", std::move(resources)}};
}

}  // namespace

std::optional<json::object> discovery(const std::vector<std::string>& segments) {
  if (segments.empty()) return std::nullopt;
  if (segments[0] == "api") {
    if (segments.size() == 1)
      return json::object{{"kind", "APIVersions"}, {"versions", {"v1"}}, {"serverAddressByClientCIDRs", json::array()}};
    if (segments.size() == 2) return resource_list("", segments[1]);
    return std::nullopt;
  }
  if (segments[0] != "apis") return std::nullopt;
  const auto all = groups();
  if (segments.size() == 1) {
    json::array list;
    for (const auto& [name, versions] : all) list.push_back(group(name, versions));
    return json::object{{"kind", "APIGroupList"}, {"apiVersion", "v1"}, {"groups", std::move(list)}};
  }
  const auto found = all.find(segments[1]);
  if (found == all.end()) return std::nullopt;
  if (segments.size() == 2) {
    auto document = group(found->first, found->second);
    document["kind"] = "APIGroup";
    document["apiVersion"] = "v1";
    return document;
  }
  if (segments.size() == 3) return resource_list(segments[1], segments[2]);
  return std::nullopt;
}

json::object version_document(const std::string& version) {
  return {{"major", "1"}, {"minor", "30"}, {"gitVersion", "v1.30.0+wick." + version}, {"platform", "linux/amd64"}};
}

}  // namespace wick::api
