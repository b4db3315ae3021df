#include "control/values.hpp"

#include <fmt/format.h>

#include <boost/json/array.hpp>

#include "wick/base/text.hpp"
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

// Walks the JSON itself: it is asked of every revision of a namespace when a value changes.
bool refers_to_values(const boost::json::object& revision, ValueObject::Kind kind, std::string_view name) {
  const bool secret = kind == ValueObject::Kind::secret;
  const auto any = [](const boost::json::object& object, std::string_view list, auto&& holds) {
    const auto* elements = model::find_value(object, {list});
    if (!elements || !elements->is_array()) return false;
    for (const auto& element : elements->get_array())
      if (element.is_object() && holds(element.get_object())) return true;
    return false;
  };
  const auto* spec = model::find_value(revision, {"spec"});
  return spec && spec->is_object() && any(spec->get_object(), "containers", [&](const boost::json::object& container) {
           return any(container, "envFrom",
                      [&](const boost::json::object& source) {
                        return model::text_at(source, {secret ? "secretRef" : "configMapRef", "name"}) == name;
                      }) ||
                  any(container, "env", [&](const boost::json::object& variable) {
                    return model::text_at(variable,
                                          {"valueFrom", secret ? "secretKeyRef" : "configMapKeyRef", "name"}) == name;
                  });
         });
}

}  // namespace wick::control
