#include "app/cli/manifest.hpp"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <variant>

#include "wick/model/preview.hpp"

namespace wick::app::cli {

namespace {

json::object& object_in(json::object& parent, std::string_view key) {
  auto& value = parent[key];
  if (!value.is_object()) value = json::object();
  return value.get_object();
}

json::array& array_in(json::object& parent, std::string_view key) {
  auto& value = parent[key];
  if (!value.is_array()) value = json::array();
  return value.get_array();
}

Problem environment_problem(std::string_view change) {
  return usage_problem(fmt::format("--env '{}' is not NAME=VALUE", change), "--env WHO=moon sets, --env WHO- removes");
}

void remove_variable(json::array& env, std::string_view name) {
  for (auto entry = env.begin(); entry != env.end();)
    entry = text_at(*entry, "/name") == name ? env.erase(entry) : entry + 1;
}

Outcome<void> apply_environment(json::array& env, const std::vector<std::string>& changes) {
  for (const auto& change : changes) {
    const auto equals = change.find('=');
    const bool removes = equals == std::string::npos && change.ends_with('-');
    const std::string name = removes ? change.substr(0, change.size() - 1) : change.substr(0, equals);
    if (!model::is_environment_change(change)) return stop_with(environment_problem(change));
    if (removes) {
      remove_variable(env, name);
      continue;
    }
    json::object entry{{"name", name}, {"value", change.substr(equals + 1)}};
    bool replaced = false;
    for (auto& known : env)
      if (text_at(known, "/name") == name) {
        known = entry;
        replaced = true;
      }
    if (!replaced) env.emplace_back(std::move(entry));
  }
  return {};
}

/// Knative reads both spellings; one must go, or the old one could win.
void set_scale(json::object& annotations, std::string_view name, std::string_view old_name, std::string value) {
  annotations.erase(fmt::format("autoscaling.knative.dev/{}", old_name));
  annotations[fmt::format("autoscaling.knative.dev/{}", name)] = std::move(value);
}

/// Labels and annotations stay, the daemon's own among them: serving.knative.dev/creator may not change.
void keep_metadata(json::object& metadata, const json::value& existing) {
  for (const char* key : {"labels", "annotations"})
    if (const auto* map = find_at(existing, fmt::format("/metadata/{}", key)); map && map->is_object())
      metadata[key] = *map;
}

}  // namespace

Outcome<void> check_environment(const std::vector<std::string>& changes) {
  for (const auto& change : changes)
    if (!model::is_environment_change(change)) return stop_with(environment_problem(change));
  return {};
}

Outcome<json::object> service_manifest(std::string_view name, std::string_view name_space, std::string_view image,
                                       const ServiceSettings& settings, const json::value* existing) {
  json::object manifest{{"apiVersion", "serving.knative.dev/v1"},
                        {"kind", "Service"},
                        {"metadata", {{"name", name}, {"namespace", name_space}}}};
  if (existing) {
    keep_metadata(object_in(manifest, "metadata"), *existing);
    if (const auto* spec = find_at(*existing, "/spec"); spec && spec->is_object()) manifest["spec"] = *spec;
  }
  auto& revision = object_in(object_in(manifest, "spec"), "template");
  auto& metadata = object_in(revision, "metadata");
  metadata.erase("name");  // a fixed revision name can be used once
  auto& annotations = object_in(metadata, "annotations");
  if (settings.min_scale) set_scale(annotations, "min-scale", "minScale", std::to_string(*settings.min_scale));
  if (settings.max_scale) set_scale(annotations, "max-scale", "maxScale", std::to_string(*settings.max_scale));
  if (!settings.idle.empty()) annotations["autoscaling.knative.dev/window"] = settings.idle;
  if (!settings.start_limit.empty()) annotations["serving.knative.dev/progress-deadline"] = settings.start_limit;
  if (annotations.empty()) metadata.erase("annotations");
  if (metadata.empty()) revision.erase("metadata");

  auto& spec = object_in(revision, "spec");
  if (!settings.pull_secrets.empty()) {
    json::array secrets;
    for (const auto& secret : settings.pull_secrets) secrets.push_back(json::object{{"name", secret}});
    spec["imagePullSecrets"] = std::move(secrets);
  }
  if (settings.concurrency) spec["containerConcurrency"] = *settings.concurrency;
  auto& containers = array_in(spec, "containers");
  if (containers.empty()) containers.emplace_back(json::object());
  if (!containers[0].is_object()) containers[0] = json::object();
  auto& container = containers[0].get_object();
  container.erase("image");
  if (!image.empty()) container["image"] = image;
  if (!settings.env.empty()) {
    auto& env = array_in(container, "env");
    if (auto applied = apply_environment(env, settings.env); !applied) return stop_with(std::move(applied.error()));
    if (env.empty()) container.erase("env");
  }
  if (settings.port) container["ports"] = json::array{json::object{{"containerPort", *settings.port}}};
  if (!settings.memory.empty()) object_in(object_in(container, "resources"), "limits")["memory"] = settings.memory;
  if (!settings.cpu.empty()) object_in(object_in(container, "resources"), "limits")["cpu"] = settings.cpu;
  return manifest;
}

Outcome<json::object> build_run_manifest(std::string_view run_name, std::string_view name, std::string_view name_space,
                                         const std::variant<GitOrigin, UploadOrigin>& origin,
                                         const BuildSettings& settings, const json::object& deploy,
                                         std::string_view secrets_ticket, std::string_view preview) {
  json::object source, annotations;
  if (const auto* git = std::get_if<GitOrigin>(&origin)) {
    json::object where{{"url", git->url}};
    if (!git->ref.empty()) where["revision"] = git->ref;
    if (!settings.git_secret.empty()) where["cloneSecret"] = settings.git_secret;
    source = {{"type", "Git"}, {"git", std::move(where)}};
  } else {
    const auto& upload = std::get<UploadOrigin>(origin);
    source = {{"type", "Local"}, {"local", {{"name", upload.upload}}}};
    if (!upload.commit.empty()) annotations["wick.dev/source-commit"] = upload.commit + (upload.dirty ? "-dirty" : "");
  }
  if (!settings.subpath.empty()) source["contextDir"] = settings.subpath;
  if (!secrets_ticket.empty()) annotations["wick.dev/build-secrets"] = secrets_ticket;
  if (!deploy.empty()) annotations["wick.dev/deploy"] = json::serialize(deploy);
  if (!preview.empty()) annotations["wick.dev/preview"] = preview;

  json::array parameters;
  if (!settings.dockerfile.empty()) parameters.push_back({{"name", "dockerfile"}, {"value", settings.dockerfile}});
  if (!settings.target.empty()) parameters.push_back({{"name", "target"}, {"value", settings.target}});
  if (settings.allow_local) parameters.push_back({{"name", "allow-local"}, {"value", "true"}});
  if (!settings.build_args.empty()) {
    json::array values;
    for (const auto& argument : settings.build_args) {
      if (const auto equals = argument.find('='); equals == std::string::npos || equals == 0)
        return stop_with(
            usage_problem(fmt::format("--build-arg '{}' is not NAME=VALUE", argument), "--build-arg VERSION=1.2"));
      values.push_back({{"value", argument}});
    }
    parameters.push_back({{"name", "build-args"}, {"values", std::move(values)}});
  }

  json::object build{{"source", std::move(source)},
                     {"strategy", {{"name", settings.builder.empty() ? "wick" : settings.builder}}},
                     {"output", {{"image", std::string(name) + (preview.empty() ? "" : "-preview")}}}};
  if (!parameters.empty()) build["paramValues"] = std::move(parameters);
  json::object metadata{{"name", run_name}, {"namespace", name_space}, {"labels", {{"wick.dev/service", name}}}};
  if (!annotations.empty()) metadata["annotations"] = std::move(annotations);
  return json::object{{"apiVersion", "shipwright.io/v1beta1"},
                      {"kind", "BuildRun"},
                      {"metadata", std::move(metadata)},
                      {"spec", {{"build", {{"spec", std::move(build)}}}}}};
}

}  // namespace wick::app::cli
