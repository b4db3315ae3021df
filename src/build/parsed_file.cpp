#include "parsed_file.hpp"

#include <fmt/format.h>

#include <toml++/toml.h>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <sstream>

#include "wick/base/text.hpp"
#include "wick/model/yaml.hpp"

namespace wick::build {

namespace json = boost::json;

namespace {

constexpr std::size_t nesting_max = 64;

template <class Value>
std::string printed(const Value& value) {
  std::ostringstream out;
  out << value;
  return out.str();
}

/// `depth` counts down: the parser has a bound of its own, which is wider.
json::value json_of_toml(const toml::node& node, std::size_t depth) {
  if (depth == 0) return nullptr;
  if (const auto* table = node.as_table()) {
    json::object out;
    for (const auto& [key, value] : *table) out[std::string(key.str())] = json_of_toml(value, depth - 1);
    return out;
  }
  if (const auto* list = node.as_array()) {
    json::array out;
    for (const auto& value : *list) out.push_back(json_of_toml(value, depth - 1));
    return out;
  }
  if (const auto* text = node.as_string()) return json::string(text->get());
  if (const auto* number = node.as_integer()) return number->get();
  if (const auto* number = node.as_floating_point()) return number->get();
  if (const auto* yes = node.as_boolean()) return yes->get();
  if (const auto* date = node.as_date()) return json::string(printed(date->get()));
  if (const auto* time = node.as_time()) return json::string(printed(time->get()));
  if (const auto* moment = node.as_date_time()) return json::string(printed(moment->get()));
  return nullptr;
}

Result<json::value> parse_toml(std::string_view text, std::string_view name) {
  try {
    return json_of_toml(toml::parse(text), nesting_max);
  } catch (const toml::parse_error& error) {
    return fail(Errc::invalid, fmt::format("{}:{}: {}", name, error.source().begin.line,
                                           printable(std::string_view(error.description()), 200)));
  }
}

Result<json::value> parse_json_file(std::string_view text, std::string_view name) {
  json::error_code error;
  json::parse_options options;
  options.max_depth = nesting_max;
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);  // a byte order mark, as editors on Windows leave it
  auto value = json::parse({text.data(), text.size()}, error, {}, options);
  if (error) return fail(Errc::invalid, fmt::format("{} is no JSON: {}", name, error.message()));
  return value;
}

Result<json::value> parse_yaml_file(std::string_view text, std::string_view name) {
  auto documents = model::parse_yaml(text);
  if (!documents) return fail(std::move(documents.error()).within(std::string(name)));
  return documents->empty() ? json::value() : std::move(documents->front());
}

}  // namespace

Result<json::value> parse_file(FileFormat format, std::string_view text, std::string_view name) {
  switch (format) {
    case FileFormat::json:
      return parse_json_file(text, name);
    case FileFormat::toml:
      return parse_toml(text, name);
    case FileFormat::yaml:
      return parse_yaml_file(text, name);
  }
  return json::value();
}

const json::value* value_at(const json::value& value, std::string_view path) {
  const json::value* at = &value;
  if (path.empty()) return at;
  for (const auto part : split(path, '.')) {
    if (const auto* object = at->if_object()) {
      at = object->if_contains({part.data(), part.size()});
    } else if (const auto* list = at->if_array()) {
      const auto index = parse_unsigned(part);
      at = index && *index < list->size() ? &(*list)[*index] : nullptr;
    } else {
      at = nullptr;
    }
    if (!at) return nullptr;
  }
  return at;
}

std::string text_of(const json::value& value) {
  if (const auto* text = value.if_string()) return std::string(*text);
  if (value.is_number()) return json::serialize(value);
  if (const auto* object = value.if_object()) return object->empty() ? "" : "yes";
  if (const auto* list = value.if_array()) return list->empty() ? "" : "yes";
  if (const auto* yes = value.if_bool()) return *yes ? "yes" : "";
  return {};
}

std::vector<std::string> texts_of(const json::value& value) {
  std::vector<std::string> out;
  if (const auto* object = value.if_object()) {
    for (const auto& entry : *object) out.emplace_back(entry.key());
  } else if (const auto* list = value.if_array()) {
    for (const auto& each : *list)
      if (each.is_string() || each.is_number()) out.push_back(text_of(each));
  } else if (value.is_string() || value.is_number()) {
    out.push_back(text_of(value));
  }
  return out;
}

}  // namespace wick::build
