#include "control/previews.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <set>

#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/model/admission.hpp"

namespace wick::control {

namespace {

std::string preview_tag_in(const json::object& configuration) {
  return model::text_at(configuration, {"metadata", "labels", model::names::preview});
}

std::string preview_branch_in(const json::object& configuration) {
  return model::text_at(configuration, {"metadata", "annotations", model::names::preview_branch});
}

std::set<std::string> own_tags(const json::object& service) {
  std::set<std::string> tags;
  model::FieldErrors ignored;
  for (const auto& target : model::decode_service(service, ignored).traffic)
    if (!target.tag.empty()) tags.insert(target.tag);
  return tags;
}

/// The plain tag, or the longer one where that is another's: of a branch, of the Service's own traffic, or a Service
/// whose host it would be.
std::string free_tag(const store::Objects& objects, const json::object& service, const std::string& branch) {
  const auto name = name_of(service), name_space = namespace_of(service);
  auto tag = model::preview_tag(branch, name, false);
  const auto previews = previews_of(objects, name_space, name);
  const bool is_taken =
      std::ranges::any_of(previews, [&](const auto& other) { return preview_tag_in(*other) == tag; }) ||
      own_tags(service).contains(tag) ||
      objects.find(key_of(model::route_kind(), name_space, tag + "-" + name)) != nullptr ||
      objects.find(key_of(model::configuration_kind(), name_space, model::preview_configuration(name, tag))) != nullptr;
  return is_taken ? model::preview_tag(branch, name, true) : tag;
}

/// The list of before with the new one at its end; what is set anew stands once.
json::array merged_env(const std::string& before, const std::vector<std::string>& changes) {
  const auto variable = [](std::string_view change) {
    const auto equals = change.find('=');
    return std::string(change.substr(0, equals == change.npos ? change.size() - 1 : equals));
  };
  std::set<std::string> renewed;
  for (const auto& change : changes) renewed.insert(variable(change));
  json::array merged;
  boost::system::error_code wrong;
  if (const auto old = json::parse(before, wrong); !wrong && old.is_array())
    for (const auto& change : old.get_array())
      if (change.is_string() && !renewed.contains(variable(change.get_string()))) merged.push_back(change);
  for (const auto& change : changes) merged.emplace_back(change);
  return merged;
}

json::object template_of(const json::object& service) {
  auto copy = service.at("spec").as_object().at("template").as_object();
  auto* metadata = copy.if_contains("metadata");
  if (!metadata || !metadata->is_object()) return copy;
  metadata->get_object().erase("name");
  if (auto* annotations = metadata->get_object().if_contains("annotations"); annotations && annotations->is_object())
    for (const auto kept_instances : {"autoscaling.knative.dev/min-scale", "autoscaling.knative.dev/minScale"})
      annotations->get_object().erase(kept_instances);
  return copy;
}

}  // namespace

std::vector<ObjectValue> previews_of(const store::Objects& objects, const std::string& name_space,
                                     const std::string& service) {
  std::vector<ObjectValue> previews;
  for (auto& configuration : objects.list(model::configuration_kind().resource(), name_space))
    if (!preview_tag_in(*configuration).empty() &&
        labels_of(*configuration)[std::string(model::names::service)] == service)
      previews.push_back(std::move(configuration));
  std::ranges::sort(previews, {}, [](const ObjectValue& preview) { return preview_tag_in(*preview); });
  return previews;
}

ObjectValue preview_of_branch(const store::Objects& objects, const std::string& name_space, const std::string& service,
                              const std::string& branch) {
  for (auto& preview : previews_of(objects, name_space, service))
    if (preview_branch_in(*preview) == branch) return std::move(preview);
  return nullptr;
}

Result<void> check_preview(const store::Objects& objects, const std::string& name_space, const std::string& service,
                           const std::string& branch) {
  if (!objects.find(key_of(model::service_kind(), name_space, service)))
    return fail(Errc::not_found, fmt::format("there is no service {} for a preview of {}", service, branch),
                "deploy the service first: what a preview is of stands there");
  if (model::preview_tag(branch, service, false).empty())
    return fail(Errc::invalid, fmt::format("the name {} is too long for previews", service),
                "the names of a preview have the service's in them: 40 bytes at most");
  const auto previews = previews_of(objects, name_space, service);
  if (previews.size() < previews_per_service_max) return {};
  if (std::ranges::any_of(previews, [&](const auto& one) { return preview_branch_in(*one) == branch; })) return {};
  return fail(Errc::too_large,
              fmt::format("{} has {} previews, and no more are taken", service, previews_per_service_max),
              fmt::format("wick preview ls {} lists them, wick preview rm {} BRANCH removes one", service, service));
}

namespace {

/// Builds of this branch that have not ended: nothing shall come of them.
awaitable<void> cancel_builds(store::Objects& objects, std::string name_space, std::string service,
                              std::string branch) {
  for (const auto& run : objects.list(model::build_run_kind().resource(), name_space)) {
    if (model::find_condition(*run, "Succeeded").status != model::Truth::unknown) continue;
    const auto order =
        model::parse_preview_order(model::text_at(*run, {"metadata", "annotations", model::names::preview}));
    if (!order || order->service != service || order->branch != branch) continue;
    auto cancelled = *run;
    model::object_at(cancelled, {"spec"})["state"] = "BuildRunCanceled";
    auto written = co_await objects.update(key_of(model::build_run_kind(), *run), std::move(cancelled));
    if (!written && written.error().code() != Errc::not_found)
      log::warn("a build goes on", {{"run", name_of(*run)}, {"error", written.error().what()}});
  }
}

}  // namespace

awaitable<std::string> remove_preview(store::Objects& objects, std::string name_space, std::string service,
                                      std::string branch) {
  co_await cancel_builds(objects, name_space, service, branch);
  const auto preview = preview_of_branch(objects, name_space, service, branch);
  if (!preview) co_return std::string();
  auto key = key_of(model::configuration_kind(), *preview);
  co_await objects.remove(std::move(key));
  co_return preview_tag_in(*preview);
}

awaitable<Result<ObjectValue>> apply_preview(World& world, std::string name_space, model::PreviewOrder order,
                                             std::string image, std::string commit) {
  auto fits = check_preview(world.objects(), name_space, order.service, order.branch);
  if (!fits) co_return fail(std::move(fits.error()));
  const auto service = world.objects().find(key_of(model::service_kind(), name_space, order.service));
  const auto before = preview_of_branch(world.objects(), name_space, order.service, order.branch);
  const auto tag = before ? preview_tag_in(*before) : free_tag(world.objects(), *service, order.branch);
  const auto env = merged_env(
      before ? model::text_at(*before, {"metadata", "annotations", model::names::preview_env}) : std::string(),
      order.env);
  if (env.size() > model::preview_env_max)
    co_return fail(Errc::too_large, fmt::format("a preview changes at most {} variables", model::preview_env_max));

  json::object labels{{model::names::service, order.service},
                      {model::names::service_uid, uid_of(*service)},
                      {model::names::preview, tag}};
  json::object annotations{{model::names::preview_branch, order.branch}, {model::names::routes, order.service}};
  if (!env.empty()) annotations[model::names::preview_env] = json::serialize(env);
  if (!commit.empty()) annotations["wick.dev/source-commit"] = commit;
  if (const auto creator = model::text_at(*service, {"metadata", "annotations", model::names::creator});
      !creator.empty())
    annotations[model::names::creator] = creator;
  auto key = key_of(model::configuration_kind(), name_space, model::preview_configuration(order.service, tag));
  json::object configuration{
      {"metadata",
       {{"name", key.name},
        {"namespace", name_space},
        {"labels", std::move(labels)},
        {"annotations", std::move(annotations)},
        {"ownerReferences", json::array{model::owner_reference(model::service_kind(), *service)}}}},
      {"spec", {{"template", template_of(*service)}}}};
  model::set_first_image(configuration, image);
  std::vector<std::string> changes;
  for (const auto& change : env) changes.emplace_back(change.get_string());
  model::change_environment(configuration, changes);
  auto made = co_await ensure_child(world, model::configuration_kind(), std::move(key), std::move(configuration),
                                    {model::names::id_range});
  co_return made;
}

std::vector<model::TrafficTarget> preview_targets(World& world, const json::object& service) {
  std::vector<model::TrafficTarget> targets;
  for (const auto& child : world.objects().find_by(world.indexes.by_controller, uid_of(service))) {
    const auto tag = preview_tag_in(*child);
    if (tag.empty() || model::text_at(*child, {"kind"}) != model::configuration_kind().kind ||
        model::text_at(*child, {"status", "latestReadyRevisionName"}).empty())
      continue;
    model::TrafficTarget target;
    target.configuration = name_of(*child);
    target.tag = tag;
    target.latest = true;
    target.percent = 0;
    targets.push_back(std::move(target));
  }
  if (targets.empty()) return targets;
  std::erase_if(targets, [taken = own_tags(service)](const auto& target) { return taken.contains(target.tag); });
  std::ranges::sort(targets, {}, &model::TrafficTarget::tag);
  return targets;
}

}  // namespace wick::control
