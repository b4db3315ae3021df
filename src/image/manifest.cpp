// Manifest and config of an image as JSON (OCI image-spec manifest.md, config.md), read strictly and written in one
// fixed order, so that the same image has the same digest.
#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include "json_fields.hpp"
#include "wick/base/text.hpp"

namespace wick::image {

namespace json = boost::json;

namespace {

constexpr std::string_view docker_manifest = "application/vnd.docker.distribution.manifest.v2+json";
// An overlay takes 500 lower layers at most (Linux OVL_MAX_STACK).
constexpr std::size_t layers_max = 500;

json::array array_of(const std::vector<std::string>& texts) { return json::array(texts.begin(), texts.end()); }

json::object set_of(const std::vector<std::string>& names) {
  json::object set;
  for (const auto& name : names) set[name] = json::object();
  return set;
}

json::object object_of(const std::map<std::string, std::string>& texts) {
  json::object object;
  for (const auto& [key, text] : texts) object[key] = text;
  return object;
}

void add_others(json::object& to, const std::string& others) {
  if (others.empty()) return;
  auto parsed = parse_object(others, "other fields");
  if (!parsed) return;
  for (const auto& member : *parsed) to.emplace(member.key(), member.value());
}

void put(json::object& to, std::string_view key, const std::string& text) {
  if (!text.empty()) to[key] = text;
}

void put(json::object& to, std::string_view key, const std::vector<std::string>& texts) {
  if (!texts.empty()) to[key] = array_of(texts);
}

}  // namespace

std::string ImageConfig::to_json() const {
  json::object inner;
  put(inner, "User", user);
  if (!exposed_ports.empty()) inner["ExposedPorts"] = set_of(exposed_ports);
  put(inner, "Env", environment);
  put(inner, "Entrypoint", entrypoint);
  put(inner, "Cmd", command);
  if (!volumes.empty()) inner["Volumes"] = set_of(volumes);
  put(inner, "WorkingDir", working_folder);
  if (!labels.empty()) inner["Labels"] = object_of(labels);
  put(inner, "StopSignal", stop_signal);
  put(inner, "Shell", shell);
  put(inner, "OnBuild", on_build);
  add_others(inner, other_config_fields);

  json::array layers;
  for (const auto& diff_id : diff_ids) layers.emplace_back(diff_id.text());
  json::array steps;
  for (const auto& step : history) {
    json::object entry;
    put(entry, "created", created);
    put(entry, "created_by", step.created_by);
    if (step.empty_layer) entry["empty_layer"] = true;
    steps.emplace_back(std::move(entry));
  }
  json::object whole;
  put(whole, "created", created);
  whole["architecture"] = architecture;
  whole["os"] = os;
  whole["config"] = std::move(inner);
  whole["rootfs"] = {{"type", "layers"}, {"diff_ids", std::move(layers)}};
  if (!steps.empty()) whole["history"] = std::move(steps);
  add_others(whole, other_fields);
  return json::serialize(whole);
}

Result<ImageConfig> ImageConfig::parse(std::string_view text) {
  auto parsed = parse_object(text, "the image config");
  if (!parsed) return fail(std::move(parsed.error()));
  JsonFields whole(*parsed, "image config");
  ImageConfig config;
  config.architecture = whole.string("architecture");
  config.os = whole.string("os");
  config.created = whole.string("created");
  const auto inner_object = whole.object("config").value_or(json::object());
  const auto rootfs_object = whole.object("rootfs").value_or(json::object());
  const auto steps = whole.objects("history");
  config.other_fields = whole.others();
  if (auto ok = whole.result(); !ok) return fail(std::move(ok.error()));

  JsonFields inner(inner_object, "image config: config");
  config.user = inner.string("User");
  config.exposed_ports = inner.keys("ExposedPorts");
  config.environment = inner.strings("Env");
  config.entrypoint = inner.strings("Entrypoint");
  config.command = inner.strings("Cmd");
  config.volumes = inner.keys("Volumes");
  config.working_folder = inner.string("WorkingDir");
  config.labels = inner.string_map("Labels");
  config.stop_signal = inner.string("StopSignal");
  config.shell = inner.strings("Shell");
  config.on_build = inner.strings("OnBuild");
  config.other_config_fields = inner.others();
  if (auto ok = inner.result(); !ok) return fail(std::move(ok.error()));

  JsonFields rootfs(rootfs_object, "image config: rootfs");
  const auto type = rootfs.string("type");
  config.diff_ids = rootfs.digests("diff_ids");
  if (auto ok = rootfs.result(); !ok) return fail(std::move(ok.error()));
  if (type != "layers")
    return fail(Errc::corrupt, fmt::format("image config: rootfs: type is '{}', not 'layers'", printable(type)));
  if (config.diff_ids.size() > layers_max)
    return fail(Errc::too_large, fmt::format("an image of {} layers; at most {}", config.diff_ids.size(), layers_max));

  for (const auto& step : steps) {
    JsonFields fields(step, "image config: history");
    config.history.push_back({.created_by = fields.string("created_by"), .empty_layer = fields.boolean("empty_layer")});
    if (auto ok = fields.result(); !ok) return fail(std::move(ok.error()));
  }
  return config;
}

std::string Manifest::to_json() const {
  json::array layer_array;
  for (const auto& layer : layers) layer_array.emplace_back(image::to_json(layer));
  json::object whole{{"schemaVersion", 2}, {"mediaType", media_type_manifest}};
  whole["config"] = image::to_json(config);
  whole["layers"] = std::move(layer_array);
  if (!annotations.empty()) whole["annotations"] = object_of(annotations);
  return json::serialize(whole);
}

Result<Manifest> Manifest::parse(std::string_view text) {
  auto parsed = parse_object(text, "the manifest");
  if (!parsed) return fail(std::move(parsed.error()));
  JsonFields whole(*parsed, "manifest");
  // One document that is a manifest to some and an index to others is an attack (CVE-2021-41190).
  if (parsed->contains("manifests"))
    return fail(parsed->contains("layers") || parsed->contains("config")
                    ? Error(Errc::corrupt, "manifest: it has 'manifests' and is a manifest as well")
                    : Error(Errc::unsupported, "an index of images where one image was expected"));
  const auto version = whole.number("schemaVersion");
  const auto media_type = whole.string("mediaType");
  const auto config_object = whole.object("config");
  const auto layer_objects = whole.objects("layers");
  Manifest manifest;
  manifest.annotations = whole.string_map("annotations");
  if (auto ok = whole.result(); !ok) return fail(std::move(ok.error()));
  if (version != 2) return fail(Errc::unsupported, fmt::format("manifest: schemaVersion is {}, not 2", version));
  if (!media_type.empty() && media_type != media_type_manifest && media_type != docker_manifest)
    return fail(Errc::unsupported, fmt::format("manifest: mediaType is '{}'", printable(media_type)));
  if (!config_object) return fail(Errc::corrupt, "manifest: it has no config");
  if (layer_objects.size() > layers_max)
    return fail(Errc::too_large, fmt::format("an image of {} layers; at most {}", layer_objects.size(), layers_max));
  auto config = parse_descriptor(*config_object, "manifest: config");
  if (!config) return fail(std::move(config.error()));
  manifest.config = std::move(*config);
  for (const auto& object : layer_objects) {
    auto layer = parse_descriptor(object, "manifest: layers");
    if (!layer) return fail(std::move(layer.error()));
    manifest.layers.push_back(std::move(*layer));
  }
  return manifest;
}

}  // namespace wick::image
