#include "wick/model/resource.hpp"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <map>

#include "wick/base/text.hpp"
#include "wick/model/field_errors.hpp"
#include "wick/model/object_reader.hpp"

namespace wick::model {

namespace {

bool is_opaque(const json::object& schema) {
  return schema.contains("x-kubernetes-preserve-unknown-fields") || schema.contains("additionalProperties");
}

void prune(const json::object& schema, const std::string& path, json::value& value, std::vector<std::string>& gone) {
  if (auto* list = value.if_array()) {
    const auto* items = schema.if_contains("items");
    if (!items || !items->is_object()) return;
    for (std::size_t i = 0; i < list->size(); ++i) prune(items->get_object(), index_path(path, i), (*list)[i], gone);
    return;
  }
  auto* object = value.if_object();
  if (!object || is_opaque(schema)) return;
  const auto* properties = schema.if_contains("properties");
  if (!properties) return;
  std::vector<std::string> unknown;
  for (auto& [key, field] : *object) {
    const auto* known = properties->as_object().if_contains(key);
    if (!known)
      unknown.emplace_back(key);
    else
      prune(known->as_object(), field_path(path, key), field, gone);
  }
  for (const auto& key : unknown) {
    object->erase(key);
    gone.push_back(field_path(path, key));
  }
}

/// The next step of a JSONPath: one of .key ['key'] [*] [?(@.key=='value')].
struct Step {
  std::string key;    // "" for [*]
  std::string value;  // of the filter
  bool filter = false;
};

std::vector<Step> steps_of(std::string_view path) {
  std::vector<Step> steps;
  while (!path.empty()) {
    if (path.starts_with("['")) {
      const auto end = path.find("']");
      steps.push_back({std::string(path.substr(2, end - 2)), {}, false});
      path.remove_prefix(end + 2);
    } else if (path.starts_with("[*]")) {
      steps.push_back({});
      path.remove_prefix(3);
    } else if (path.starts_with("[?(@.")) {
      const auto equals = path.find("=='"), end = path.find("')]");
      steps.push_back(
          {std::string(path.substr(5, equals - 5)), std::string(path.substr(equals + 3, end - equals - 3)), true});
      path.remove_prefix(end + 3);
    } else {
      path.remove_prefix(1);  // '.'
      const auto end = path.find_first_of(".[");
      steps.push_back({std::string(path.substr(0, end)), {}, false});
      path.remove_prefix(end == path.npos ? path.size() : end);
    }
  }
  return steps;
}

const json::value* follow(const json::value* value, const Step& step) {
  if (!step.filter && !step.key.empty()) {
    const auto* object = value->if_object();
    return object ? object->if_contains(step.key) : nullptr;
  }
  const auto* list = value->if_array();
  if (!list) return nullptr;
  for (const auto& element : *list)
    if (!step.filter || (element.is_object() && text_at(element.get_object(), {step.key}) == step.value))
      return &element;
  return nullptr;
}

json::value shown(const PrinterColumn& column, const json::value* value, bool counted) {
  if (counted) {
    if (!value) return 0;
    return value->is_object() ? value->get_object().size() : value->is_array() ? value->get_array().size() : 0;
  }
  if (!value || value->is_null()) return nullptr;
  if (column.type == "integer" && value->is_string()) {
    const auto number = parse_unsigned(value->get_string());
    return number ? json::value(*number) : json::value(nullptr);
  }
  return value->is_structured() ? json::value(nullptr) : *value;
}

}  // namespace

const json::object& schema_of(const Kind& kind) {
  // One thread runs the loop; the table is small and lives as long as the program.
  static std::map<const Kind*, json::object> schemas;
  const auto found = schemas.find(&kind);
  return found != schemas.end() ? found->second : schemas.emplace(&kind, kind.schema()).first->second;
}

json::value cell(const PrinterColumn& column, const json::object& object) {
  auto path = column.json_path;
  const bool counted = path.starts_with("count(");
  if (counted) path = path.substr(6, path.size() - 7);
  const auto steps = steps_of(path);
  const auto* value = object.if_contains(steps.front().key);
  for (std::size_t i = 1; i < steps.size() && value; ++i) value = follow(value, steps[i]);
  return shown(column, value, counted);
}

std::vector<std::string> prune_unknown(const Kind& kind, json::object& object) {
  std::vector<std::string> gone;
  json::value value(std::move(object));
  prune(schema_of(kind), {}, value, gone);
  object = std::move(value.get_object());
  return gone;
}

json::object owner_reference(const Kind& kind, const json::object& owner) {
  return {{"apiVersion", kind.api_version()},
          {"kind", kind.kind},
          {"name", text_at(owner, {"metadata", "name"})},
          {"uid", text_at(owner, {"metadata", "uid"})},
          {"controller", true},
          {"blockOwnerDeletion", true}};
}

std::string controller_uid(const json::object& object) {
  const auto* owners = find_value(object, {"metadata", "ownerReferences"});
  if (!owners || !owners->is_array()) return {};
  for (const auto& owner : owners->get_array()) {
    const auto* reference = owner.if_object();
    if (!reference) continue;
    const auto* controller = reference->if_contains("controller");
    if (controller && controller->is_bool() && controller->get_bool()) return text_at(*reference, {"uid"});
  }
  return {};
}

}  // namespace wick::model
