#include "api/selectors.hpp"

#include <fmt/format.h>

#include <optional>

#include "wick/base/text.hpp"
#include "wick/model/object_reader.hpp"

namespace wick::api {

namespace {

constexpr std::size_t selector_bytes_max = 8 << 10;

/// Parts between commas that are not inside parentheses.
std::vector<std::string_view> split_outside(std::string_view text) {
  std::vector<std::string_view> parts;
  std::size_t begin = 0;
  int depth = 0;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && text[i] == '(') ++depth;
    if (i < text.size() && text[i] == ')') --depth;
    if (i == text.size() || (text[i] == ',' && depth == 0)) {
      parts.push_back(trim(text.substr(begin, i - begin)));
      begin = i + 1;
    }
  }
  return parts;
}

std::unexpected<Error> bad(std::string_view text) {
  return fail(Errc::invalid, fmt::format("unable to parse requirement: '{}'", printable(text)));
}

std::optional<Requirement> parse_equality(std::string_view part) {
  for (const auto& [sign, op] : {std::pair{std::string_view("!="), Requirement::Operator::not_in},
                                 {"==", Requirement::Operator::in},
                                 {"=", Requirement::Operator::in}}) {
    const auto at = part.find(sign);
    if (at == part.npos) continue;
    return Requirement{op, std::string(trim(part.substr(0, at))), {std::string(trim(part.substr(at + sign.size())))}};
  }
  return std::nullopt;
}

std::optional<Requirement> parse_set(std::string_view part) {
  const auto open = part.find('(');
  if (open == part.npos || !part.ends_with(')')) return std::nullopt;
  const auto words = split(trim(part.substr(0, open)), ' ');
  if (words.size() < 2) return std::nullopt;
  Requirement requirement;
  if (words.back() == "in")
    requirement.op = Requirement::Operator::in;
  else if (words.back() == "notin")
    requirement.op = Requirement::Operator::not_in;
  else
    return std::nullopt;
  requirement.key = words.front();
  for (const auto value : split(part.substr(open + 1, part.size() - open - 2), ','))
    requirement.values.emplace(trim(value));
  return requirement;
}

bool holds(const Requirement& requirement, const std::optional<std::string>& value) {
  switch (requirement.op) {
    case Requirement::Operator::in:
      return value && requirement.values.contains(*value);
    case Requirement::Operator::not_in:
      return !value || !requirement.values.contains(*value);
    case Requirement::Operator::exists:
      return value.has_value();
    case Requirement::Operator::absent:
      break;
  }
  return !value;
}

}  // namespace

Result<std::vector<Requirement>> Selector::parse_labels(std::string_view text) {
  std::vector<Requirement> requirements;
  if (trim(text).empty()) return requirements;
  if (text.size() > selector_bytes_max) return fail(Errc::too_large, "the selector is too long");
  for (const auto part : split_outside(text)) {
    std::optional<Requirement> requirement;
    if (part.find('(') != part.npos)
      requirement = parse_set(part);
    else if (part.find('=') != part.npos)
      requirement = parse_equality(part);
    else if (part.starts_with('!'))
      requirement = Requirement{Requirement::Operator::absent, std::string(trim(part.substr(1))), {}};
    else
      requirement = Requirement{Requirement::Operator::exists, std::string(part), {}};
    if (!requirement || requirement->key.empty() || requirement->key.find(' ') != std::string::npos) return bad(part);
    requirements.push_back(std::move(*requirement));
  }
  return requirements;
}

namespace {

/// Kubernetes' own list of what is selectable beside name and namespace.
bool is_selectable(std::string_view field, std::string_view resource) {
  if (field == "metadata.name" || field == "metadata.namespace") return true;
  if (resource == "events")
    return field.starts_with("involvedObject.") || field == "reason" || field == "type" ||
           field == "reportingComponent" || field == "source";
  if (resource == "pods") return field == "status.phase" || field == "spec.nodeName" || field == "status.podIP";
  if (resource == "secrets") return field == "type";
  return resource == "namespaces" && field == "status.phase";
}

std::string field_of(const boost::json::object& object, std::string_view path) {
  const auto* here = &object;
  while (true) {
    const auto dot = path.find('.');
    if (dot == path.npos) return model::text_at(*here, {path});
    const auto* next = model::find_value(*here, {path.substr(0, dot)});
    if (!next || !next->is_object()) return {};
    here = &next->get_object();
    path.remove_prefix(dot + 1);
  }
}

}  // namespace

Result<std::vector<Requirement>> Selector::parse_fields(std::string_view text, std::string_view resource) {
  std::vector<Requirement> requirements;
  if (trim(text).empty()) return requirements;
  for (const auto part : split(text, ',')) {
    auto requirement = parse_equality(trim(part));
    if (!requirement)
      return fail(Errc::invalid,
                  fmt::format("invalid selector: '{}'; can't understand '{}'", printable(text), printable(part)));
    if (!is_selectable(requirement->key, resource))
      return fail(Errc::invalid, fmt::format("field label not supported: {}", printable(requirement->key)));
    requirements.push_back(std::move(*requirement));
  }
  return requirements;
}

Result<Selector> Selector::parse(std::string_view labels, std::string_view fields, std::string_view resource) {
  Selector selector;
  auto by_label = parse_labels(labels);
  if (!by_label) return fail(std::move(by_label.error()));
  auto by_field = parse_fields(fields, resource);
  if (!by_field) return fail(std::move(by_field.error()));
  selector.labels_ = std::move(*by_label);
  selector.fields_ = std::move(*by_field);
  return selector;
}

bool Selector::matches(const boost::json::object& object) const {
  for (const auto& requirement : labels_) {
    const auto* value = model::find_value(object, {"metadata", "labels", requirement.key});
    const auto text = value && value->is_string() ? std::optional(std::string(value->get_string())) : std::nullopt;
    if (!holds(requirement, text)) return false;
  }
  for (const auto& requirement : fields_)
    if (!holds(requirement, field_of(object, requirement.key))) return false;
  return true;
}

}  // namespace wick::api
