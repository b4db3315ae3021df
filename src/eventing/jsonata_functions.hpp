// The library: https://docs.jsonata.org/string-functions and the pages beside it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "eventing/jsonata_evaluate.hpp"

namespace wick::eventing::jsonata {

/// Each group of functions as rows of the table.
std::vector<Builtin> text_functions();
std::vector<Builtin> matching_functions();
std::vector<Builtin> number_functions();
std::vector<Builtin> collection_functions();
std::vector<Builtin> date_functions();

/// $round, half to even. `precision` may be negative.
double round_half_even(double number, int precision);
/// Throws Fault D3080 to D3093.
std::string format_number(double number, std::string_view picture, const Object* options);

/// A picture of an integer (XPath F&O 4.6): "#,##0", "I", "w", "Ww;o", "a".
struct IntegerPicture {
  enum class Form { decimal, letters, roman, words, sequence } form = Form::decimal;
  enum class Case { upper, lower, title } letter_case = Case::lower;
  struct Separator {
    int position = 0;  // digits to its right
    char32_t character = 0;
  };
  bool ordinal = false;
  std::string token;  // of a sequence, which is not supported
  char32_t zero = U'0';
  int mandatory_digits = 0, optional_digits = 0;
  int every = 0;  // regular grouping; 0: as `separators` say
  std::vector<Separator> separators;
  int parse_width = 0;

  static IntegerPicture read(std::string_view picture);  // throws Fault D3131
  std::string format(double number) const;               // throws Fault D3130
  double parse(std::string_view text) const;
  /// Of what parse() takes.
  std::string expression() const;
};

}  // namespace wick::eventing::jsonata
