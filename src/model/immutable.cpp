#include "model/immutable.hpp"

#include <fmt/format.h>

#include <boost/json/serialize.hpp>

#include "wick/base/text.hpp"
#include "wick/model/object_reader.hpp"

namespace wick::model {

namespace {

constexpr std::size_t diff_lines_max = 20;

/// What changed, a few lines a change, as Knative's details have it.
void describe_changes(const std::string& path, const json::value& old_value, const json::value& new_value,
                      std::string& text, std::size_t& lines) {
  if (old_value == new_value || lines >= diff_lines_max) return;
  const auto* old_object = old_value.if_object();
  const auto* new_object = new_value.if_object();
  const auto* old_array = old_value.if_array();
  const auto* new_array = new_value.if_array();
  if (old_object && new_object) {
    for (const auto& [key, value] : *old_object) {
      const auto* other = new_object->if_contains(key);
      describe_changes(field_path(path, key), value, other ? *other : json::value(), text, lines);
    }
    for (const auto& [key, value] : *new_object)
      if (!old_object->contains(key)) describe_changes(field_path(path, key), json::value(), value, text, lines);
  } else if (old_array && new_array && old_array->size() == new_array->size()) {
    for (std::size_t i = 0; i < old_array->size(); ++i)
      describe_changes(index_path(path, i), (*old_array)[i], (*new_array)[i], text, lines);
  } else {
    ++lines;
    text += fmt::format("{}:\n\t-: {}\n\t+: {}\n", path, printable(json::serialize(old_value)),
                        printable(json::serialize(new_value)));
  }
}

std::string changes(const std::string& path, const json::value* old_value, const json::value* new_value) {
  std::string text;
  std::size_t lines = 0;
  describe_changes(path, old_value ? *old_value : json::value(), new_value ? *new_value : json::value(), text, lines);
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

}  // namespace

void check_name_change(const json::object& object, const json::object& old, FieldErrors& errors) {
  const auto name = text_at(object, {"spec", "template", "metadata", "name"});
  if (name.empty() || name != text_at(old, {"spec", "template", "metadata", "name"})) return;
  const auto diff =
      changes("spec.template", find_value(old, {"spec", "template"}), find_value(object, {"spec", "template"}));
  if (!diff.empty())
    errors.add("Saw the following changes without a name change (-old +new)", {"spec.template.metadata.name"}, diff);
}

void check_immutable(const json::object& object, const json::object& old, std::initializer_list<std::string_view> keys,
                     const std::string& path, FieldErrors& errors) {
  const auto diff = changes(path, find_value(old, keys), find_value(object, keys));
  if (!diff.empty()) errors.add("Immutable fields changed (-old +new)", {path}, diff);
}

}  // namespace wick::model
