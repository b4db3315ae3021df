// CloudEvents and MQTT messages, each as the other.
#include <fmt/format.h>

#include <algorithm>

#include "text_rules.hpp"
#include "wick/base/text.hpp"
#include "wick/base/time.hpp"
#include "wick/eventing/mqtt.hpp"
#include "wick/model/mqtt.hpp"

namespace wick::eventing::mqtt {

namespace {

constexpr std::string_view structured_type = "application/cloudevents+json";

std::string media_type_of(std::string_view content_type) {
  return to_lower(trim(content_type.substr(0, content_type.find(';'))));
}

/// User properties that cannot be attributes are the application's own; one that is an attribute twice makes no event.
Result<CloudEvent> binary_event(const Message& message) {
  CloudEvent event;
  for (const auto& [name, value] : message.user_properties) {
    if (!is_attribute_name(name) || name == "datacontenttype") continue;
    if (!event.attributes.emplace(name, value).second)
      return fail(Errc::invalid, fmt::format("attribute '{}' is there twice", name));
  }
  if (!message.content_type.empty()) event.attributes["datacontenttype"] = message.content_type;
  if (!message.payload.empty()) event.data = message.payload;
  if (auto valid = validate(event); !valid) return fail(std::move(valid.error()));
  return event;
}

Result<CloudEvent> claimed_event(const Message& message, Version version) {
  // 3.1.1 has no content type: what reads as an event is one.
  if (version == Version::v311) return decode_json(message.payload);
  if (media_type_of(message.content_type) == structured_type) return decode_json(message.payload);
  return binary_event(message);
}

/// In a URI's path (RFC 3986 3.3), '/' kept.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~/!$&'()*+,;=:@").contains(c);
    if (plain)
      out += c;
    else
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

/// "{type}" at `at`: its name, and where it ends; nullopt where no '}' follows.
struct Field {
  std::string_view name;
  std::size_t end = 0;
};
std::optional<Field> field_at(std::string_view pattern, std::size_t at) {
  const auto end = pattern.find('}', at);
  if (end == pattern.npos) return std::nullopt;
  return Field{pattern.substr(at + 1, end - at - 1), end + 1};
}

}  // namespace

CloudEvent event_of(const Message& message, Version version, const std::string& server, std::string id, WallTime now) {
  if (auto event = claimed_event(message, version)) return std::move(*event);
  CloudEvent event;
  event.attributes["specversion"] = std::string("1.0");
  event.attributes["id"] = std::move(id);
  event.attributes["type"] = std::string("dev.wick.mqtt.message");
  event.attributes["source"] = fmt::format("{}/{}", server, escaped(message.topic));
  event.attributes["time"] = to_rfc3339_nano(now);
  const bool printable_topic = is_event_string(message.topic) && !trim(message.topic).empty();
  event.attributes["subject"] = printable_topic ? message.topic : escaped(message.topic);
  if (is_event_string(message.content_type) && is_media_type(message.content_type))
    event.attributes["datacontenttype"] = message.content_type;
  event.data = message.payload;
  return event;
}

Message message_of(const CloudEvent& event, Version version, ContentMode mode) {
  Message message;
  if (version == Version::v311 || mode == ContentMode::structured) {
    message.content_type = structured_type;
    message.payload = encode_json(event);
    return message;
  }
  for (const auto& [name, value] : event.attributes)
    if (name != "datacontenttype") message.user_properties.emplace_back(name, to_text(value));
  message.content_type = event.text("datacontenttype");
  message.payload = event.data.value_or(std::string());
  return message;
}

Result<std::string> topic_of(std::string_view pattern, const CloudEvent& event) {
  std::string topic;
  for (std::size_t at = 0; at < pattern.size();) {
    const auto field = pattern[at] == '{' ? field_at(pattern, at) : std::nullopt;
    if (!field) {
      topic += pattern[at++];
      continue;
    }
    const auto value = event.text(field->name);
    if (value.empty())
      return fail(Errc::invalid,
                  fmt::format("the topic needs the attribute '{}', which the event has not", printable(field->name)));
    if (value.find_first_of("+#") != value.npos)
      return fail(Errc::invalid,
                  fmt::format("the attribute '{}' has a wildcard of MQTT in it: '{}'", field->name, printable(value)));
    topic += value;
    at = field->end;
  }
  // "$SYS/…" is the server's own (5.0 4.7.2): an event does not get there by its attributes.
  if (topic.starts_with('$') && !pattern.starts_with('$'))
    return fail(Errc::invalid, fmt::format("'{}' begins with $, which is the server's", printable(topic)));
  if (auto complaint = model::mqtt_topic_complaint(topic); !complaint.empty())
    return fail(Errc::invalid, fmt::format("'{}': {}", printable(topic), complaint));
  return topic;
}

}  // namespace wick::eventing::mqtt
