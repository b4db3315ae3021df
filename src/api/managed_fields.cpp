#include "api/managed_fields.hpp"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <iterator>
#include <optional>

#include "wick/model/object_reader.hpp"

namespace wick::api {

namespace json = boost::json;

namespace {

using Fields = std::map<FieldPath, json::value>;

/// What the server says about an object, or what names it: nobody owns these.
const std::set<std::string_view> unowned{"name",
                                         "namespace",
                                         "uid",
                                         "generation",
                                         "creationTimestamp",
                                         "resourceVersion",
                                         "selfLink",
                                         "managedFields",
                                         "deletionTimestamp",
                                         "deletionGracePeriodSeconds"};

const json::object* member(const json::object* schema, std::string_view key) {
  const auto* value = schema ? schema->if_contains(key) : nullptr;
  return value ? value->if_object() : nullptr;
}

const json::object* schema_of_field(const json::object* schema, std::string_view name) {
  if (const auto* found = member(member(schema, "properties"), name)) return found;
  return member(schema, "additionalProperties");
}

std::string_view list_type(const json::object* schema) {
  const auto* type = schema ? schema->if_contains("x-kubernetes-list-type") : nullptr;
  return type && type->is_string() ? std::string_view(type->get_string()) : std::string_view();
}

/// "k:{"name":"a"}"; nullopt for an element that lacks a key.
std::optional<std::string> key_element(const json::value& element, const json::object& schema) {
  const auto* keys = schema.if_contains("x-kubernetes-list-map-keys");
  const auto* object = element.if_object();
  if (!keys || !keys->is_array() || !object) return std::nullopt;
  std::map<std::string, json::value> sorted;
  for (const auto& key : keys->get_array()) {
    const auto* value = object->if_contains(key.as_string());
    if (!value) {
      const auto* item = schema_of_field(member(&schema, "items"), key.as_string());
      value = item ? item->if_contains("default") : nullptr;
    }
    if (!value) return std::nullopt;
    sorted[std::string(key.as_string())] = *value;
  }
  json::object ordered;
  for (auto& [key, value] : sorted) ordered[key] = value;
  return "k:" + json::serialize(ordered);
}

void collect(const json::value& value, const json::object* schema, FieldPath& path, Fields& fields);

void collect_object(const json::object& object, const json::object* schema, FieldPath& path, Fields& fields) {
  for (const auto& [key, value] : object) {
    path.push_back("f:" + std::string(key));
    collect(value, schema_of_field(schema, key), path, fields);
    path.pop_back();
  }
}

void collect_list(const json::array& list, const json::object* schema, FieldPath& path, Fields& fields) {
  const auto type = list_type(schema);
  const bool by_key = type == "map" && std::ranges::all_of(list, [&](const json::value& element) {
                        return key_element(element, *schema).has_value();
                      });
  if (!by_key && type != "set") {
    fields[path] = list;
    return;
  }
  for (const auto& element : list) {
    path.push_back(by_key ? *key_element(element, *schema) : "v:" + json::serialize(element));
    fields[path] = by_key ? json::value() : element;  // the element itself, beside its fields
    if (by_key) collect_object(element.get_object(), member(schema, "items"), path, fields);
    path.pop_back();
  }
}

void collect(const json::value& value, const json::object* schema, FieldPath& path, Fields& fields) {
  if (const auto* object = value.if_object(); object && !object->empty())
    collect_object(*object, schema, path, fields);
  else if (const auto* list = value.if_array(); list && !list->empty())
    collect_list(*list, schema, path, fields);
  else
    fields[path] = value;
}

FieldSet paths_of(const Fields& fields) {
  FieldSet set;
  for (const auto& [path, value] : fields) set.insert(path);
  return set;
}

FieldSet without(const FieldSet& set, const FieldSet& gone) {
  FieldSet left;
  std::ranges::set_difference(set, gone, std::inserter(left, left.end()));
  return left;
}

bool refers_to_element(const FieldPath& path) { return path.back().starts_with("k:") || path.back().starts_with("v:"); }

/// The value a path leads to; `make` creates what is missing on the way. nullptr where something else is in the way.
json::value* walk(json::value& at, const FieldPath& path, std::size_t count, bool make) {
  auto* here = &at;
  for (std::size_t i = 0; i < count; ++i) {
    const std::string_view element = path[i];
    const auto rest = element.substr(2);
    if (element.starts_with("f:")) {
      if (make && !here->is_object()) here->emplace_object();
      auto* object = here->if_object();
      if (!object) return nullptr;
      auto* next = object->if_contains(rest);
      if (!next && !make) return nullptr;
      here = next ? next : &(*object)[rest];
      continue;
    }
    if (make && !here->is_array()) here->emplace_array();
    auto* list = here->if_array();
    if (!list) return nullptr;
    const auto wanted = json::parse(rest);
    const auto found = std::ranges::find_if(*list, [&](const json::value& own) {
      if (element.starts_with("v:")) return own == wanted;
      const auto* object = own.if_object();
      return object && std::ranges::all_of(wanted.get_object(), [&](const auto& key) {
               const auto* value = object->if_contains(key.key());
               return value && *value == key.value();
             });
    });
    if (found == list->end() && !make) return nullptr;
    if (found != list->end()) {
      here = found;
    } else {
      list->push_back(wanted);
      here = &list->back();
    }
  }
  return here;
}

void remove_field(json::value& object, const FieldPath& path) {
  auto* parent = walk(object, path, path.size() - 1, false);
  auto* found = parent ? walk(object, path, path.size(), false) : nullptr;
  if (!found) return;
  if (auto* list = parent->if_array())
    list->erase(found);
  else
    parent->get_object().erase(std::string_view(path.back()).substr(2));
}

/// ".spec.containers[name="a"].image", as kubectl prints it.
std::string shown(const FieldPath& path) {
  std::string text;
  for (const std::string_view element : path) {
    const auto rest = element.substr(2);
    if (element.starts_with("f:")) {
      text += '.';
      text += rest;
    } else if (element.starts_with("v:")) {
      text += '[';
      text += rest;
      text += ']';
    } else {
      std::string keys;
      for (const auto& key : json::parse(rest).get_object()) {
        if (!keys.empty()) keys += ',';
        keys += std::string(key.key()) + "=" + json::serialize(key.value());
      }
      text += "[" + keys + "]";
    }
  }
  return text;
}

struct Entry {
  json::object record;
  FieldSet set;
};

std::string text_of(const json::object& object, std::string_view key) { return model::text_at(object, {key}); }

std::vector<Entry> entries_of(const json::object* object) {
  std::vector<Entry> entries;
  const auto* list = object ? model::find_value(*object, {"metadata", "managedFields"}) : nullptr;
  if (!list || !list->is_array()) return entries;
  for (const auto& value : list->get_array()) {
    const auto* record = value.if_object();
    const auto* fields = record ? member(record, "fieldsV1") : nullptr;
    if (fields && text_of(*record, "subresource").empty()) entries.push_back({*record, from_fields_v1(*fields)});
  }
  return entries;
}

bool is_by(const Entry& entry, const FieldManager& manager, std::string_view operation) {
  return text_of(entry.record, "manager") == manager.name && text_of(entry.record, "operation") == operation &&
         text_of(entry.record, "apiVersion") == manager.api_version;
}

json::array to_json(std::vector<Entry> entries) {
  json::array list;
  for (auto& entry : entries) {
    if (entry.set.empty()) continue;
    entry.record["fieldsType"] = "FieldsV1";
    entry.record["fieldsV1"] = to_fields_v1(entry.set);
    list.push_back(std::move(entry.record));
  }
  return list;
}

Entry& entry_of(std::vector<Entry>& entries, const FieldManager& manager, std::string_view operation) {
  const auto found = std::ranges::find_if(entries, [&](const Entry& e) { return is_by(e, manager, operation); });
  if (found != entries.end()) return *found;
  entries.push_back({{{"manager", manager.name},
                      {"operation", operation},
                      {"apiVersion", manager.api_version},
                      {"time", manager.now}},
                     {}});
  return entries.back();
}

}  // namespace

Fields fields_of(const json::object& object, const json::object& schema) {
  Fields fields;
  for (const auto& [key, value] : object) {
    if (key == "apiVersion" || key == "kind" || key == "status") continue;
    FieldPath path{"f:" + std::string(key)};
    if (key != "metadata" || !value.is_object()) {
      collect(value, schema_of_field(&schema, key), path, fields);
      continue;
    }
    json::object owned = value.get_object();
    for (const auto name : unowned) owned.erase(name);
    collect_object(owned, schema_of_field(&schema, key), path, fields);
  }
  return fields;
}

json::object to_fields_v1(const FieldSet& set) {
  json::value tree = json::object();
  for (const auto& path : set) {
    auto* here = &tree.get_object();
    for (const auto& element : path) {
      auto& next = (*here)[element];
      if (!next.is_object()) next.emplace_object();
      here = &next.get_object();
    }
    // An element of a list is owned beside its fields.
    if (path.back().starts_with("k:")) (*here)["."] = json::object();
  }
  return std::move(tree.get_object());
}

namespace {

constexpr std::size_t fields_depth_max = 64;

void read_fields(const json::object& fields, FieldPath& path, FieldSet& set) {
  if (path.size() > fields_depth_max) return;
  if (fields.empty() && !path.empty()) set.insert(path);
  for (const auto& [key, value] : fields) {
    if (key == ".") {
      if (!path.empty() && refers_to_element(path)) set.insert(path);
      continue;
    }
    if (key.size() < 2 || key[1] != ':' || !value.is_object()) continue;
    if (!key.starts_with("f:")) {
      boost::system::error_code error;
      const auto parsed = json::parse(key.substr(2), error);
      if (error || (key.starts_with("k:") && !parsed.is_object())) continue;
    }
    path.emplace_back(key);
    read_fields(value.get_object(), path, set);
    path.pop_back();
  }
}

}  // namespace

FieldSet from_fields_v1(const json::object& fields) {
  FieldSet set;
  FieldPath path;
  read_fields(fields, path, set);
  return set;
}

json::array after_update(const json::object* previous, const json::object& next, const json::object& schema,
                         const FieldManager& manager) {
  const auto before = previous ? fields_of(*previous, schema) : Fields();
  const auto after = fields_of(next, schema);
  FieldSet changed;
  FieldSet gone;
  for (const auto& [path, value] : after) {
    const auto found = before.find(path);
    if (found == before.end() || found->second != value) changed.insert(path);
  }
  for (const auto& [path, value] : before)
    if (!after.contains(path)) gone.insert(path);
  auto entries = entries_of(&next);
  if (changed.empty() && gone.empty()) return to_json(std::move(entries));
  for (auto& entry : entries) {
    entry.set = without(entry.set, gone);
    if (!is_by(entry, manager, "Update")) entry.set = without(entry.set, changed);
  }
  if (!changed.empty()) {
    auto& own = entry_of(entries, manager, "Update");
    own.set.merge(changed);
    own.record["time"] = manager.now;
  }
  return to_json(std::move(entries));
}

Applied apply_fields(const json::object* live, const json::object& wanted, const json::object& schema,
                     const FieldManager& manager, OnConflict on_conflict,
                     const std::function<void(json::object&)>& settle) {
  const auto before = live ? fields_of(*live, schema) : Fields();
  const auto fields = fields_of(wanted, schema);
  const auto applied = paths_of(fields);
  auto entries = entries_of(live);
  Applied result;

  json::value object = live ? *live : json::object();
  const auto set_all = [&fields](json::value& target) {
    for (const auto& [path, value] : fields) {
      auto* place = walk(target, path, path.size(), true);
      if (place && !path.back().starts_with("k:")) *place = value;
    }
  };
  auto settled = object;
  set_all(settled);
  if (settle) settle(settled.get_object());
  const auto after = fields_of(settled.get_object(), schema);

  FieldSet taken;
  for (auto& entry : entries) {
    if (is_by(entry, manager, "Apply")) continue;
    for (const auto& path : entry.set) {
      const auto named = fields.find(path);
      if (named == fields.end()) continue;
      const auto present = before.find(path);
      if (present != before.end() && present->second == named->second) continue;
      const auto becomes = after.find(path);
      if (present != before.end() && becomes != after.end() && present->second == becomes->second) continue;
      taken.insert(path);
      result.conflicts.push_back({text_of(entry.record, "manager"), text_of(entry.record, "apiVersion"), shown(path)});
    }
  }
  if (on_conflict == OnConflict::report && !result.conflicts.empty()) return result;
  result.conflicts.clear();
  for (auto& entry : entries)
    if (!is_by(entry, manager, "Apply")) entry.set = without(entry.set, taken);

  auto& own = entry_of(entries, manager, "Apply");
  auto dropped = without(own.set, applied);
  for (const auto& entry : entries)
    if (!is_by(entry, manager, "Apply")) dropped = without(dropped, entry.set);
  // Deepest first: a list's element after its fields.
  for (auto path = dropped.rbegin(); path != dropped.rend(); ++path) remove_field(object, *path);
  set_all(object);
  if (own.set != applied) own.record["time"] = manager.now;
  own.set = applied;
  result.object = std::move(object.get_object());
  for (const auto key : {"apiVersion", "kind"})
    if (const auto* value = wanted.if_contains(key)) result.object[key] = *value;
  model::object_at(result.object, {"metadata"})["managedFields"] = to_json(std::move(entries));
  return result;
}

}  // namespace wick::api
