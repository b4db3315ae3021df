#include "text_rules.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "wick/base/text.hpp"

namespace wick::eventing {

namespace {

bool is_lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/// RFC 9110 5.6.2.
bool is_token(std::string_view text) {
  const auto allowed = [](char c) {
    return is_letter(c) || (c >= '0' && c <= '9') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  };
  return !text.empty() && std::all_of(text.begin(), text.end(), allowed);
}

/// Takes one code point off the front; nullopt where the bytes are not UTF-8 (RFC 3629).
std::optional<char32_t> take_code_point(std::string_view& text) {
  const auto first = static_cast<std::uint8_t>(text.front());
  const std::size_t length = first < 0x80 ? 1 : first >> 5 == 6 ? 2 : first >> 4 == 14 ? 3 : first >> 3 == 30 ? 4 : 0;
  if (length == 0 || text.size() < length) return std::nullopt;
  char32_t point = length == 1 ? first : first & (0x7f >> length);
  for (std::size_t i = 1; i < length; ++i) {
    const auto next = static_cast<std::uint8_t>(text[i]);
    if (next >> 6 != 2) return std::nullopt;
    point = point << 6 | (next & 0x3f);
  }
  constexpr char32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  if (point < least[length] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return std::nullopt;
  text.remove_prefix(length);
  return point;
}

bool is_noncharacter(char32_t point) { return (point >= 0xfdd0 && point <= 0xfdef) || (point & 0xfffe) == 0xfffe; }
bool is_control(char32_t point) { return point < 0x20 || (point >= 0x7f && point < 0xa0); }

std::string_view without_parameters(std::string_view media_type) {
  return trim(media_type.substr(0, media_type.find(';')));
}

}  // namespace

bool is_utf8(std::string_view text) {
  while (!text.empty())
    if (!take_code_point(text)) return false;
  return true;
}

bool is_event_string(std::string_view text) {
  while (!text.empty()) {
    const auto point = take_code_point(text);
    if (!point || is_control(*point) || is_noncharacter(*point)) return false;
  }
  return true;
}

bool is_attribute_name(std::string_view name) {
  return !name.empty() && name != "data" && std::all_of(name.begin(), name.end(), is_lower_or_digit);
}

bool is_uri_reference(std::string_view text) {
  return is_event_string(text) && text.find_first_of(" <>\"{}|\\^`") == std::string_view::npos;
}

bool is_absolute_uri(std::string_view text) {
  const auto scheme = text.substr(0, text.find(':'));
  const auto allowed = [](char c) {
    return is_letter(c) || (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
  };
  return scheme.size() < text.size() && !scheme.empty() && is_letter(scheme[0]) &&
         std::all_of(scheme.begin(), scheme.end(), allowed) && is_uri_reference(text);
}

bool is_media_type(std::string_view text) {
  const std::string_view plain = without_parameters(text);
  const auto slash = plain.find('/');
  const bool printable = std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
  return printable && text == trim(text) && slash != std::string_view::npos && is_token(plain.substr(0, slash)) &&
         is_token(plain.substr(slash + 1));
}

bool is_json_media_type(std::string_view text) {
  const std::string plain = to_lower(without_parameters(text));
  return plain.ends_with("/json") || plain.ends_with("+json");
}

}  // namespace wick::eventing
