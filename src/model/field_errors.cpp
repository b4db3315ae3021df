#include "wick/model/field_errors.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

namespace wick::model {

void FieldErrors::add(std::string message, std::vector<std::string> paths, std::string details) {
  errors_.push_back({std::move(message), std::move(paths), std::move(details)});
}

void FieldErrors::invalid_value(std::string_view value, std::string path, std::string details) {
  add(fmt::format("invalid value: {}", value), {std::move(path)}, std::move(details));
}

void FieldErrors::out_of_bounds(std::string_view value, std::string_view low, std::string_view high, std::string path) {
  add(fmt::format("expected {} <= {} <= {}", low, value, high), {std::move(path)});
}

void FieldErrors::invalid_key(std::string_view key, std::string path, std::string details) {
  add(fmt::format("invalid key name \"{}\"", key), {std::move(path)}, std::move(details));
}

std::string FieldErrors::text() const {
  std::map<std::pair<std::string, std::string>, std::set<std::string>> merged;
  for (const auto& error : errors_) {
    auto& paths = merged[{error.message, error.details}];
    paths.insert(error.paths.begin(), error.paths.end());
  }
  std::string text;
  for (const auto& [what, paths] : merged) {
    if (!text.empty()) text += '\n';
    text += paths.empty() ? what.first : fmt::format("{}: {}", what.first, fmt::join(paths, ", "));
    if (!what.second.empty()) text += '\n' + what.second;
  }
  return text;
}

std::string field_path(std::string_view parent, std::string_view field) {
  return parent.empty() ? std::string(field) : fmt::format("{}.{}", parent, field);
}

std::string index_path(std::string_view parent, std::size_t index) { return fmt::format("{}[{}]", parent, index); }

}  // namespace wick::model
