// Reading documents that somebody else wrote: a missing or mistyped field reads as empty, never throws.
#pragma once

#include <boost/json/value.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace wick::app::cli {

namespace json = boost::json;

/// nullopt for anything that is not one whole JSON document.
std::optional<json::value> parse_json(std::string_view text);

/// By JSON pointer (RFC 6901): "/status/url", "/metadata/annotations/wick.dev~1x". nullptr when absent.
const json::value* find_at(const json::value& document, std::string_view pointer);
/// The string there; numbers and booleans as their JSON text; "" for anything else.
std::string text_at(const json::value& document, std::string_view pointer);
std::int64_t number_at(const json::value& document, std::string_view pointer, std::int64_t otherwise = 0);
/// The elements of the array there; empty when there is none.
const json::array& array_at(const json::value& document, std::string_view pointer);

/// status.conditions[type]; nullptr when there is none.
const json::value* condition_of(const json::value& resource, std::string_view type);

/// Indented by two, keys in their order, a newline at the end.
std::string pretty(const json::value& value);

}  // namespace wick::app::cli
