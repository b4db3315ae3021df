// The JSON event format (cloudevents/spec formats/json-format.md).
#include <fmt/format.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <limits>

#include "json_members.hpp"
#include "text_rules.hpp"
#include "wick/base/text.hpp"
#include "wick/eventing/cloud_event.hpp"

namespace wick::eventing {

namespace json = boost::json;

namespace {

Result<json::value> parsed(std::string_view text) {
  json::parse_options options;
  options.max_depth = json_depth_max;
  boost::system::error_code error;
  json::value value = json::parse(text, error, {}, options);
  if (error) return fail(Errc::invalid, fmt::format("not JSON: {}", error.message()));
  return value;
}

Result<AttributeValue> attribute_from(std::string_view name, const json::value& value) {
  if (value.is_string()) return std::string(value.get_string());
  if (value.is_bool()) return value.get_bool();
  const auto integer = value.is_int64() ? std::optional(value.get_int64()) : std::nullopt;
  if (integer && *integer >= std::numeric_limits<std::int32_t>::min() &&
      *integer <= std::numeric_limits<std::int32_t>::max())
    return static_cast<std::int32_t>(*integer);
  return fail(Errc::invalid, fmt::format("attribute '{}' must be a string, a boolean or an integer of 32 bits, not {}",
                                         printable(name), printable(json::serialize(value), 60)));
}

json::value to_json(const AttributeValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return json::value(*text);
  if (const auto* number = std::get_if<std::int32_t>(&value)) return json::value(*number);
  return json::value(std::get<bool>(value));
}

struct DataMembers {
  std::optional<std::string_view> data;
  std::optional<std::string_view> data_base64;
};

Result<void> set_data(CloudEvent& event, const DataMembers& members) {
  if (members.data && members.data_base64) return fail(Errc::invalid, "an event has 'data' or 'data_base64', not both");
  if (members.data_base64) {
    auto text = parsed(*members.data_base64);
    auto bytes = text && text->is_string() ? base64_decode(text->get_string()) : std::nullopt;
    if (!bytes) return fail(Errc::invalid, "'data_base64' must be a string of base64 (RFC 4648 section 4)");
    event.data = std::move(*bytes);
    return {};
  }
  if (!members.data) return {};
  if (!event.has("datacontenttype")) event.attributes["datacontenttype"] = std::string("application/json");
  const bool encoded = event.text("specversion") == "0.3" && event.has("datacontentencoding");
  if (is_json_media_type(event.text("datacontenttype")) && !encoded) {
    event.data = std::string(*members.data);
    return {};
  }
  auto text = parsed(*members.data);
  if (!text) return fail(std::move(text.error()));
  if (!text->is_string())
    return fail(Errc::invalid,
                fmt::format("'data' of media type '{}' must be a string", printable(event.text("datacontenttype"))));
  event.data = std::string(text->get_string());
  return {};
}

/// `text` is an object a parser accepted.
Result<CloudEvent> event_from(std::string_view text) {
  CloudEvent event;
  DataMembers data;
  std::map<std::string, bool, std::less<>> seen;
  for (const auto& member : members_of(text)) {
    auto name_value = parsed(member.name);
    if (!name_value || !name_value->is_string()) return fail(Errc::invalid, "not a JSON object");
    std::string name(name_value->get_string());
    if (!seen.emplace(name, true).second)
      return fail(Errc::invalid, fmt::format("'{}' is there twice", printable(name)));
    if (name == "data") {
      data.data = member.value;
      continue;
    }
    if (name == "data_base64") {
      if (member.value != "null") data.data_base64 = member.value;
      continue;
    }
    auto value = parsed(member.value);
    if (!value) return fail(std::move(value.error()));
    if (value->is_null()) continue;
    auto attribute = attribute_from(name, *value);
    if (!attribute) return fail(std::move(attribute.error()));
    event.attributes.emplace(std::move(name), std::move(*attribute));
  }
  for (const char* name : {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"})
    if (const auto found = event.attributes.find(name);
        found != event.attributes.end() && !std::holds_alternative<std::string>(found->second))
      return fail(Errc::invalid, fmt::format("attribute '{}' must be a string", name));
  if (auto valid = validate(event); !valid) return fail(std::move(valid.error()));
  if (auto set = set_data(event, data); !set) return fail(std::move(set.error()));
  return event;
}

/// Data as the value of its own member, without its leading comma.
std::string data_member(const CloudEvent& event) {
  const std::string type = event.text("datacontenttype");
  if (is_json_media_type(type) && parsed(*event.data)) return "\"data\":" + *event.data;
  if (!type.empty() && !is_json_media_type(type) && is_utf8(*event.data))
    return "\"data\":" + json::serialize(json::value(*event.data));
  return "\"data_base64\":\"" + base64_encode(*event.data) + "\"";
}

}  // namespace

Result<CloudEvent> decode_json(std::string_view text) {
  auto value = parsed(text);
  if (!value) return fail(std::move(value.error()));
  if (!value->is_object()) return fail(Errc::invalid, "a structured event must be a JSON object");
  return event_from(text);
}

Result<std::vector<CloudEvent>> decode_json_batch(std::string_view text) {
  auto value = parsed(text);
  if (!value) return fail(std::move(value.error()));
  if (!value->is_array()) return fail(Errc::invalid, "a batch must be a JSON array of events");
  const auto elements = elements_of(text);
  if (elements.size() > batch_events_max)
    return fail(Errc::too_large,
                fmt::format("a batch may hold {} events, this one has {}", batch_events_max, elements.size()));
  std::vector<CloudEvent> events;
  for (const std::string_view element : elements) {
    auto event = element.starts_with('{') ? event_from(element) : fail(Errc::invalid, "not a JSON object");
    if (!event) return fail(std::move(event.error()).within(fmt::format("event {} of the batch", events.size())));
    events.push_back(std::move(*event));
  }
  return events;
}

std::string attributes_to_json(const CloudEvent& event) {
  json::object object;
  object.reserve(event.attributes.size());
  for (const auto& [name, value] : event.attributes) object.emplace(name, to_json(value));
  return json::serialize(object);
}

Result<std::map<std::string, AttributeValue, std::less<>>> attributes_from_json(std::string_view text) {
  auto value = parsed(text);
  if (!value || !value->is_object()) return fail(Errc::corrupt, "stored attributes are not a JSON object");
  std::map<std::string, AttributeValue, std::less<>> attributes;
  for (const auto& member : value->get_object()) {
    auto attribute = attribute_from(member.key(), member.value());
    if (!attribute) return fail(Errc::corrupt, attribute.error().message());
    attributes.emplace(member.key(), std::move(*attribute));
  }
  return attributes;
}

std::string encode_json(const CloudEvent& event) {
  std::string text = attributes_to_json(event);
  if (!event.data) return text;
  text.back() = ',';
  return text + data_member(event) + "}";
}

}  // namespace wick::eventing
