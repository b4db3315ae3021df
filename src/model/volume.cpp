#include "wick/model/volume.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <filesystem>
#include <set>

#include "wick/base/text.hpp"

namespace wick::model {

namespace {

constexpr std::array<std::string_view, 3> reserved_paths{"/", "/dev", "/dev/log"};
constexpr std::int64_t mode_max = 0777;

/// Go's path.Clean, for an absolute path.
std::string clean(const std::string& path) {
  auto text = std::filesystem::path(path).lexically_normal().string();
  while (text.size() > 1 && text.ends_with('/')) text.pop_back();
  while (text.starts_with("//")) text.erase(0, 1);
  return text;
}

bool is_below_volume(std::string_view path) {
  return !path.starts_with('/') && path.find('\0') == path.npos &&
         std::ranges::none_of(split(path, '/'), [](std::string_view part) { return part == ".."; });
}

void check_below_volume(const std::string& text, std::string path, FieldErrors& errors) {
  if (!is_below_volume(text))
    errors.invalid_value(printable(text), std::move(path), "must be a relative path without '..'");
}

std::optional<std::uint32_t> decode_mode(ObjectReader& reader, std::string_view key) {
  const auto mode = reader.integer(key);
  if (!mode) return std::nullopt;
  if (*mode < 0 || *mode > mode_max)
    reader.errors().invalid_value(std::to_string(*mode), reader.path(key),
                                  "must be a number between 0 and 0777 (octal), both inclusive");
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(*mode, 0, mode_max));
}

/// Knative leaves the name of the source out of an item's path: `at` is what it puts before "items".
std::vector<KeyToPath> decode_items(ObjectReader& source, const std::string& at) {
  std::vector<KeyToPath> items;
  for (auto& reader : source.objects("items")) {
    auto& errors = reader.errors();
    const auto path = index_path(at + ".items", items.size());
    KeyToPath item{.key = reader.text("key"), .path = reader.text("path"), .mode = decode_mode(reader, "mode")};
    if (item.key.empty()) errors.missing(path + ".key");
    if (item.path.empty())
      errors.missing(path + ".path");
    else if (item.path.starts_with(".."))
      errors.invalid_value(printable(item.path), path + ".path", "must not start with '..'");
    else
      check_below_volume(item.path, path + ".path", errors);
    reader.refuse_rest();
    items.push_back(std::move(item));
  }
  return items;
}

ValueFiles decode_files(ObjectReader& source, ValueObject::Kind kind, std::string_view name_key, const std::string& at,
                        const std::string& items_at) {
  ValueFiles files{
      .from = {.kind = kind, .name = source.text(name_key), .optional = source.boolean("optional").value_or(false)},
      .items = decode_items(source, items_at)};
  if (files.from.name.empty()) source.errors().missing(field_path(at, name_key));
  return files;
}

void decode_projected(ObjectReader projected, const std::string& volume_path, Volume& volume) {
  auto& errors = projected.errors();
  volume.default_mode = decode_mode(projected, "defaultMode").value_or(volume.default_mode);
  std::size_t index = 0;
  for (auto& reader : projected.objects("sources")) {
    const auto at = index_path(volume_path + ".projected", index++);
    auto secret = reader.object("secret");
    auto map = reader.object("configMap");
    if (secret.present() && map.present())
      errors.add("expected exactly one, got both", {at + ".secret", at + ".configMap"});
    for (auto* source : {&secret, &map}) {
      if (!source->present()) continue;
      const bool is_secret = source == &secret;
      const auto place = at + (is_secret ? ".secret" : ".configMap");
      const auto kind = is_secret ? ValueObject::Kind::secret : ValueObject::Kind::config_map;
      volume.sources.push_back(decode_files(*source, kind, "name", place, place));
      source->refuse_rest();
    }
    // serviceAccountToken and downwardAPI speak of a cluster's pods: refused by name.
    if (reader.refuse_rest() == 0 && !secret.present() && !map.present())
      errors.add("expected exactly one, got neither",
                 {at + ".configMap", at + ".downwardAPI", at + ".secret", at + ".serviceAccountToken"});
  }
  projected.refuse_rest();
}

void decode_empty(ObjectReader empty, Volume& volume) {
  auto& errors = empty.errors();
  if (const auto medium = empty.text("medium"); !medium.empty() && medium != "Memory")
    errors.invalid_value(printable(medium), empty.path("medium"));
  if (const auto* value = empty.value("sizeLimit")) {
    const auto text = value->is_string() ? std::string(value->get_string()) : boost::json::serialize(*value);
    const bool negative = text.starts_with('-');
    const auto limit = parse_quantity(std::string_view(text).substr(negative ? 1 : 0));
    if (!limit)
      errors.invalid_value(printable(text), empty.path("sizeLimit"), limit.error().message());
    else if (negative)
      errors.invalid_value(printable(text), empty.path("sizeLimit"));
    else if (limit->milli > 0)
      volume.size_limit = *limit;
  }
  empty.refuse_rest();
}

/// How many sources it has.
int decode_source(ObjectReader& reader, Volume& volume) {
  int sources = 0;
  const auto is_there = [&](ObjectReader& source, Volume::Kind kind) {
    if (!source.present()) return false;
    ++sources;
    volume.kind = kind;
    return true;
  };
  auto secret = reader.object("secret");
  auto map = reader.object("configMap");
  for (auto* source : {&secret, &map}) {
    if (!is_there(*source, Volume::Kind::values)) continue;
    const bool is_secret = source == &secret;
    volume.default_mode = decode_mode(*source, "defaultMode").value_or(volume.default_mode);
    volume.sources.push_back(decode_files(*source,
                                          is_secret ? ValueObject::Kind::secret : ValueObject::Kind::config_map,
                                          is_secret ? "secretName" : "name", source->path(), reader.path()));
    source->refuse_rest();
  }
  if (auto projected = reader.object("projected"); is_there(projected, Volume::Kind::values))
    decode_projected(std::move(projected), reader.path(), volume);
  if (auto empty = reader.object("emptyDir"); is_there(empty, Volume::Kind::empty))
    decode_empty(std::move(empty), volume);
  if (auto claim = reader.object("persistentVolumeClaim"); claim.present()) {
    ++sources;
    const auto name = claim.text("claimName");
    for (const auto key : {"claimName", "readOnly"}) claim.ignore(key);
    reader.errors().add(fmt::format("Persistent volume claim support is disabled, but found persistent volume claim {}",
                                    printable(name)),
                        {claim.path()});
    claim.refuse_rest();
  }
  return sources;
}

}  // namespace

std::vector<Volume> decode_volumes(ObjectReader& spec) {
  std::vector<Volume> volumes;
  for (auto& reader : spec.objects("volumes")) {
    auto& errors = reader.errors();
    Volume volume{.name = reader.text("name")};
    if (volume.name.empty())
      errors.missing(reader.path("name"));
    else if (!is_dns_label(volume.name))
      errors.invalid_value(printable(volume.name), reader.path("name"));
    if (std::ranges::count(volumes, volume.name, &Volume::name) > 0)
      errors.add(fmt::format("duplicate volume name \"{}\"", printable(volume.name)), {reader.path("name")});
    const int sources = decode_source(reader, volume);
    if (sources > 1) {
      std::vector<std::string> given;
      for (const auto key : {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"})
        if (reader.has(key)) given.push_back(reader.path(key));
      errors.add("expected exactly one, got both", std::move(given));
    }
    if (reader.refuse_rest() == 0 && sources == 0)
      errors.add("expected exactly one, got neither",
                 {reader.path("configMap"), reader.path("emptyDir"), reader.path("projected"), reader.path("secret")});
    volumes.push_back(std::move(volume));
  }
  return volumes;
}

std::vector<VolumeMount> decode_volume_mounts(ObjectReader& container, const std::vector<Volume>& volumes) {
  std::vector<VolumeMount> mounts;
  for (auto& reader : container.objects("volumeMounts")) {
    auto& errors = reader.errors();
    VolumeMount mount{.volume = reader.text("name"),
                      .path = reader.text("mountPath"),
                      .sub_path = reader.text("subPath"),
                      .read_only = reader.boolean("readOnly").value_or(false)};
    const auto volume = std::ranges::find(volumes, mount.volume, &Volume::name);
    if (volume == volumes.end())
      errors.add("volumeMount has no matching volume", {reader.path("name")});
    else if (volume->kind != Volume::Kind::empty && !mount.read_only)
      errors.add("volume mount should be readOnly for this type of volume", {reader.path("readOnly")});
    const auto path = reader.path("mountPath");
    const auto cleaned = mount.path.empty() ? std::string() : clean(mount.path);
    if (mount.path.empty())
      errors.missing(path);
    else if (std::ranges::count(reserved_paths, cleaned) > 0)
      errors.add(fmt::format("mountPath \"{}\" is a reserved path", cleaned), {path});
    else if (!mount.path.starts_with('/') || mount.path.find('\0') != mount.path.npos)
      errors.invalid_value(printable(mount.path), path);
    else if (std::ranges::count(mounts, cleaned, &VolumeMount::path) > 0)
      errors.invalid_value(fmt::format("\"{}\" must be unique", printable(mount.path)), path);
    else if (const auto top = split(cleaned, '/')[1]; top == "proc" || top == "sys" || top == ".wick")
      errors.invalid_value(printable(mount.path), path, fmt::format("nothing can be mounted on or below /{}", top));
    check_below_volume(mount.sub_path, reader.path("subPath"), errors);
    mount.path = cleaned;
    reader.refuse_rest();
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

void check_all_mounted(ObjectReader& spec, const std::vector<Volume>& volumes, const std::vector<VolumeMount>& mounts) {
  for (std::size_t i = 0; i < volumes.size(); ++i)
    if (std::ranges::count(mounts, volumes[i].name, &VolumeMount::volume) == 0)
      spec.errors().add(fmt::format("volume with name \"{}\" not mounted", printable(volumes[i].name)),
                        {index_path(spec.path("volumes"), i) + ".name"});
}

void default_volume_mounts(json::object& spec) {
  const auto* volumes = find_value(spec, {"volumes"});
  if (!volumes || !volumes->is_array()) return;
  std::set<std::string> read_only;
  for (const auto& volume : volumes->get_array())
    if (volume.is_object() && !find_value(volume.get_object(), {"emptyDir"}) &&
        !find_value(volume.get_object(), {"persistentVolumeClaim"}))
      read_only.insert(text_at(volume.get_object(), {"name"}));
  const auto set_defaults = [&](json::value& container) {
    auto* fields = container.if_object();
    auto* mounts = fields && fields->contains("volumeMounts") ? (*fields)["volumeMounts"].if_array() : nullptr;
    if (!mounts) return;
    for (auto& mount : *mounts)
      if (auto* object = mount.if_object(); object && read_only.contains(text_at(*object, {"name"})))
        if (auto& value = (*object)["readOnly"]; value.is_null()) value = true;
  };
  for (const auto list : {"containers", "initContainers"})
    if (auto* containers = spec.contains(list) ? spec[list].if_array() : nullptr)
      for (auto& container : *containers) set_defaults(container);
}

}  // namespace wick::model
