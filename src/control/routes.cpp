#include "control/routes.hpp"

#include <fmt/format.h>

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
  const auto name_space = model::text_at(route, {"metadata", "namespace"});
  const auto name = (tag.empty() ? "" : tag + "-") + model::text_at(route, {"metadata", "name"});
  std::vector<std::string> hosts{fmt::format("{}.{}.svc.cluster.local", name, name_space),
                                 fmt::format("{}.{}.svc", name, name_space), fmt::format("{}.{}", name, name_space)};
  if (is_cluster_local(route)) return hosts;
  hosts.push_back(to_lower(fmt::format("{}.{}.{}", name, name_space, domain)));
  if (name_space == "default") hosts.push_back(name + ".localhost");
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

/// Its name answers as the local name of what it refers to does.
void add_mapping(serving::RouteTable& table, const json::object& mapping, std::vector<std::string>* conflicts) {
  for (const auto condition : {"DomainClaimed", "ReferenceResolved"})
    if (model::find_condition(mapping, condition).status != model::Truth::yes) return;
  const auto at = [&](std::string_view key) { return model::text_at(mapping, {"spec", "ref", key}); };
  auto name_space = at("namespace");
  if (name_space.empty()) name_space = model::text_at(mapping, {"metadata", "namespace"});
  const auto* target = table.match(fmt::format("{}.{}.svc.cluster.local", at("name"), name_space));
  if (!target) return;
  auto entry = *target;
  auto host = model::text_at(mapping, {"metadata", "name"});
  if (!table.add(host, std::move(entry)) && conflicts) conflicts->push_back(std::move(host));
}

}  // namespace

std::string local_url(const std::string& name_space, const std::string& name) {
  return fmt::format("http://{}.{}.svc.cluster.local", name, name_space);
}

std::string url_of(const json::object& route, const std::string& domain, const std::string& tag) {
  const auto name_space = model::text_at(route, {"metadata", "namespace"});
  const auto name = (tag.empty() ? "" : tag + "-") + model::text_at(route, {"metadata", "name"});
  return is_cluster_local(route) ? local_url(name_space, name)
                                 : fmt::format("http://{}.{}.{}", name, name_space, domain);
}

std::shared_ptr<const serving::RouteTable> make_route_table(const std::vector<store::ObjectValue>& routes,
                                                            const std::string& domain,
                                                            std::vector<std::string>* conflicts,
                                                            const std::vector<store::ObjectValue>& mappings) {
  auto table = std::make_shared<serving::RouteTable>();
  for (const auto& route : routes) {
    const auto* traffic = model::find_value(*route, {"status", "traffic"});
    if (!traffic || !traffic->is_array()) continue;
    const auto name_space = model::text_at(*route, {"metadata", "namespace"});
    const serving::Route base{
        .name_space = name_space, .service = model::text_at(*route, {"metadata", "name"}), .targets = {}};
    const auto add = [&](const std::string& tag, std::vector<serving::RouteTarget> targets) {
      if (targets.empty()) return;
      auto entry = base;
      entry.targets = std::move(targets);
      for (auto& host : hosts_of(*route, domain, tag))
        if (!table->add(host, entry) && conflicts) conflicts->push_back(host);
    };
    add({}, split_of(traffic->get_array(), name_space));
    for (const auto& element : traffic->get_array()) {
      const auto& target = element.as_object();
      if (const auto tag = model::text_at(target, {"tag"}); !tag.empty())
        add(tag, {{.revision = {name_space, model::text_at(target, {"revisionName"})}, .percent = 100, .tag = tag}});
    }
  }
  for (const auto& mapping : mappings) add_mapping(*table, *mapping, conflicts);
  return table;
}

}  // namespace wick::control
