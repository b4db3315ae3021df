// The words of a JSONata expression.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "eventing/jsonata_regex.hpp"
#include "eventing/jsonata_value.hpp"

namespace wick::eventing::jsonata {

struct Token {
  enum class Kind { name, variable, symbol, text, number, constant, regex, end } kind = Kind::end;
  std::string value;  // of a name, variable or symbol; what was read of others
  Value literal;
  std::shared_ptr<const Regex> regex;
  std::size_t position = 0;  // of its first byte
};

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}
  /// After an operand a '/' divides; elsewhere it begins a regular expression. Throws Fault.
  Token next(bool after_operand);
  std::size_t size() const { return text_.size(); }

 private:
  char at(std::size_t place) const { return place < text_.size() ? text_[place] : '\0'; }
  void skip_space_and_comments();
  Token read_regex();
  Token read_text();
  std::string read_escape();
  unsigned read_hex(std::size_t place) const;
  std::optional<Token> read_number();
  Token read_name();

  std::string_view text_;
  std::size_t place_ = 0;
};

/// Of a code point.
void append_utf8(std::string& out, char32_t code);

}  // namespace wick::eventing::jsonata
