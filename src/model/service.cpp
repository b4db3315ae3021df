#include "wick/model/service.hpp"

#include <fmt/format.h>

#include <map>

#include "model/template_annotations.hpp"
#include "wick/base/text.hpp"
#include "wick/model/resource.hpp"

namespace wick::model {

namespace {

constexpr std::size_t targets_max = 100;

void check_latest(const TrafficTarget& target, std::optional<bool> latest, ObjectReader& reader) {
  if (latest && *latest != target.revision.empty())
    reader.errors().add(
        fmt::format("may not set revisionName \"{}\" when latestRevision is {}", target.revision, *latest),
        {reader.path("latestRevision")});
}

TrafficTarget decode_target(ObjectReader reader, TrafficOwner owner) {
  auto& errors = reader.errors();
  TrafficTarget target{.configuration = reader.text("configurationName"),
                       .revision = reader.text("revisionName"),
                       .tag = reader.text("tag")};
  const auto latest = reader.boolean("latestRevision");
  target.latest = latest.value_or(target.revision.empty());
  check_latest(target, latest, reader);
  const auto both = [&] { return std::vector{reader.path("configurationName"), reader.path("revisionName")}; };
  if (owner == TrafficOwner::service) {
    if (!target.configuration.empty()) errors.not_allowed(reader.path("configurationName"));
  } else if (!target.configuration.empty() && !target.revision.empty()) {
    errors.add("expected exactly one, got both", both());
  } else if (target.configuration.empty() && target.revision.empty()) {
    errors.add("expected exactly one, got neither", both());
  }
  for (const auto& [name, key] :
       {std::pair{&target.revision, "revisionName"}, {&target.configuration, "configurationName"}})
    if (!name->empty() && !is_dns_subdomain(*name)) errors.invalid_key(printable(*name), reader.path(key));
  const auto percent = reader.integer("percent").value_or(0);
  if (percent < 0 || percent > 100) errors.out_of_bounds(std::to_string(percent), "0", "100", reader.path("percent"));
  target.percent = static_cast<int>(std::clamp<std::int64_t>(percent, -1'000'000, 1'000'000));
  if (reader.has("url")) errors.not_allowed(reader.path("url"));
  reader.refuse_rest();
  return target;
}

void check_creation_names(const Metadata& metadata, FieldErrors& errors) {
  check_name_dns1035(metadata, errors);
  refuse_autoscaling(metadata.annotations, errors);
  check_networking_annotations(metadata.annotations, "metadata.annotations", errors);
}

void check_visibility(const Metadata& metadata, FieldErrors& errors) {
  const auto label = metadata.labels.find(std::string(names::visibility));
  if (label != metadata.labels.end() && label->second != "cluster-local")
    errors.invalid_value(printable(label->second), field_path("metadata.labels", names::visibility));
}

void check_rollout(const Metadata& metadata, FieldErrors& errors) {
  const auto text = metadata.annotation(names::rollout_duration);
  if (text.empty()) return;
  const auto duration = parse_go_duration(text);
  if (!duration)
    errors.invalid_value(printable(text), field_path("metadata.annotations", names::rollout_duration));
  else if (duration->count() % 1000 != 0)
    errors.add(fmt::format("rolloutDuration={} is not at second precision", printable(text)),
               {field_path("metadata.annotations", names::rollout_duration)});
}

}  // namespace

json::object TrafficTarget::to_json() const {
  json::object object;
  if (!configuration.empty()) object["configurationName"] = configuration;
  if (!revision.empty()) object["revisionName"] = revision;
  object["latestRevision"] = latest;
  object["percent"] = percent;
  if (!tag.empty()) object["tag"] = tag;
  return object;
}

std::vector<TrafficTarget> decode_traffic(ObjectReader& spec, TrafficOwner owner) {
  auto& errors = spec.errors();
  std::vector<TrafficTarget> targets;
  std::map<std::string, std::size_t> tags;
  auto readers = spec.objects("traffic");
  if (readers.size() > targets_max)
    errors.add(fmt::format("{} traffic targets, at most {}", readers.size(), targets_max), {spec.path("traffic")});
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < readers.size(); ++i) {
    auto target = decode_target(readers[i], owner);
    sum += target.percent;
    if (!target.tag.empty()) {
      if (const auto complaint = dns1035_complaint(target.tag); !complaint.empty())
        errors.invalid_value(fmt::format("not a DNS 1035 label: [{}]", complaint), readers[i].path("tag"));
      if (const auto [first, fresh] = tags.emplace(target.tag, i); !fresh)
        errors.add(fmt::format("Multiple definitions for \"{}\"", target.tag),
                   {readers[first->second].path("tag"), readers[i].path("tag")});
    }
    targets.push_back(std::move(target));
  }
  if (sum != 100) errors.add(fmt::format("Traffic targets sum to {}, want 100", sum), {spec.path("traffic")});
  return targets;
}

Configuration decode_configuration(const json::object& object, FieldErrors& errors) {
  ObjectReader root(object, errors);
  Configuration configuration{.metadata = decode_metadata(root.object("metadata"))};
  check_creation_names(configuration.metadata, errors);
  auto spec = root.object("spec");
  configuration.revision = decode_revision_template(spec.object("template"), configuration.metadata);
  spec.refuse_rest();
  return configuration;
}

Route decode_route(const json::object& object, FieldErrors& errors) {
  ObjectReader root(object, errors);
  Route route{.metadata = decode_metadata(root.object("metadata"))};
  check_creation_names(route.metadata, errors);
  check_visibility(route.metadata, errors);
  check_rollout(route.metadata, errors);
  auto spec = root.object("spec");
  route.traffic = decode_traffic(spec, TrafficOwner::route);
  spec.refuse_rest();
  return route;
}

Service decode_service(const json::object& object, FieldErrors& errors) {
  ObjectReader root(object, errors);
  Service service{.metadata = decode_metadata(root.object("metadata"))};
  check_creation_names(service.metadata, errors);
  check_visibility(service.metadata, errors);
  check_rollout(service.metadata, errors);
  auto spec = root.object("spec");
  service.revision = decode_revision_template(spec.object("template"), service.metadata);
  service.traffic = decode_traffic(spec, TrafficOwner::service);
  spec.refuse_rest();
  return service;
}

void default_traffic(json::object& spec, TrafficOwner owner, std::string_view name) {
  auto& value = spec["traffic"];
  if (value.is_null() || (value.is_array() && value.get_array().empty())) {
    json::object whole{{"latestRevision", true}, {"percent", 100}};
    if (owner == TrafficOwner::route) whole["configurationName"] = name;
    value = json::array{std::move(whole)};
    return;
  }
  auto* targets = value.if_array();
  if (!targets) return;
  for (auto& element : *targets) {
    auto* target = element.if_object();
    if (!target) continue;
    auto& latest = (*target)["latestRevision"];
    if (latest.is_null()) latest = text_at(*target, {"revisionName"}).empty();
    auto& percent = (*target)["percent"];
    if (percent.is_null()) percent = 0;
  }
}

}  // namespace wick::model
