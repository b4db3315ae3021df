#include <algorithm>
#include <charconv>
#include <cmath>
#include <random>

#include "eventing/jsonata_functions.hpp"

namespace wick::eventing::jsonata {

namespace {

double parsed(std::string_view text) {
  double number = std::nan("");
  const auto result = std::from_chars(text.data(), text.data() + text.size(), number);
  if (result.ec == std::errc::result_out_of_range)
    return text.find("e-") != text.npos || text.find("E-") != text.npos ? 0 : HUGE_VAL;
  return result.ec == std::errc() ? number : std::nan("");
}

/// The number times ten to `places`, by its digits: multiplying would not be exact.
double shifted(double number, int places) {
  const auto text = number_text(number);
  const auto e = text.find('e');
  int exponent = 0;
  if (e != text.npos) {
    const auto tail = std::string_view(text).substr(text[e + 1] == '+' ? e + 2 : e + 1);
    std::from_chars(tail.data(), tail.data() + tail.size(), exponent);
  }
  return parsed(text.substr(0, e) + "e" + std::to_string(exponent + places));
}

double rounded(double number) {
  double result = std::floor(number + 0.5);  // Math.round
  if (std::abs(number) >= 4503599627370496.0) result = number;
  if (std::abs(result - number) == 0.5 && std::abs(std::fmod(result, 2)) == 1) result -= 1;
  return result == 0 ? 0 : result;
}

bool is_decimal(std::string_view text) {
  std::size_t i = 0;
  const auto digits = [&] {
    const auto from = i;
    while (i < text.size() && text[i] >= '0' && text[i] <= '9') ++i;
    return i > from;
  };
  if (i < text.size() && text[i] == '-') ++i;
  if (!digits()) return false;
  if (i < text.size() && text[i] == '.') {
    ++i;
    if (!digits()) return false;
  }
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    ++i;
    if (i < text.size() && (text[i] == '-' || text[i] == '+')) ++i;
    if (!digits()) return false;
  }
  return i == text.size();
}

/// 0x, 0o and 0b; NaN for anything else.
double based(std::string_view text) {
  if (text.size() < 3 || text[0] != '0') return std::nan("");
  const char mark = static_cast<char>(text[1] | 0x20);
  const int base = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
  if (base == 0) return std::nan("");
  double number = 0;
  for (const char c : text.substr(2)) {
    const char low = static_cast<char>(c | 0x20);
    const int digit = c >= '0' && c <= '9' ? c - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : 99;
    if (digit >= base) return std::nan("");
    number = number * base + digit;
  }
  return number;
}

Value number_function(Call& call) {
  const auto& value = call.at(0);
  if (value.missing() || value.is(Type::number)) return value;
  if (value.is(Type::boolean)) return value.truth() ? 1 : 0;
  if (value.is(Type::text)) {
    const double number = is_decimal(value.text()) ? parsed(value.text()) : based(value.text());
    if (std::isfinite(number)) return number;
  }
  throw Fault{.code = "D3030", .value = value, .index = 1};
}

template <double (*Work)(double)>
Value on_number(Call& call) {
  if (call.at(0).missing()) return {};
  return Work(call.number(0));
}

double absolute(double number) { return std::abs(number); }
double down(double number) { return std::floor(number); }
double up(double number) { return std::ceil(number) + 0.0; }

Value round_function(Call& call) {
  if (call.at(0).missing()) return {};
  const double precision = call.at(1).missing() ? 0 : std::clamp(call.number(1), -400.0, 400.0);
  return round_half_even(call.number(0), static_cast<int>(precision));
}

Value sqrt_function(Call& call) {
  if (call.at(0).missing()) return {};
  if (call.number(0) < 0) throw Fault{.code = "D3060", .value = call.at(0), .index = 1};
  return std::sqrt(call.number(0));
}

Value power_function(Call& call) {
  if (call.at(0).missing()) return {};
  const double base = call.number(0), exponent = call.at(1).missing() ? std::nan("") : call.number(1);
  // JavaScript: one to the power of no number is no number.
  const bool undefined = std::isnan(exponent) || (std::abs(base) == 1 && std::isinf(exponent));
  const double result = undefined ? std::nan("") : std::pow(base, exponent);
  if (!std::isfinite(result)) throw Fault{.code = "D3061", .value = call.at(0), .value2 = call.at(1), .index = 1};
  return result;
}

Value random_function(Call&) {
  static thread_local std::mt19937_64 generator{std::random_device{}()};
  return std::uniform_real_distribution<double>(0, 1)(generator);
}

Value sum_function(Call& call) {
  if (call.at(0).missing()) return {};
  double total = 0;
  for (const auto& item : call.items(0)) total += item.is(Type::number) ? item.number() : std::nan("");
  call.evaluation.spend(call.items(0).size());
  return total;
}

Value count_function(Call& call) {
  if (call.at(0).missing()) return 0;
  return static_cast<double>(call.items(0).size());
}

Value average_function(Call& call) {
  if (call.at(0).missing() || call.items(0).empty()) return {};
  return sum_function(call).number() / static_cast<double>(call.items(0).size());
}

template <bool Most>
Value extreme(Call& call) {
  if (call.at(0).missing() || call.items(0).empty()) return {};
  double found = Most ? -HUGE_VAL : HUGE_VAL;
  for (const auto& item : call.items(0)) {
    const double number = item.is(Type::number) ? item.number() : std::nan("");
    if (std::isnan(number)) return number;
    found = Most ? std::max(found, number) : std::min(found, number);
  }
  return found;
}

Value format_number_function(Call& call) {
  if (call.at(0).missing()) return {};
  const auto* options = call.at(2).missing() ? nullptr : &call.object(2);
  if (call.at(1).missing()) throw Fault{.code = "T0410", .index = 2};
  return call.evaluation.text(format_number(call.number(0), call.text(1), options));
}

Value format_base(Call& call) {
  if (call.at(0).missing()) return {};
  double number = rounded(call.number(0));
  const double radix = call.at(1).missing() ? 10 : rounded(call.number(1));
  if (!(radix >= 2 && radix <= 36)) throw Fault{.code = "D3100", .value = radix};
  if (!std::isfinite(number) || radix == 10) return call.evaluation.text(number_text(number));
  const bool negative = number < 0;
  number = std::abs(number);
  std::string digits;
  do {
    const int digit = static_cast<int>(std::fmod(number, radix));
    digits += "0123456789abcdefghijklmnopqrstuvwxyz"[digit];
    number = std::floor(number / radix);
  } while (number > 0);
  if (negative) digits += '-';
  std::ranges::reverse(digits);
  return call.evaluation.text(std::move(digits));
}

Value format_integer(Call& call) {
  if (call.at(0).missing()) return {};
  if (call.at(1).missing()) throw Fault{.code = "T0410", .index = 2};
  return call.evaluation.text(IntegerPicture::read(call.text(1)).format(std::floor(call.number(0))));
}

Value parse_integer(Call& call) {
  if (call.at(0).missing()) return {};
  if (call.at(1).missing()) throw Fault{.code = "T0410", .index = 2};
  return IntegerPicture::read(call.text(1)).parse(call.text(0));
}

}  // namespace

double round_half_even(double number, int precision) {
  if (precision == 0) return rounded(number);
  if (!std::isfinite(number)) return number;
  const double result = shifted(rounded(shifted(number, precision)), -precision);
  return result == 0 ? 0 : result;
}

std::vector<Builtin> number_functions() {
  return {{"number", "<(nsb)-:n>", 1, 1, number_function}, {"floor", "<n-:n>", 1, 1, on_number<down>},
          {"ceil", "<n-:n>", 1, 1, on_number<up>},         {"round", "<n-n?:n>", 2, 2, round_function},
          {"abs", "<n-:n>", 1, 1, on_number<absolute>},    {"sqrt", "<n-:n>", 1, 1, sqrt_function},
          {"power", "<n-n:n>", 2, 2, power_function},      {"random", "<:n>", 0, 0, random_function},
          {"sum", "<a<n>:n>", 1, 1, sum_function},         {"count", "<a:n>", 1, 1, count_function},
          {"max", "<a<n>:n>", 1, 1, extreme<true>},        {"min", "<a<n>:n>", 1, 1, extreme<false>},
          {"average", "<a<n>:n>", 1, 1, average_function}, {"formatNumber", "<n-so?:s>", 3, 3, format_number_function},
          {"formatBase", "<n-n?:s>", 2, 2, format_base},   {"formatInteger", "<n-s:s>", 2, 2, format_integer},
          {"parseInteger", "<s-s:n>", 2, 2, parse_integer}};
}

}  // namespace wick::eventing::jsonata
