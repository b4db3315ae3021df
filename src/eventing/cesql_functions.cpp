// Casts and functions (spec 3.3 and 3.5). Lengths and positions count characters, not bytes.
#include <fmt/format.h>

#include <charconv>
#include <limits>

#include "cesql_node.hpp"
#include "wick/base/text.hpp"

namespace wick::eventing::cesql {

namespace {

using Values = std::vector<AttributeValue>;

Outcome bad_cast(AttributeValue zero, const AttributeValue& value, std::string_view type) {
  return {.value = std::move(zero),
          .fault = Fault::cast,
          .detail = fmt::format("'{}' is no {}", printable(to_text(value), 60), type)};
}
Outcome bad_call(AttributeValue value, std::string detail) {
  return {.value = std::move(value), .fault = Fault::function_evaluation, .detail = std::move(detail)};
}

/// Where each character starts, and the end. The text is UTF-8, which validation saw to.
std::vector<std::size_t> characters(std::string_view text) {
  std::vector<std::size_t> starts;
  for (std::size_t i = 0; i < text.size(); ++i)
    if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) starts.push_back(i);
  starts.push_back(text.size());
  return starts;
}
std::int32_t length(std::string_view text) { return static_cast<std::int32_t>(characters(text).size() - 1); }

/// Unicode's White_Space at either end.
std::string_view trimmed(std::string_view text) {
  static constexpr std::string_view spaces[] = {" ",      "\t",     "\n",     "\v",     "\f",     "\r",     "\u0085",
                                                "\u00a0", "\u1680", "\u2000", "\u2001", "\u2002", "\u2003", "\u2004",
                                                "\u2005", "\u2006", "\u2007", "\u2008", "\u2009", "\u200a", "\u2028",
                                                "\u2029", "\u202f", "\u205f", "\u3000"};
  const auto cut = [&] {
    for (const std::string_view space : spaces) {
      if (text.starts_with(space)) return text.remove_prefix(space.size()), true;
      if (text.ends_with(space)) return text.remove_suffix(space.size()), true;
    }
    return false;
  };
  while (cut()) {
  }
  return text;
}

std::string upper(std::string text) {
  for (char& c : text)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return text;
}

const std::string& text_at(const Values& values, std::size_t i) { return std::get<std::string>(values[i]); }
std::int32_t integer_at(const Values& values, std::size_t i) { return std::get<std::int32_t>(values[i]); }

Outcome left(const std::string& text, std::int32_t count) {
  if (count < 0) return bad_call(text, fmt::format("LEFT of {} characters", count));
  const auto starts = characters(text);
  return {.value = text.substr(0, starts[std::min<std::size_t>(static_cast<std::size_t>(count), starts.size() - 1)])};
}

Outcome right(const std::string& text, std::int32_t count) {
  if (count < 0) return bad_call(text, fmt::format("RIGHT of {} characters", count));
  const auto starts = characters(text);
  const auto have = starts.size() - 1;
  return {.value = text.substr(starts[have - std::min<std::size_t>(static_cast<std::size_t>(count), have)])};
}

/// 1 is the first character, -1 the last, 0 gives nothing.
Outcome substring(const std::string& text, std::int32_t position, std::int32_t count) {
  const auto starts = characters(text);
  const auto have = static_cast<std::int64_t>(starts.size() - 1);
  if (position == 0) return {.value = std::string()};
  if (position < -have || position > have)
    return bad_call(std::string(), fmt::format("SUBSTRING from {} of {} characters", position, have));
  if (count < 0) return bad_call(std::string(), fmt::format("SUBSTRING of {} characters", count));
  const std::int64_t first = position > 0 ? position - 1 : have + position;
  const std::int64_t last = std::min<std::int64_t>(first + count, have);
  const auto begin = starts[static_cast<std::size_t>(first)];
  return {.value = text.substr(begin, starts[static_cast<std::size_t>(last)] - begin)};
}

Outcome joined(const Values& values, std::string_view separator, std::size_t first) {
  std::string text;
  for (std::size_t i = first; i < values.size(); ++i) {
    if (i > first) text += separator;
    text += text_at(values, i);
  }
  return {.value = std::move(text)};
}

constexpr std::size_t any_number = std::numeric_limits<std::size_t>::max();

struct Function {
  std::string_view name;
  std::string_view parameters;  // a letter each: s string, i integer, b boolean, a any; the last repeats
  std::size_t least, most;
  Outcome (*run)(const Values&);
};

Outcome absolute(const Values& v) {
  const auto value = integer_at(v, 0);
  if (value == std::numeric_limits<std::int32_t>::min())
    return {
        .value = std::numeric_limits<std::int32_t>::max(), .fault = Fault::math, .detail = "ABS has more than 32 bits"};
  return {.value = value < 0 ? -value : value};
}

constexpr Function functions[] = {
    {"length", "s", 1, 1, [](const Values& v) { return Outcome{.value = length(text_at(v, 0))}; }},
    {"concat", "s", 0, any_number, [](const Values& v) { return joined(v, "", 0); }},
    {"concat_ws", "s", 1, any_number, [](const Values& v) { return joined(v, text_at(v, 0), 1); }},
    {"lower", "s", 1, 1, [](const Values& v) { return Outcome{.value = to_lower(text_at(v, 0))}; }},
    {"upper", "s", 1, 1, [](const Values& v) { return Outcome{.value = upper(text_at(v, 0))}; }},
    {"trim", "s", 1, 1, [](const Values& v) { return Outcome{.value = std::string(trimmed(text_at(v, 0)))}; }},
    {"left", "si", 2, 2, [](const Values& v) { return left(text_at(v, 0), integer_at(v, 1)); }},
    {"right", "si", 2, 2, [](const Values& v) { return right(text_at(v, 0), integer_at(v, 1)); }},
    {"substring", "si", 2, 3,
     [](const Values& v) {
       return substring(text_at(v, 0), integer_at(v, 1),
                        v.size() == 3 ? integer_at(v, 2) : std::numeric_limits<std::int32_t>::max());
     }},
    {"abs", "i", 1, 1, absolute},
    {"int", "a", 1, 1, [](const Values& v) { return to_integer(v[0]); }},
    {"bool", "a", 1, 1, [](const Values& v) { return to_boolean(v[0]); }},
    {"string", "a", 1, 1, [](const Values& v) { return to_string_value(v[0]); }},
    {"is_int", "a", 1, 1, [](const Values& v) { return Outcome{.value = to_integer(v[0]).fault == Fault::none}; }},
    {"is_bool", "a", 1, 1, [](const Values& v) { return Outcome{.value = to_boolean(v[0]).fault == Fault::none}; }},
};

}  // namespace

Outcome to_string_value(const AttributeValue& value) { return {.value = to_text(value)}; }

Outcome to_integer(const AttributeValue& value) {
  if (std::holds_alternative<std::int32_t>(value)) return {.value = value};
  if (const auto* boolean = std::get_if<bool>(&value)) return {.value = static_cast<std::int32_t>(*boolean)};
  const auto& text = std::get<std::string>(value);
  const char* first = text.data();
  const char* last = first + text.size();
  if (first != last && *first == '+' && last - first > 1 && first[1] != '-') ++first;
  std::int32_t number = 0;
  const auto [end, error] = std::from_chars(first, last, number);
  if (error != std::errc{} || end != last) return bad_cast(std::int32_t{0}, value, "Integer");
  return {.value = number};
}

Outcome to_boolean(const AttributeValue& value) {
  if (std::holds_alternative<bool>(value)) return {.value = value};
  if (const auto* number = std::get_if<std::int32_t>(&value)) return {.value = *number != 0};
  const std::string text = to_lower(std::get<std::string>(value));
  if (text == "true" || text == "false") return {.value = text == "true"};
  return bad_cast(false, value, "Boolean");
}

Outcome call_function(std::string_view name, std::vector<AttributeValue> arguments) {
  for (const Function& function : functions) {
    if (function.name != name || arguments.size() < function.least || arguments.size() > function.most) continue;
    Outcome cast_faults;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
      const char type = function.parameters[std::min(i, function.parameters.size() - 1)];
      if (type == 'a') continue;
      Outcome converted = type == 'i' ? to_integer(arguments[i]) : to_string_value(arguments[i]);
      if (cast_faults.fault == Fault::none && converted.fault != Fault::none) cast_faults = converted;
      arguments[i] = std::move(converted.value);
    }
    Outcome result = function.run(arguments);
    if (cast_faults.fault == Fault::none) return result;
    result.fault = cast_faults.fault;
    result.detail = cast_faults.detail;
    return result;
  }
  return {
      .value = false,
      .fault = Fault::missing_function,
      .detail = fmt::format("there is no function {} with {} parameters", upper(std::string(name)), arguments.size())};
}

}  // namespace wick::eventing::cesql
