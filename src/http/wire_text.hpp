// Pieces of messages as text: what the writers of heads share.
#pragma once

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>

namespace wick::http {

inline void append_number(std::string& text, std::uint64_t value, int base = 10) {
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof digits, value, base).ptr;
  text.append(digits, end);
}

inline void append_field(std::string& text, std::string_view name, std::string_view value) {
  text.append(name);
  text += ": ";
  text.append(value);
  text += "\r\n";
}

inline void append_status_line(std::string& text, int status, std::string_view reason) {
  text += "HTTP/1.1 ";
  append_number(text, static_cast<std::uint64_t>(status));
  text += ' ';
  text.append(reason);
  text += "\r\n";
}

}  // namespace wick::http
