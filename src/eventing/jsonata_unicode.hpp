// Strings as JSONata counts them: by code points, and where JavaScript shows through, by UTF-16 units.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace wick::eventing::jsonata {

std::size_t code_points(std::string_view text);
/// Where each code point begins, and the end.
std::vector<std::size_t> code_point_places(std::string_view text);
std::u32string to_code_points(std::string_view text);
std::string to_utf8(std::u32string_view text);
/// How many UTF-16 units the text has.
std::size_t utf16_units(std::string_view text);
/// The byte at which that many units are over.
std::size_t byte_of_unit(std::string_view text, std::size_t units);

std::string to_upper_text(std::string_view text);
std::string to_lower_text(std::string_view text);

}  // namespace wick::eventing::jsonata
