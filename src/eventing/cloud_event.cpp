// Validation and the HTTP binding's binary mode; the JSON format is in cloud_event_json.cpp.
#include "wick/eventing/cloud_event.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "text_rules.hpp"
#include "wick/base/text.hpp"
#include "wick/base/time.hpp"

namespace wick::eventing {

namespace {

constexpr std::string_view field_prefix = "ce-";

bool starts_with_nocase(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() && iequals(text.substr(0, prefix.size()), prefix);
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool is_escape(std::string_view text, std::size_t at) {
  return at + 2 < text.size() && text[at] == '%' && hex_value(text[at + 1]) >= 0 && hex_value(text[at + 2]) >= 0;
}

std::string unquoted(std::string_view value) {
  if (value.size() < 2 || value.front() != '"' || value.back() != '"') return std::string(value);
  std::string text;
  for (std::size_t i = 1; i + 1 < value.size(); ++i) {
    if (value[i] == '\\' && i + 2 < value.size()) ++i;
    text += value[i];
  }
  return text;
}

/// Plain text that decodes to itself. The SDKs in use neither encode nor decode, so what need not change does not.
bool decodes_to_itself(std::string_view text) {
  if (text.empty()) return true;
  if (text.front() == ' ' || text.back() == ' ' || text.front() == '"') return false;
  for (std::size_t i = 0; i < text.size(); ++i)
    if (text[i] < 0x20 || text[i] > 0x7e || is_escape(text, i)) return false;
  return true;
}

std::unexpected<Error> wrong(std::string_view name, std::string_view expected, std::string_view found) {
  return fail(Errc::invalid, fmt::format("attribute '{}' must be {}, not '{}'", name, expected, printable(found)));
}

Result<void> check_core(std::string_view name, std::string_view text) {
  if (name == "source" && !is_uri_reference(text)) return wrong(name, "a URI-reference", text);
  if (name == "datacontenttype" && !is_media_type(text)) return wrong(name, "a media type", text);
  if (name == "dataschema" && !is_absolute_uri(text)) return wrong(name, "an absolute URI", text);
  if (name == "subject" && trim(text).empty()) return wrong(name, "absent or not blank", text);
  if (name == "time" && !parse_rfc3339(text)) return wrong(name, "an RFC 3339 timestamp", text);
  return {};
}

Result<CloudEvent> decode_binary(const http::Fields& fields, std::string_view body) {
  CloudEvent event;
  for (const auto& field : fields) {
    if (iequals(field.name, "content-type"))
      event.attributes.emplace("datacontenttype", std::string(trim(field.value)));
    if (!starts_with_nocase(field.name, field_prefix)) continue;
    std::string name = to_lower(std::string_view(field.name).substr(field_prefix.size()));
    if (name == "datacontenttype")
      return fail(Errc::invalid,
                  "ce-datacontenttype is not a field of the binary mode: the media type goes into Content-Type");
    if (!is_attribute_name(name))
      return fail(Errc::invalid, fmt::format("'{}' is no attribute name: lower-case letters and digits, and not 'data'",
                                             printable(name)));
    auto value = decode_header_value(field.value);
    if (!value) return fail(std::move(value.error()).within(fmt::format("attribute '{}'", name)));
    const auto [place, fresh] = event.attributes.emplace(std::move(name), std::move(*value));
    if (!fresh) return fail(Errc::invalid, fmt::format("attribute '{}' is there twice", place->first));
  }
  if (!body.empty()) event.data = std::string(body);
  if (auto valid = validate(event); !valid) return fail(std::move(valid.error()));
  return event;
}

}  // namespace

// In cloud_event_json.cpp.
Result<std::vector<CloudEvent>> decode_json_batch(std::string_view text);

std::string to_text(const AttributeValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  if (const auto* number = std::get_if<std::int32_t>(&value)) return std::to_string(*number);
  return std::get<bool>(value) ? "true" : "false";
}

std::string CloudEvent::text(std::string_view name) const {
  const auto found = attributes.find(name);
  return found == attributes.end() ? std::string() : to_text(found->second);
}

bool claims_event(const http::Fields& fields) {
  const auto type = fields.find("content-type");
  return fields.contains("ce-specversion") || (type && starts_with_nocase(trim(*type), "application/cloudevents"));
}

Result<std::vector<CloudEvent>> decode_message(const http::Fields& fields, std::string_view body) {
  const std::string_view type = trim(fields.find("content-type").value_or(""));
  const std::string format = to_lower(trim(type.substr(0, type.find(';'))));
  if (format == "application/cloudevents-batch+json" || format == "application/cloudevents-batch")
    return decode_json_batch(body);
  if (format.starts_with("application/cloudevents") && format != "application/cloudevents+json" &&
      format != "application/cloudevents")
    return fail(Errc::invalid, fmt::format("event format '{}' is not known", printable(format)),
                "send application/cloudevents+json, application/cloudevents-batch+json, or ce- header fields");
  auto event = format.starts_with("application/cloudevents") ? decode_json(body) : decode_binary(fields, body);
  if (!event) return fail(std::move(event.error()));
  std::vector<CloudEvent> events;
  events.push_back(std::move(*event));
  return events;
}

Result<void> validate(const CloudEvent& event) {
  const std::string version = event.text("specversion");
  if (!event.has("specversion")) return fail(Errc::invalid, "not a CloudEvent: attribute 'specversion' is missing");
  if (version != "1.0" && version != "0.3") return wrong("specversion", "1.0", version);
  for (const char* name : {"id", "source", "type"})
    if (trim(event.text(name)).empty())
      return fail(Errc::invalid,
                  fmt::format("required attribute '{}' is {}", name, event.has(name) ? "blank" : "missing"));
  for (const auto& [name, value] : event.attributes) {
    if (!is_attribute_name(name))
      return fail(Errc::invalid, fmt::format("'{}' is no attribute name: lower-case letters and digits, and not 'data'",
                                             printable(name)));
    const auto* text = std::get_if<std::string>(&value);
    if (!text) continue;
    if (!is_event_string(*text)) return wrong(name, "text without control characters", *text);
    if (auto checked = check_core(name, *text); !checked) return checked;
  }
  return {};
}

std::string encode_binary(const CloudEvent& event, http::Fields& fields) {
  for (const auto& [name, value] : event.attributes) {
    if (name == "datacontenttype")
      fields.set("Content-Type", to_text(value));
    else
      fields.add(std::string(field_prefix) + name, encode_header_value(to_text(value)));
  }
  return event.data.value_or("");
}

Result<std::string> decode_header_value(std::string_view value) {
  const std::string plain = unquoted(trim(value));
  std::string text;
  text.reserve(plain.size());
  for (std::size_t i = 0; i < plain.size(); ++i) {
    if (is_escape(plain, i)) {
      text += static_cast<char>(hex_value(plain[i + 1]) << 4 | hex_value(plain[i + 2]));
      i += 2;
    } else {
      text += plain[i];
    }
  }
  if (!is_utf8(text)) return fail(Errc::invalid, fmt::format("the value is not UTF-8: '{}'", printable(plain)));
  return text;
}

std::string encode_header_value(std::string_view text) {
  if (decodes_to_itself(text)) return std::string(text);
  std::string value;
  for (const char c : text) {
    const bool plain = c > 0x20 && c < 0x7f && c != '"' && c != '%';
    value += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return value;
}

}  // namespace wick::eventing
