// What each code means. {t} is the token, {v} and {w} the values, {i} the index, {s} the second value as it is.
#include <fmt/format.h>

#include "eventing/jsonata_value.hpp"

namespace wick::eventing::jsonata {

namespace {

struct Message {
  std::string_view code, text;
};
constexpr Message messages[] = {
    {"S0101", "a string has no closing quote"},
    {"S0102", "the number {t} is out of range"},
    {"S0103", "there is no escape sequence \\{t}"},
    {"S0104", "\\u is followed by 4 hex digits"},
    {"S0105", "a quoted name ends with a backquote (`)"},
    {"S0106", "a comment has no end (*/)"},
    {"S0201", "\"{t}\" is not expected here: an operator or the end of the expression is"},
    {"S0202", "expected {v}, found \"{t}\""},
    {"S0203", "expected {v} before the end of the expression"},
    {"S0204", "there is no operator {t}"},
    {"S0207", "the expression ends where an operand is expected"},
    {"S0208", "parameter {v} of a function is a variable name ($name), not \"{t}\""},
    {"S0209", "a predicate [...] comes before the grouping {...} of a step"},
    {"S0210", "a step has at most one grouping {...}"},
    {"S0211", "\"{t}\" cannot begin an expression"},
    {"S0212", "the left side of := is a variable name ($name)"},
    {"S0213", "the literal {v} cannot be a step of a path"},
    {"S0214", "the right side of {t} is a variable name ($name)"},
    {"S0215", "@ comes before the predicates [...] of a step"},
    {"S0216", "@ comes before the order-by ^(...) of a step"},
    {"S0217", "there is no parent (%) here"},
    {"S0301", "a regular expression is not empty"},
    {"S0302", "a regular expression has no closing /"},
    {"S0401", "in a signature, <...> follows a (array) or f (function)"},
    {"S0402", "in a signature, a choice (...) has no <...>"},
    {"T0410", "argument {i} of the function {t} is none that it takes: {v}"},
    {"T0411", "the context is nothing that argument {i} of the function {t} takes: {v}"},
    {"T0412", "argument {i} of the function {t} is an array of {s}"},
    {"D1001", "the number {v} is out of range"},
    {"D1002", "only a number can be negated, not {v}"},
    {"T1003", "the key of an object is a string, not {v}"},
    {"D1004", "the regular expression {v} matches the empty string"},
    {"T1005", "{t} is no function; is ${t} meant?"},
    {"T1006", "what is called is no function"},
    {"T1007", "{t} is no function; is ${t} meant?"},
    {"T1008", "what is partially applied is no function"},
    {"D1009", "several key expressions give the key {v}"},
    {"T1010", "the matcher given to {t} does not give {match, start, end, groups, next}"},
    {"D1011", "calls are nested too deep; a call in tail position is not nested"},
    {"D1012", "the evaluation takes too long"},
    {"T2001", "the left side of {t} is a number"},
    {"T2002", "the right side of {t} is a number"},
    {"T2003", "the left side of .. is a whole number"},
    {"T2004", "the right side of .. is a whole number"},
    {"T2006", "the right side of ~> is a function"},
    {"T2007", "{v} and {w} cannot be ordered: they are of different types"},
    {"T2008", "what is ordered by is a number or a string, not {v}"},
    {"T2009", "{v} and {w} on the two sides of {t} are of different types"},
    {"T2010", "both sides of {t} are numbers or strings"},
    {"T2011", "the update of a transform is an object, not {v}"},
    {"T2012", "what a transform deletes is a string or an array of strings, not {v}"},
    {"T2013", "$clone was replaced by what is no function"},
    {"D2014", "a range has at most 10000000 numbers, not {v}"},
    {"D2015", "the evaluation makes too much"},
    {"D3001", "{v} cannot be a string"},
    {"D3010", "the pattern of $replace is not empty"},
    {"D3011", "the limit of $replace is not negative"},
    {"D3012", "what replaces a match is a string, not {v}"},
    {"D3020", "the limit of $split is not negative"},
    {"D3030", "{v} is no number"},
    {"D3040", "the limit of $match is not negative"},
    {"D3050", "the function given to $reduce takes two arguments or more"},
    {"D3060", "{v} has no square root"},
    {"D3061", "{v} to the power of {w} is no number of JSON"},
    {"D3070", "$sort without a comparator takes an array of numbers or of strings"},
    {"D3080", "the picture has more than two sub-pictures"},
    {"D3081", "the sub-picture has more than one decimal separator"},
    {"D3082", "the sub-picture has more than one percent sign"},
    {"D3083", "the sub-picture has more than one per-mille sign"},
    {"D3084", "the sub-picture has both percent and per-mille"},
    {"D3085", "the sub-picture has no digit"},
    {"D3086", "the sub-picture has a character between digits that is none of a picture's"},
    {"D3087", "the sub-picture has a grouping separator beside the decimal separator"},
    {"D3088", "the sub-picture's whole part ends with a grouping separator"},
    {"D3089", "the sub-picture has two grouping separators side by side"},
    {"D3090", "in the whole part of a sub-picture, optional digits come first"},
    {"D3091", "in the fraction of a sub-picture, optional digits come last"},
    {"D3092", "a sub-picture with percent or per-mille has no exponent"},
    {"D3093", "the exponent of a sub-picture is digits"},
    {"D3100", "the base of $formatBase is 2 to 36, not {v}"},
    {"D3110", "{v} is no ISO 8601 time"},
    {"D3120", "the expression given to $eval is wrong: {v}"},
    {"D3121", "the expression given to $eval failed: {v}"},
    {"D3130", "there is no numbering that begins with {v}"},
    {"D3131", "the digits of a picture are all of one script"},
    {"D3132", "a date picture has no component {v}"},
    {"D3133", "only months and days have names, not {v}"},
    {"D3134", "a time zone has at most four digits"},
    {"D3135", "a date picture has a [ without its ]"},
    {"D3136", "the picture does not say enough to make a time"},
    {"D3138", "$single found more than one"},
    {"D3139", "$single found none"},
    {"D3140", "{v} is no encoded URL, which ${t} takes"},
};
constexpr std::size_t shown_max = 100;  // bytes of a value

std::string shown(const Value& value) {
  if (value.missing()) return "nothing";
  if (value.is(Type::function)) return "a function";
  if (value.is(Type::number)) return number_text(value.number());
  auto text = to_json(value);
  if (text.size() <= shown_max) return text;
  text.resize(shown_max);
  return text + "…";
}

}  // namespace

std::string message_of(const Fault& fault) {
  std::string_view text = fault.detail;
  if (text.empty())
    for (const auto& one : messages)
      if (one.code == fault.code) text = one.text;
  std::string out = fault.code + ": ";
  if (!fault.detail.empty()) return out + fault.detail;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '{' || i + 2 >= text.size() || text[i + 2] != '}') {
      out += text[i];
      continue;
    }
    const char what = text[i + 1];
    if (what == 't')
      out += fault.token;
    else if (what == 'v')
      out += shown(fault.value);
    else if (what == 'w')
      out += shown(fault.value2);
    else if (what == 's')
      out += fault.value2.is(Type::text) ? fault.value2.text() : "";
    else if (what == 'i')
      out += std::to_string(fault.index);
    i += 2;
  }
  return out;
}

}  // namespace wick::eventing::jsonata
