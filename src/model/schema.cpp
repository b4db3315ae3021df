#include "model/schema.hpp"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <map>
#include <stdexcept>
#include <vector>

#include "wick/base/text.hpp"

namespace wick::model {

namespace {

struct Line {
  std::size_t depth = 0;
  std::string_view name;
  std::string_view type;
  std::string_view description;
  bool list = false;
};

std::vector<Line> lines_of(std::string_view text) {
  std::vector<Line> lines;
  for (auto whole : split(text, '\n')) {
    if (trim(whole).empty()) continue;
    Line line;
    line.depth = whole.find_first_not_of(' ') / 2;
    const auto bar = whole.find('|');
    if (bar != whole.npos) line.description = trim(whole.substr(bar + 1));
    const auto left = trim(whole.substr(0, bar));
    const auto space = left.find(' ');
    line.name = left.substr(0, space);
    if (space != left.npos) line.type = trim(left.substr(space + 1));
    if (line.name.ends_with("[]")) {
      line.list = true;
      line.name.remove_suffix(2);
    }
    lines.push_back(line);
  }
  return lines;
}

json::object scalar(std::string_view type) {
  if (type.empty() || type == "string") return {{"type", "string"}};
  if (type == "int") return {{"type", "integer"}, {"format", "int64"}};
  if (type == "number") return {{"type", "number"}};
  if (type == "bool") return {{"type", "boolean"}};
  if (type == "time") return {{"type", "string"}, {"format", "date-time"}};
  if (type == "quantity") return {{"x-kubernetes-int-or-string", true}};
  if (type == "map") return {{"type", "object"}, {"additionalProperties", {{"type", "string"}}}};
  if (type == "quantities")
    return {{"type", "object"}, {"additionalProperties", {{"x-kubernetes-int-or-string", true}}}};
  if (type == "any") return {{"x-kubernetes-preserve-unknown-fields", true}};
  static const std::map<std::string_view, const std::string_view*> shared{{"@metadata", &outlines::metadata},
                                                                          {"@conditions", &outlines::conditions},
                                                                          {"@address", &outlines::address},
                                                                          {"@destination", &outlines::destination},
                                                                          {"@delivery", &outlines::delivery},
                                                                          {"@revision", &outlines::revision},
                                                                          {"@container", &outlines::container},
                                                                          {"@environment", &outlines::environment},
                                                                          {"@probe", &outlines::probe},
                                                                          {"@volume", &outlines::volume},
                                                                          {"@keyToPath", &outlines::key_to_path},
                                                                          {"@traffic", &outlines::traffic},
                                                                          {"@build", &outlines::build}};
  if (const auto found = shared.find(type); found != shared.end()) return outline(*found->second);
  throw std::logic_error(fmt::format("an outline has no type '{}'", type));
}

/// The fields from lines[at] on that are as deep as it; `at` ends behind them.
json::object fields(const std::vector<Line>& lines, std::size_t& at) {
  json::object properties;
  const auto depth = at < lines.size() ? lines[at].depth : 0;
  while (at < lines.size() && lines[at].depth == depth) {
    const auto& line = lines[at++];
    if (line.name.starts_with('@')) {  // the fields of another outline
      for (auto& [name, schema] : scalar(line.name)["properties"].as_object()) properties[name] = std::move(schema);
      continue;
    }
    json::object schema;
    if (at < lines.size() && lines[at].depth > depth)
      schema = {{"type", "object"}, {"properties", fields(lines, at)}};
    else
      schema = scalar(line.type);
    if (line.list) schema = {{"type", "array"}, {"items", std::move(schema)}};
    if (!line.description.empty()) schema["description"] = line.description;
    if (!properties.emplace(line.name, std::move(schema)).second)
      throw std::logic_error(fmt::format("an outline has '{}' twice", line.name));
  }
  return properties;
}

}  // namespace

json::object outline(std::string_view text, std::string_view description) {
  const auto lines = lines_of(text);
  std::size_t at = 0;
  json::object schema{{"type", "object"}, {"properties", fields(lines, at)}};
  if (at != lines.size()) throw std::logic_error(fmt::format("an outline is indented badly at '{}'", lines[at].name));
  if (!description.empty()) schema["description"] = description;
  return schema;
}

json::object resource_outline(std::string_view text, std::string_view description) {
  auto schema = outline(text, description);
  auto& properties = schema["properties"].as_object();
  json::object all{
      {"apiVersion", {{"type", "string"}, {"description", "The group and version of the schema this object follows."}}},
      {"kind", {{"type", "string"}, {"description", "The kind of this object."}}},
      {"metadata", outline(outlines::metadata, "Standard object's metadata.")}};
  for (auto& [name, value] : properties) all[name] = std::move(value);
  properties = std::move(all);
  return schema;
}

}  // namespace wick::model
