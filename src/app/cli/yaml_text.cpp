#include "app/cli/yaml_text.hpp"

#include <algorithm>
#include <boost/json/serialize.hpp>

namespace wick::app::cli {

namespace json = boost::json;

namespace {

/// Letters, digits and what stands safely between them; and no word or number of YAML 1.1's.
bool is_plain(std::string_view text) {
  if (text.empty() || text.size() > 200) return false;
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  if (!is_letter(text.front()) && text.front() != '/') return false;
  for (const char c : text)
    if (!is_letter(c) && !(c >= '0' && c <= '9') && std::string_view("-_./").find(c) == std::string_view::npos)
      return false;
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
  for (const std::string_view word : {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})
    if (lower == word) return false;
  return true;
}

bool is_empty(const json::value& value) {
  return (value.is_object() && value.get_object().empty()) || (value.is_array() && value.get_array().empty());
}

/// A JSON string is a double-quoted scalar of YAML, a JSON number a plain one.
std::string scalar(const json::value& value) {
  if (value.is_string() && is_plain(value.get_string())) return std::string(value.get_string());
  return json::serialize(value);
}

void write(const json::value& value, std::size_t depth, std::string& text);

void write_after(const json::value& value, std::size_t depth, std::string& text) {
  if (is_empty(value) || (!value.is_object() && !value.is_array())) {
    text += " " + scalar(value) + "\n";
    return;
  }
  text += '\n';
  write(value, depth, text);
}

void write(const json::value& value, std::size_t depth, std::string& text) {
  const std::string indent(depth * 2, ' ');
  if (const auto* object = value.if_object()) {
    for (const auto& [key, member] : *object) {
      text += indent + scalar(json::value(key)) + ":";
      write_after(member, member.is_array() ? depth : depth + 1, text);
    }
    return;
  }
  if (const auto* array = value.if_array()) {
    for (const auto& element : *array) {
      if (is_empty(element) || (!element.is_object() && !element.is_array())) {
        text += indent + "- " + scalar(element) + "\n";
        continue;
      }
      // The element's first line follows the dash.
      std::string inner;
      write(element, depth + 1, inner);
      inner.replace(depth * 2, 2, "- ");
      text += inner;
    }
    return;
  }
  text += indent + scalar(value) + "\n";
}

}  // namespace

std::string to_yaml(const json::value& value) {
  std::string text;
  if (is_empty(value) || (!value.is_object() && !value.is_array())) return scalar(value) + "\n";
  write(value, 0, text);
  return text;
}

}  // namespace wick::app::cli
