#include "app/cli/read_json.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace wick::app::cli {

std::optional<json::value> parse_json(std::string_view text) {
  json::error_code error;
  auto value = json::parse(text, error);
  if (error) return std::nullopt;
  return value;
}

const json::value* find_at(const json::value& document, std::string_view pointer) {
  json::error_code error;
  return document.find_pointer(pointer, error);
}

std::string text_at(const json::value& document, std::string_view pointer) {
  const auto* value = find_at(document, pointer);
  if (!value || value->is_null() || value->is_structured()) return {};
  if (value->is_string()) return std::string(value->get_string());
  return json::serialize(*value);
}

std::int64_t number_at(const json::value& document, std::string_view pointer, std::int64_t otherwise) {
  const auto* value = find_at(document, pointer);
  if (!value || !value->is_number()) return otherwise;
  json::error_code error;
  const auto number = value->to_number<std::int64_t>(error);
  return error ? otherwise : number;
}

const json::array& array_at(const json::value& document, std::string_view pointer) {
  static const json::array none;
  const auto* value = find_at(document, pointer);
  return value && value->is_array() ? value->get_array() : none;
}

const json::value* condition_of(const json::value& resource, std::string_view type) {
  for (const auto& condition : array_at(resource, "/status/conditions"))
    if (text_at(condition, "/type") == type) return &condition;
  return nullptr;
}

namespace {

void write_pretty(std::string& text, const json::value& value, std::size_t indent) {
  const std::string inner(indent + 2, ' '), outer(indent, ' ');
  const char* separator = "\n";
  if (const auto* object = value.if_object(); object && !object->empty()) {
    text += '{';
    for (const auto& [key, element] : *object) {
      text += separator + inner + json::serialize(json::string_view(key)) + ": ";
      write_pretty(text, element, indent + 2);
      separator = ",\n";
    }
    text += "\n" + outer + '}';
  } else if (const auto* array = value.if_array(); array && !array->empty()) {
    text += '[';
    for (const auto& element : *array) {
      text += separator + inner;
      write_pretty(text, element, indent + 2);
      separator = ",\n";
    }
    text += "\n" + outer + ']';
  } else {
    text += json::serialize(value);
  }
}

}  // namespace

std::string pretty(const json::value& value) {
  std::string text;
  write_pretty(text, value, 0);
  return text + '\n';
}

}  // namespace wick::app::cli
