#include "forwarded.hpp"

#include "chars.hpp"

namespace wick::http {

namespace {

bool take_token(std::string_view& text) {
  std::size_t size = 0;
  while (size < text.size() && chars::is_token(text[size])) ++size;
  text.remove_prefix(size);
  return size > 0;
}

bool take_quoted(std::string_view& text) {
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '"') {
      text.remove_prefix(i + 1);
      return true;
    }
    if (text[i] == '\\') ++i;
    if (i < text.size() && !chars::is_value(text[i])) return false;
  }
  return false;
}

bool take(std::string_view& text, char c) {
  if (text.empty() || text.front() != c) return false;
  text.remove_prefix(1);
  return true;
}

void skip_blanks(std::string_view& text) {
  while (!text.empty() && chars::is_blank(text.front())) text.remove_prefix(1);
}

bool take_pair(std::string_view& text) {
  if (!take_token(text) || !take(text, '=')) return false;
  return !text.empty() && text.front() == '"' ? take_quoted(text) : take_token(text);
}

}  // namespace

bool is_forwarded(std::string_view text) {
  while (true) {
    skip_blanks(text);
    if (!take_pair(text)) return false;
    skip_blanks(text);
    if (text.empty()) return true;
    if (!take(text, ';') && !take(text, ',')) return false;
  }
}

}  // namespace wick::http
