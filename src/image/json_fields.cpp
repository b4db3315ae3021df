#include "json_fields.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "wick/base/text.hpp"

namespace wick::image {

namespace json = boost::json;

namespace {

constexpr std::size_t json_depth_max = 64;

}  // namespace

Result<json::value> parse_json(std::string_view text, std::string_view what) {
  json::parse_options options;
  options.max_depth = json_depth_max;
  json::error_code error;
  auto value = json::parse(text, error, {}, options);
  if (error) return fail(Errc::corrupt, fmt::format("{} is not JSON: {}", what, error.message()));
  return value;
}

Result<json::object> parse_object(std::string_view text, std::string_view what) {
  auto value = parse_json(text, what);
  if (!value) return fail(std::move(value.error()));
  if (!value->is_object()) return fail(Errc::corrupt, fmt::format("{} is not a JSON object", what));
  return std::move(value->get_object());
}

const json::value* JsonFields::find(std::string_view name) {
  asked_.emplace_back(name);
  const auto* value = object_.if_contains(name);
  return value == nullptr || value->is_null() ? nullptr : value;
}

void JsonFields::wrong(std::string_view name, std::string_view expected) {
  if (!error_) error_ = Error(Errc::corrupt, fmt::format("{}: {} is not {}", where_, name, expected));
}

Result<void> JsonFields::result() const {
  if (error_) return fail(*error_);
  return {};
}

std::string JsonFields::string(std::string_view name) {
  const auto* value = find(name);
  if (value == nullptr) return {};
  if (const auto* text = value->if_string()) return std::string(std::string_view(*text));
  wrong(name, "a string");
  return {};
}

bool JsonFields::boolean(std::string_view name) {
  const auto* value = find(name);
  if (value == nullptr) return false;
  if (const auto* flag = value->if_bool()) return *flag;
  wrong(name, "true or false");
  return false;
}

std::uint64_t JsonFields::number(std::string_view name) {
  const auto* value = find(name);
  if (value == nullptr) return 0;
  json::error_code error;
  const auto number = value->to_number<std::uint64_t>(error);
  if (!error) return number;
  wrong(name, "a number that is not negative");
  return 0;
}

std::vector<std::string> JsonFields::strings(std::string_view name) {
  std::vector<std::string> texts;
  const auto* value = find(name);
  if (value == nullptr) return texts;
  if (const auto* array = value->if_array()) {
    for (const auto& element : *array) {
      const auto* text = element.if_string();
      if (text == nullptr) break;
      texts.emplace_back(std::string_view(*text));
    }
    if (texts.size() == array->size()) return texts;
  }
  wrong(name, "an array of strings");
  return {};
}

std::map<std::string, std::string> JsonFields::string_map(std::string_view name) {
  std::map<std::string, std::string> texts;
  const auto* value = find(name);
  if (value == nullptr) return texts;
  if (const auto* object = value->if_object()) {
    for (const auto& [key, element] : *object)
      if (const auto* text = element.if_string()) texts.emplace(key, std::string_view(*text));
    if (texts.size() == object->size()) return texts;
  }
  wrong(name, "an object of strings");
  return {};
}

std::vector<std::string> JsonFields::keys(std::string_view name) {
  std::vector<std::string> names;
  const auto fields = object(name);
  if (!fields) return names;
  for (const auto& member : *fields) names.emplace_back(member.key());
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<json::object> JsonFields::objects(std::string_view name) {
  std::vector<json::object> found;
  const auto* value = find(name);
  if (value == nullptr) return found;
  if (const auto* array = value->if_array()) {
    for (const auto& element : *array) {
      if (!element.is_object()) break;
      found.push_back(element.get_object());
    }
    if (found.size() == array->size()) return found;
  }
  wrong(name, "an array of objects");
  return {};
}

std::optional<json::object> JsonFields::object(std::string_view name) {
  const auto* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (const auto* found = value->if_object()) return *found;
  wrong(name, "an object");
  return std::nullopt;
}

Digest JsonFields::digest_of(std::string_view name, std::string_view text) {
  if (auto digest = Digest::parse(text)) return *digest;
  if (text.starts_with("sha512:") && !error_)
    error_ =
        Error(Errc::unsupported, fmt::format("{}: {} is a SHA-512 digest; only sha256 is supported", where_, name));
  wrong(name, fmt::format("sha256: and 64 hex digits, but '{}'", printable(text)));
  return {};
}

Digest JsonFields::digest(std::string_view name) { return digest_of(name, string(name)); }

std::vector<Digest> JsonFields::digests(std::string_view name) {
  std::vector<Digest> found;
  for (const auto& text : strings(name)) found.push_back(digest_of(name, text));
  return found;
}

std::string JsonFields::others() const {
  json::object rest;
  for (const auto& member : object_)
    if (std::find(asked_.begin(), asked_.end(), std::string_view(member.key())) == asked_.end())
      rest.emplace(member.key(), member.value());
  return rest.empty() ? "" : json::serialize(rest);
}

Result<Descriptor> parse_descriptor(const json::object& object, std::string_view where) {
  JsonFields fields(object, std::string(where));
  Descriptor descriptor{
      .media_type = fields.string("mediaType"), .digest = fields.digest("digest"), .size = fields.number("size")};
  if (auto ok = fields.result(); !ok) return fail(std::move(ok.error()));
  return descriptor;
}

json::object to_json(const Descriptor& descriptor) {
  return {{"mediaType", descriptor.media_type}, {"digest", descriptor.digest.text()}, {"size", descriptor.size}};
}

}  // namespace wick::image
