#include "control/values.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <filesystem>
#include <map>
#include <optional>

#include "wick/base/text.hpp"
#include "wick/control/control.hpp"
#include "wick/model/object_reader.hpp"
#include "wick/model/resource.hpp"

namespace wick::control {

namespace {

using model::ValueObject;

const model::Kind& kind_of(ValueObject::Kind kind) {
  return kind == ValueObject::Kind::secret ? model::secret_kind() : model::config_map_kind();
}

std::string_view word_of(ValueObject::Kind kind) { return kind == ValueObject::Kind::secret ? "secret" : "configmap"; }

/// nullptr where it is absent and may be.
Result<store::ObjectValue> find_object(const store::Objects& objects, const std::string& name_space,
                                       const ValueObject& wanted) {
  auto object = objects.find({kind_of(wanted.kind).resource(), name_space, wanted.name});
  if (!object && !wanted.optional)
    return fail(Errc::not_found, fmt::format("{} \"{}\" not found", word_of(wanted.kind), wanted.name),
                fmt::format("create it in namespace {}; the revision goes on by itself", name_space));
  return object;
}

std::string text_of(ValueObject::Kind kind, const boost::json::value& value) {
  if (!value.is_string()) return {};
  const std::string text(value.get_string());
  return kind == ValueObject::Kind::secret ? base64_decode(text).value_or("") : text;
}

Result<void> add_all(const store::Objects& objects, const std::string& name_space,
                     const model::EnvironmentSource& source, std::vector<model::EnvironmentVariable>& variables) {
  auto object = find_object(objects, name_space, source.from);
  if (!object) return fail(std::move(object.error()));
  const auto* data = *object ? model::find_value(**object, {"data"}) : nullptr;
  if (!data || !data->is_object()) return {};
  for (const auto& [key, value] : data->get_object()) {
    auto name = source.prefix + std::string(key);
    if (model::is_variable_name(name))
      variables.push_back({.name = std::move(name), .value = text_of(source.from.kind, value)});
  }
  return {};
}

/// False where the value is absent and may be: the variable is left out.
Result<bool> fill(const store::Objects& objects, const std::string& name_space, model::EnvironmentVariable& variable) {
  if (variable.key.empty()) return true;
  auto object = find_object(objects, name_space, variable.from);
  if (!object) return fail(std::move(object.error()));
  const auto* value = *object ? model::find_value(**object, {"data", variable.key}) : nullptr;
  if (value) {
    variable.value = text_of(variable.from.kind, *value);
    return true;
  }
  if (variable.from.optional) return false;
  return fail(Errc::not_found, fmt::format("couldn't find key {} in {} {}/{}", variable.key,
                                           variable.from.kind == ValueObject::Kind::secret ? "Secret" : "ConfigMap",
                                           name_space, variable.from.name));
}

}  // namespace

Result<std::vector<model::EnvironmentVariable>> resolve_environment(const store::Objects& objects,
                                                                    const std::string& name_space,
                                                                    const model::Container& container) {
  std::vector<model::EnvironmentVariable> variables;
  for (const auto& source : container.environment_sources)
    if (auto added = add_all(objects, name_space, source, variables); !added) return fail(std::move(added.error()));
  for (auto variable : container.environment) {
    const auto there = fill(objects, name_space, variable);
    if (!there) return fail(there.error());
    if (*there) variables.push_back(std::move(variable));
  }
  return variables;
}

namespace {

/// One source's files over what is there already: of two at one path the later one stays.
Result<void> add_files(const store::Objects& objects, const std::string& name_space, const model::ValueFiles& source,
                       std::uint32_t default_mode, std::map<std::string, container::VolumeFile>& files) {
  const auto kind = source.from.kind;
  const auto object = find_object(objects, name_space, source.from);
  if (!object) return fail(object.error());
  if (!*object) return {};
  const auto put = [&](std::string path, std::optional<std::uint32_t> mode, std::string content) {
    files[path] = {.path = path, .mode = mode.value_or(default_mode), .content = std::move(content)};
  };
  const auto find = [&](std::string_view key) -> std::optional<std::string> {
    if (const auto* text = model::find_value(**object, {"data", key})) return text_of(kind, *text);
    if (const auto* bytes = model::find_value(**object, {"binaryData", key}))
      return text_of(ValueObject::Kind::secret, *bytes);
    return std::nullopt;
  };
  for (const auto& item : source.items) {
    auto content = find(item.key);
    if (content)
      put(std::filesystem::path(item.path).lexically_normal().string(), item.mode, std::move(*content));
    else if (!source.from.optional)
      return fail(Errc::not_found,
                  fmt::format("references non-existent {} key: {}",
                              kind == ValueObject::Kind::secret ? "secret" : "config", printable(item.key)),
                  fmt::format("add the key to {} {}; the revision goes on by itself", word_of(kind), source.from.name));
  }
  if (!source.items.empty()) return {};
  for (const auto field : {"data", "binaryData"}) {
    const auto* data = model::find_value(**object, {field});
    if (!data || !data->is_object()) continue;
    for (const auto& [key, value] : data->get_object()) put(std::string(key), {}, find(key).value_or(""));
  }
  return {};
}

}  // namespace

Result<std::vector<container::Volume>> resolve_volumes(const store::Objects& objects, const std::string& name_space,
                                                       const model::RevisionSpec& spec, std::uint64_t memory_bytes) {
  std::vector<container::Volume> resolved;
  for (const auto& volume : spec.volumes) {
    container::Volume made;
    if (volume.kind == model::Volume::Kind::empty)
      made.bytes_max = volume.size_limit ? static_cast<std::uint64_t>(volume.size_limit->whole()) : memory_bytes / 2;
    std::map<std::string, container::VolumeFile> files;
    for (const auto& source : volume.sources)
      if (auto added = add_files(objects, name_space, source, volume.default_mode, files); !added)
        return fail(
            std::move(added.error()).within(fmt::format("MountVolume.SetUp failed for volume \"{}\" ", volume.name)));
    for (auto& [path, file] : files) made.files.push_back(std::move(file));
    resolved.push_back(std::move(made));
  }
  return resolved;
}

std::vector<container::VolumeMount> mounts_of(const std::vector<model::Volume>& volumes,
                                              const model::Container& container) {
  std::vector<container::VolumeMount> mounts;
  for (const auto& mount : container.volume_mounts) {
    const auto at = std::ranges::find(volumes, mount.volume, &model::Volume::name);
    if (at == volumes.end()) continue;
    mounts.push_back(
        {.volume = static_cast<std::uint32_t>(at - volumes.begin()),
         .target = mount.path,
         .sub_path = mount.sub_path.empty() ? "" : std::filesystem::path(mount.sub_path).lexically_normal().string(),
         .writable = at->kind == model::Volume::Kind::empty && !mount.read_only});
  }
  return mounts;
}

// Walks the JSON itself: it is asked of every revision of a namespace when a value changes.
std::vector<std::string> docker_configs(const store::Objects& objects, const std::string& name_space,
                                        const std::vector<std::string>& secrets) {
  std::vector<std::string> configs;
  for (const auto& name : secrets) {
    const auto secret = objects.find({model::secret_kind().resource(), name_space, name});
    if (!secret) continue;
    for (const auto* key : {".dockerconfigjson", ".dockercfg"})
      if (const auto text = base64_decode(model::text_at(*secret, {"data", key})); text && !text->empty())
        configs.push_back(*text);
  }
  return configs;
}

bool refers_to_values(const boost::json::object& revision, ValueObject::Kind kind, std::string_view name) {
  const bool secret = kind == ValueObject::Kind::secret;
  const auto any = [](const boost::json::object& object, std::string_view list, auto&& holds) {
    const auto* elements = model::find_value(object, {list});
    if (!elements || !elements->is_array()) return false;
    for (const auto& element : elements->get_array())
      if (element.is_object() && holds(element.get_object())) return true;
    return false;
  };
  const auto is_source = [&](const boost::json::object& source, std::string_view name_key) {
    return model::text_at(source, {secret ? "secret" : "configMap", name_key}) == name;
  };
  const auto* spec = model::find_value(revision, {"spec"});
  if (!spec || !spec->is_object()) return false;
  if (any(spec->get_object(), "volumes", [&](const boost::json::object& volume) {
        const auto* projected = model::find_value(volume, {"projected"});
        return is_source(volume, secret ? "secretName" : "name") ||
               (projected && projected->is_object() &&
                any(projected->get_object(), "sources",
                    [&](const boost::json::object& source) { return is_source(source, "name"); }));
      }))
    return true;
  if (secret && any(spec->get_object(), "imagePullSecrets",
                    [&](const boost::json::object& pull) { return model::text_at(pull, {"name"}) == name; }))
    return true;
  const auto reads = [&](const boost::json::object& container) {
    return any(container, "envFrom",
               [&](const boost::json::object& source) {
                 return model::text_at(source, {secret ? "secretRef" : "configMapRef", "name"}) == name;
               }) ||
           any(container, "env", [&](const boost::json::object& variable) {
             return model::text_at(variable, {"valueFrom", secret ? "secretKeyRef" : "configMapKeyRef", "name"}) ==
                    name;
           });
  };
  return any(spec->get_object(), "containers", reads) || any(spec->get_object(), "initContainers", reads);
}

}  // namespace wick::control
