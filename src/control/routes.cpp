#include "control/routes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "wick/base/text.hpp"
#include "wick/model/condition.hpp"
#include "wick/model/object_reader.hpp"
#include "wick/model/resource.hpp"

namespace wick::control {

namespace {

namespace json = boost::json;

bool is_cluster_local(const json::object& route) {
  return model::text_at(route, {"metadata", "labels", model::names::visibility}) == "cluster-local";
}

std::vector<std::string> hosts_of(const json::object& route, const std::string& domain, const std::string& tag) {
  auto hosts = inside_hosts(route, tag);
  for (auto& host : outside_hosts(route, domain, tag)) hosts.push_back(std::move(host));
  return hosts;
}

/// Entries of one revision add up; those without a percentage are for their tags only.
std::vector<serving::RouteTarget> split_of(const json::array& traffic, const std::string& name_space) {
  std::vector<serving::RouteTarget> targets;
  for (const auto& element : traffic) {
    const auto& entry = element.as_object();
    const auto percent = static_cast<int>(model::integer_at(entry, {"percent"}));
    if (percent <= 0) continue;
    const serving::RevisionKey revision{name_space, model::text_at(entry, {"revisionName"})};
    bool merged = false;
    for (auto& target : targets)
      if (target.revision == revision) {
        target.percent += percent;
        merged = true;
      }
    if (!merged) targets.push_back({.revision = revision, .percent = percent, .tag = {}});
  }
  return targets;
}

/// What each tag's own host splits between: one revision, or several while a rollout is under way.
std::map<std::string, std::vector<serving::RouteTarget>> tagged_of(const json::array& traffic,
                                                                   const std::string& name_space) {
  std::map<std::string, std::vector<serving::RouteTarget>> tags;
  for (const auto& element : traffic) {
    const auto& entry = element.as_object();
    auto tag = model::text_at(entry, {"tag"});
    if (tag.empty()) continue;
    const auto percent = static_cast<int>(model::integer_at(entry, {"percent"}));
    tags[tag].push_back(
        {.revision = {name_space, model::text_at(entry, {"revisionName"})}, .percent = percent, .tag = tag});
  }
  for (auto& [tag, targets] : tags)
    if (targets.size() == 1) targets.front().percent = 100;
  return tags;
}

}  // namespace

std::vector<std::string> inside_hosts(const json::object& route, const std::string& tag) {
  const auto name_space = model::text_at(route, {"metadata", "namespace"});
  const auto name = (tag.empty() ? "" : tag + "-") + model::text_at(route, {"metadata", "name"});
  return {fmt::format("{}.{}.svc.cluster.local", name, name_space), fmt::format("{}.{}.svc", name, name_space),
          fmt::format("{}.{}", name, name_space)};
}

std::vector<std::string> outside_hosts(const json::object& route, const std::string& domain, const std::string& tag) {
  if (is_cluster_local(route)) return {};
  const auto name_space = model::text_at(route, {"metadata", "namespace"});
  const auto name = (tag.empty() ? "" : tag + "-") + model::text_at(route, {"metadata", "name"});
  std::vector<std::string> hosts{to_lower(fmt::format("{}.{}.{}", name, name_space, domain))};
  if (name_space == "default") hosts.push_back(name + ".localhost");
  return hosts;
}

std::vector<std::string> tags_of(const json::object& route) {
  std::vector<std::string> tags{""};
  const auto* traffic = model::find_value(route, {"status", "traffic"});
  if (!traffic || !traffic->is_array()) return tags;
  for (const auto& target : traffic->get_array())
    if (auto tag = model::text_at(target.as_object(), {"tag"}); !tag.empty()) tags.push_back(std::move(tag));
  return tags;
}

std::vector<std::string> outside_hosts_of_all(const json::object& route, const std::string& domain) {
  std::vector<std::string> hosts;
  for (const auto& tag : tags_of(route))
    for (auto& host : outside_hosts(route, domain, tag)) hosts.push_back(std::move(host));
  return hosts;
}

std::string local_url(const std::string& name_space, const std::string& name) {
  return fmt::format("http://{}.{}.svc.cluster.local", name, name_space);
}

std::string url_of(const json::object& route, const std::string& domain, const std::string& tag) {
  const auto name_space = model::text_at(route, {"metadata", "namespace"});
  const auto name = (tag.empty() ? "" : tag + "-") + model::text_at(route, {"metadata", "name"});
  return is_cluster_local(route) ? local_url(name_space, name)
                                 : fmt::format("http://{}.{}.{}", name, name_space, domain);
}

std::vector<serving::RouteChange> entries_of_route(const json::object& route, const std::string& domain) {
  std::vector<serving::RouteChange> entries;
  const auto* traffic = model::find_value(route, {"status", "traffic"});
  if (!traffic || !traffic->is_array()) return entries;
  const auto name_space = model::text_at(route, {"metadata", "namespace"});
  const serving::Route base{.name_space = name_space, .service = model::text_at(route, {"metadata", "name"})};
  const auto add = [&](serving::Route entry) {
    const auto shared = std::make_shared<const serving::Route>(std::move(entry));
    for (auto& host : hosts_of(route, domain, shared->tag)) entries.push_back({std::move(host), shared});
  };
  auto main = base;
  main.targets = split_of(traffic->get_array(), name_space);
  for (auto& [tag, targets] : tagged_of(traffic->get_array(), name_space)) {
    // A request that asks by field gets one revision: the one with most of the tag.
    main.tagged.push_back(*std::ranges::max_element(targets, {}, &serving::RouteTarget::percent));
    auto own = base;
    own.tag = tag;
    own.targets = std::move(targets);
    add(std::move(own));
  }
  if (!main.targets.empty()) add(std::move(main));
  return entries;
}

std::string host_of_mapping(const json::object& mapping) {
  for (const auto condition : {"DomainClaimed", "ReferenceResolved"})
    if (model::find_condition(mapping, condition).status != model::Truth::yes) return {};
  return model::text_at(mapping, {"metadata", "name"});
}

std::string target_of_mapping(const json::object& mapping) {
  const auto at = [&](std::string_view key) { return model::text_at(mapping, {"spec", "ref", key}); };
  auto name_space = at("namespace");
  if (name_space.empty()) name_space = model::text_at(mapping, {"metadata", "namespace"});
  return fmt::format("{}.{}.svc.cluster.local", at("name"), name_space);
}

}  // namespace wick::control
