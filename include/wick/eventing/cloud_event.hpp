// CloudEvents 1.0 (and 0.3, passed through) on HTTP: binary, structured JSON and JSON batch, and what makes an event
// valid. Data is bytes: it is never parsed and written again, so what a producer sent is what a subscriber gets.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/http/message.hpp"

namespace wick::eventing {

/// Integer and Boolean exist in the JSON format only; headers carry everything as text.
using AttributeValue = std::variant<std::string, std::int32_t, bool>;
std::string to_text(const AttributeValue& value);

struct CloudEvent {
  /// Core attributes and extensions by name; `specversion`, `id`, `source` and `type` are always there once validated.
  std::map<std::string, AttributeValue, std::less<>> attributes;
  std::optional<std::string> data;

  bool has(std::string_view name) const { return attributes.contains(name); }
  /// Empty when absent.
  std::string text(std::string_view name) const;

  bool operator==(const CloudEvent&) const = default;
};

inline constexpr std::size_t batch_events_max = 1000;  // past it too_large
inline constexpr std::size_t json_depth_max = 512;

/// True when a message claims to be an event: a CloudEvents media type or a ce-specversion field.
bool claims_event(const http::Fields& fields);

/// The events of an HTTP message (one, but for a batch), each validated. Errors: invalid with the reason for the
/// sender; too_large.
Result<std::vector<CloudEvent>> decode_message(const http::Fields& fields, std::string_view body);
/// One event in the JSON event format.
Result<CloudEvent> decode_json(std::string_view text);

/// Required attributes, names, types and value rules (spec.md, "Context Attributes"). Errors: invalid.
Result<void> validate(const CloudEvent& event);

/// Adds the binary mode's fields to `fields` and gives the body.
std::string encode_binary(const CloudEvent& event, http::Fields& fields);
/// The JSON event format. Data that is not what its media type says goes into data_base64.
std::string encode_json(const CloudEvent& event);

/// Attributes as a JSON object and back: how the log keeps them.
std::string attributes_to_json(const CloudEvent& event);
Result<std::map<std::string, AttributeValue, std::less<>>> attributes_from_json(std::string_view text);

/// A header value as an attribute: RFC 9110 quoted-string undone, then one round of percent-decoding in which a '%'
/// that starts no escape stays. Errors: invalid (not UTF-8).
Result<std::string> decode_header_value(std::string_view value);
std::string encode_header_value(std::string_view text);

}  // namespace wick::eventing
