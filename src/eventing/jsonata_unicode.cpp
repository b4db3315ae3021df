#include "eventing/jsonata_unicode.hpp"

#include <locale.h>
#include <clocale>
#include <cwctype>

#include "eventing/jsonata_lexer.hpp"

namespace wick::eventing::jsonata {

namespace {

bool begins_code_point(char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }

/// C.UTF-8 is part of glibc: the simple case mappings of Unicode. Without it only ASCII changes.
locale_t character_types() {
  static const locale_t made = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  return made;
}

}  // namespace

std::size_t code_points(std::string_view text) {
  std::size_t count = 0;
  for (const char c : text) count += begins_code_point(c);
  return count;
}

std::vector<std::size_t> code_point_places(std::string_view text) {
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < text.size(); ++i)
    if (begins_code_point(text[i])) places.push_back(i);
  places.push_back(text.size());
  return places;
}

std::u32string to_code_points(std::string_view text) {
  std::u32string out;
  for (std::size_t i = 0; i < text.size();) {
    const auto first = static_cast<unsigned char>(text[i++]);
    char32_t code = first < 0x80 ? first : first < 0xE0 ? first & 0x1F : first < 0xF0 ? first & 0x0F : first & 0x07;
    while (i < text.size() && !begins_code_point(text[i]))
      code = (code << 6) | (static_cast<unsigned char>(text[i++]) & 0x3F);
    out += code;
  }
  return out;
}

std::string to_utf8(std::u32string_view text) {
  std::string out;
  for (const char32_t code : text) append_utf8(out, code);
  return out;
}

std::size_t utf16_units(std::string_view text) {
  std::size_t count = 0;
  for (const char c : text) count += begins_code_point(c) + (static_cast<unsigned char>(c) >= 0xF0);
  return count;
}

std::size_t byte_of_unit(std::string_view text, std::size_t units) {
  std::size_t i = 0;
  for (std::size_t count = 0; i < text.size() && count < units;) {
    count += static_cast<unsigned char>(text[i]) >= 0xF0 ? 2 : 1;
    for (++i; i < text.size() && !begins_code_point(text[i]);) ++i;
  }
  return i;
}

std::string to_upper_text(std::string_view text) {
  std::string out;
  for (const char32_t code : to_code_points(text)) {
    if (code == 0xDF)
      out += "SS";  // ß
    else if (code >= 0xFB00 && code <= 0xFB04)
      out += std::string_view("FF\0FI\0FL\0FFIFFL", 15).substr((code - 0xFB00) * 3, code < 0xFB03 ? 2 : 3);
    else
      append_utf8(out,
                  static_cast<char32_t>(character_types() ? towupper_l(static_cast<wint_t>(code), character_types())
                                                          : std::towupper(static_cast<wint_t>(code))));
  }
  return out;
}

std::string to_lower_text(std::string_view text) {
  std::string out;
  for (const char32_t code : to_code_points(text))
    append_utf8(out, static_cast<char32_t>(character_types() ? towlower_l(static_cast<wint_t>(code), character_types())
                                                             : std::towlower(static_cast<wint_t>(code))));
  return out;
}

}  // namespace wick::eventing::jsonata
