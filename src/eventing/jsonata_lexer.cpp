#include "eventing/jsonata_lexer.hpp"

#include <charconv>
#include <cmath>

namespace wick::eventing::jsonata {

namespace {

constexpr std::string_view single_symbols = ".[]{}(),@#;:?+-*/%|=<>^&!~";
constexpr std::string_view double_symbols[] = {"..", ":=", "!=", ">=", "<=", "**", "~>", "?:", "??"};
constexpr std::string_view blanks = " \t\n\r\v";

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

}  // namespace

void append_utf8(std::string& out, char32_t code) {
  if (code >= 0xD800 && code <= 0xDFFF) code = 0xFFFD;  // half a pair
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0 | (code >> 6));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0 | (code >> 12));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | (code >> 18));
    out += static_cast<char>(0x80 | ((code >> 12) & 0x3F));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  }
}

void Lexer::skip_space_and_comments() {
  for (;;) {
    while (place_ < text_.size() && blanks.find(text_[place_]) != blanks.npos) ++place_;
    if (at(place_) != '/' || at(place_ + 1) != '*') return;
    const auto end = text_.find("*/", place_ + 2);
    if (end == text_.npos) throw Fault{.code = "S0106", .position = place_};
    place_ = end + 2;
  }
}

Token Lexer::next(bool after_operand) {
  skip_space_and_comments();
  if (place_ >= text_.size()) return {.kind = Token::Kind::end, .position = text_.size()};
  const char c = text_[place_];
  const auto start = place_;
  if (c == '/' && !after_operand) return read_regex();
  for (const auto symbol : double_symbols)
    if (text_.substr(place_, 2) == symbol) {
      place_ += 2;
      return {.kind = Token::Kind::symbol, .value = std::string(symbol), .position = start};
    }
  if (single_symbols.find(c) != single_symbols.npos) {
    ++place_;
    return {.kind = Token::Kind::symbol, .value = std::string(1, c), .position = start};
  }
  if (c == '"' || c == '\'') return read_text();
  if (auto number = read_number()) return *number;
  if (c == '`') {
    const auto end = text_.find('`', place_ + 1);
    if (end == text_.npos) throw Fault{.code = "S0105", .position = start};
    place_ = end + 1;
    return {
        .kind = Token::Kind::name, .value = std::string(text_.substr(start + 1, end - start - 1)), .position = start};
  }
  return read_name();
}

Token Lexer::read_regex() {
  const auto start = place_;
  auto end = start + 1;
  for (int depth = 0;; ++end) {
    if (end >= text_.size()) throw Fault{.code = "S0302", .position = start};
    const char c = text_[end];
    if (c == '/' && depth == 0) {
      std::size_t slashes = 0;
      while (text_[end - slashes - 1] == '\\') ++slashes;
      if (slashes % 2 == 0) break;
    }
    const bool escaped = text_[end - 1] == '\\';
    if ((c == '(' || c == '[' || c == '{') && !escaped) ++depth;
    if ((c == ')' || c == ']' || c == '}') && !escaped) --depth;
  }
  const auto pattern = text_.substr(start + 1, end - start - 1);
  if (pattern.empty()) throw Fault{.code = "S0301", .position = start};
  place_ = end + 1;
  while (at(place_) == 'i' || at(place_) == 'm') ++place_;
  const auto flags = text_.substr(end + 1, place_ - end - 1);
  try {
    return {.kind = Token::Kind::regex,
            .value = std::string(pattern),
            .regex = std::make_shared<const Regex>(std::string(pattern), flags),
            .position = start};
  } catch (Fault& fault) {
    fault.position = start;
    throw;
  }
}

unsigned Lexer::read_hex(std::size_t place) const {
  unsigned code = 0;
  if (place + 4 > text_.size()) throw Fault{.code = "S0104", .position = place};
  for (int i = 0; i < 4; ++i)
    if (!is_hex(text_[place + static_cast<std::size_t>(i)])) throw Fault{.code = "S0104", .position = place};
  std::from_chars(text_.data() + place, text_.data() + place + 4, code, 16);
  return code;
}

/// `place_` is behind the backslash.
std::string Lexer::read_escape() {
  const char c = at(place_);
  constexpr std::string_view names = "\"\\/bfnrt", meant = "\"\\/\b\f\n\r\t";
  if (const auto found = names.find(c); c != '\0' && found != names.npos) {
    ++place_;
    return std::string(1, meant[found]);
  }
  if (c != 'u') throw Fault{.code = "S0103", .position = place_, .token = std::string(1, c)};
  char32_t code = read_hex(place_ + 1);
  place_ += 5;
  if (code >= 0xD800 && code <= 0xDBFF && at(place_) == '\\' && at(place_ + 1) == 'u')
    if (const char32_t low = read_hex(place_ + 2); low >= 0xDC00 && low <= 0xDFFF) {
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
      place_ += 6;
    }
  std::string out;
  append_utf8(out, code);
  return out;
}

Token Lexer::read_text() {
  const auto start = place_;
  const char quote = text_[place_++];
  std::string text;
  while (place_ < text_.size()) {
    const char c = text_[place_++];
    if (c == quote) return {.kind = Token::Kind::text, .value = text, .literal = text, .position = start};
    if (c == '\\')
      text += read_escape();
    else
      text += c;
  }
  throw Fault{.code = "S0101", .position = start};
}

std::optional<Token> Lexer::read_number() {
  auto end = place_;
  if (!is_digit(at(end))) return std::nullopt;
  if (at(end) == '0')
    ++end;
  else
    while (is_digit(at(end))) ++end;
  if (at(end) == '.' && is_digit(at(end + 1)))
    for (++end; is_digit(at(end));) ++end;
  if (at(end) == 'e' || at(end) == 'E') {
    const auto digits = end + (at(end + 1) == '-' || at(end + 1) == '+' ? 2 : 1);
    if (is_digit(at(digits)))
      for (end = digits; is_digit(at(end));) ++end;
  }
  const auto text = text_.substr(place_, end - place_);
  double number = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), number).ec == std::errc::result_out_of_range)
    number = text.find("e-") != text.npos || text.find("E-") != text.npos ? 0 : HUGE_VAL;
  if (!std::isfinite(number)) throw Fault{.code = "S0102", .position = place_, .token = std::string(text)};
  Token token{.kind = Token::Kind::number, .value = std::string(text), .literal = number, .position = place_};
  place_ = end;
  return token;
}

Token Lexer::read_name() {
  const auto start = place_;
  while (place_ < text_.size() && blanks.find(text_[place_]) == blanks.npos &&
         single_symbols.find(text_[place_]) == single_symbols.npos)
    ++place_;
  const auto name = text_.substr(start, place_ - start);
  Token token{.kind = Token::Kind::name, .value = std::string(name), .position = start};
  if (name.front() == '$') {
    token.kind = Token::Kind::variable;
    token.value.erase(0, 1);
  } else if (name == "or" || name == "in" || name == "and") {
    token.kind = Token::Kind::symbol;
  } else if (name == "true" || name == "false") {
    token.kind = Token::Kind::constant;
    token.literal = name == "true";
  } else if (name == "null") {
    token.kind = Token::Kind::constant;
    token.literal = Null();
  }
  return token;
}

}  // namespace wick::eventing::jsonata
