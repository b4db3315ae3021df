#include "api/representation.hpp"

#include <fmt/format.h>

#include <boost/json/serialize.hpp>
#include <map>

#include "api/views.hpp"
#include "wick/base/text.hpp"
#include "wick/model/object_reader.hpp"

namespace wick::api {

namespace json = boost::json;

namespace {

/// Parameters of one media range: "as", "g", "v".
std::map<std::string, std::string> parameters_of(std::string_view range) {
  std::map<std::string, std::string> parameters;
  const auto parts = split(range, ';');
  for (std::size_t i = 1; i < parts.size(); ++i) {
    const auto part = trim(parts[i]);
    const auto equals = part.find('=');
    if (equals != part.npos)
      parameters[to_lower(trim(part.substr(0, equals)))] = std::string(trim(part.substr(equals + 1)));
  }
  return parameters;
}

json::object metadata_only(const json::object& object) {
  json::object shown{{"kind", "PartialObjectMetadata"}, {"apiVersion", "meta.k8s.io/v1"}};
  if (const auto* metadata = object.if_contains("metadata")) shown["metadata"] = *metadata;
  return shown;
}

json::value shown_cell(const model::PrinterColumn& column, const json::object& object, WallTime now) {
  if (column.json_path.starts_with('@')) return computed_cell(column.json_path, object);
  auto value = model::cell(column, object);
  if (value.is_null()) return column.type == "date" ? json::value("<unknown>") : json::value("");
  if (column.type != "date" || !value.is_string()) return value;
  const auto then = parse_rfc3339(value.get_string());
  if (!then) return "<unknown>";
  return json::value(human_duration(std::chrono::duration_cast<std::chrono::seconds>(now - *then)));
}

json::object definition(std::string_view name, std::string_view type, std::string_view format,
                        std::string_view description, int priority) {
  return {{"name", name}, {"type", type}, {"format", format}, {"description", description}, {"priority", priority}};
}

}  // namespace

std::string human_duration(std::chrono::seconds span) {
  const auto seconds = span.count();
  if (seconds < 0) return "0s";
  const auto two = [](long first, char first_unit, long second, char second_unit) {
    return second == 0 ? fmt::format("{}{}", first, first_unit)
                       : fmt::format("{}{}{}{}", first, first_unit, second, second_unit);
  };
  const auto minutes = seconds / 60;
  const auto hours = minutes / 60;
  const auto days = hours / 24;
  if (seconds < 120) return fmt::format("{}s", seconds);
  if (minutes < 10) return two(minutes, 'm', seconds % 60, 's');
  if (minutes < 180) return fmt::format("{}m", minutes);
  if (hours < 8) return two(hours, 'h', minutes % 60, 'm');
  if (hours < 48) return fmt::format("{}h", hours);
  if (days < 8) return two(days, 'd', hours % 24, 'h');
  if (days < 730) return fmt::format("{}d", days);
  return two(days / 365, 'y', days % 365, 'd');
}

Representation Representation::of(std::string_view accept, std::string_view include_object) {
  Representation chosen;
  if (include_object == "None") chosen.included_ = Included::none;
  if (include_object == "Object") chosen.included_ = Included::whole;
  for (const auto range : split(accept, ',')) {
    const auto type = to_lower(trim(range.substr(0, range.find(';'))));
    if (type != "application/json" && type != "application/*" && type != "*/*") continue;
    const auto parameters = parameters_of(range);
    const auto as = parameters.find("as");
    if (as == parameters.end()) break;
    if (const auto group = parameters.find("g"); group != parameters.end() && group->second != "meta.k8s.io") continue;
    if (const auto version = parameters.find("v"); version != parameters.end() && version->second != "v1") continue;
    if (as->second == "Table") {
      chosen.form_ = Form::table;
      break;
    }
    if (as->second == "PartialObjectMetadata" || as->second == "PartialObjectMetadataList") {
      chosen.form_ = Form::metadata;
      break;
    }
  }
  return chosen;
}

json::object Representation::row(const model::Kind& kind, const json::object& object, WallTime now) const {
  json::array cells{model::text_at(object, {"metadata", "name"})};
  for (const auto& column : kind.columns) cells.push_back(shown_cell(column, object, now));
  json::object row{{"cells", std::move(cells)}};
  if (included_ == Included::whole) row["object"] = object;
  if (included_ == Included::metadata) row["object"] = metadata_only(object);
  return row;
}

json::object Representation::table(const model::Kind& kind, json::array rows, json::object metadata) const {
  json::array columns;
  if (with_columns_) {
    columns.push_back(definition("Name", "string", "name", "Name of the object, unique in its namespace.", 0));
    for (const auto& column : kind.columns)
      columns.push_back(definition(column.name, column.type, "", column.name, column.priority));
  }
  return {{"kind", "Table"},
          {"apiVersion", "meta.k8s.io/v1"},
          {"metadata", std::move(metadata)},
          {"columnDefinitions", std::move(columns)},
          {"rows", std::move(rows)}};
}

json::value Representation::show(const model::Kind& kind, const json::object& object, WallTime now) const {
  switch (form_) {
    case Form::table: {
      json::array rows;
      rows.push_back(row(kind, object, now));
      return table(kind, std::move(rows),
                   {{"resourceVersion", model::text_at(object, {"metadata", "resourceVersion"})}});
    }
    case Form::metadata:
      return metadata_only(object);
    case Form::whole:
      break;
  }
  return object;
}

json::object Representation::empty_list(const model::Kind& kind, json::object metadata) const {
  if (form_ == Form::table) return table(kind, {}, std::move(metadata));
  const bool whole = form_ == Form::whole;
  return {{"apiVersion", whole ? kind.api_version() : "meta.k8s.io/v1"},
          {"kind", whole ? std::string(kind.kind) + "List" : "PartialObjectMetadataList"},
          {"metadata", std::move(metadata)},
          {"items", json::array()}};
}

std::string Representation::item_text(const model::Kind& kind, const json::object& object, WallTime now) const {
  switch (form_) {
    case Form::table:
      return json::serialize(row(kind, object, now));
    case Form::metadata:
      return json::serialize(metadata_only(object));
    case Form::whole:
      break;
  }
  return json::serialize(object);
}

std::string Representation::list_text(const model::Kind& kind, std::span<const store::ObjectValue> stored,
                                      json::object metadata, WallTime now) const {
  constexpr std::string_view end = "]}";
  auto text = json::serialize(empty_list(kind, std::move(metadata)));
  text.resize(text.size() - end.size());
  for (const auto& object : stored) {
    if (&object != &stored.front()) text += ',';
    if (kind.stored) {
      text += item_text(kind, *object, now);
      continue;
    }
    auto converted = *object;
    model::from_stored(kind, converted);
    text += item_text(kind, converted, now);
  }
  return text.append(end);
}

}  // namespace wick::api
