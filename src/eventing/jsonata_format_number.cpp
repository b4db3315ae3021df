// $formatNumber: XPath F&O 3.1, 4.7 (decimal formats and pictures).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "eventing/jsonata_functions.hpp"
#include "eventing/jsonata_unicode.hpp"

namespace wick::eventing::jsonata {

namespace {

using Characters = std::u32string;
constexpr auto nowhere = Characters::npos;

/// What the picture's special characters are.
struct Symbols {
  Characters decimal = U".", grouping = U",", exponent = U"e", minus = U"-", percent = U"%", per_mille = U"\u2030",
             zero = U"0", digit = U"#", pattern = U";";

  explicit Symbols(const Object* options) {
    if (!options) return;
    const std::pair<std::string_view, Characters*> names[] = {{"decimal-separator", &decimal},
                                                              {"grouping-separator", &grouping},
                                                              {"exponent-separator", &exponent},
                                                              {"minus-sign", &minus},
                                                              {"percent", &percent},
                                                              {"per-mille", &per_mille},
                                                              {"zero-digit", &zero},
                                                              {"digit", &digit},
                                                              {"pattern-separator", &pattern}};
    for (const auto& [name, symbol] : names) {
      const auto* given = options->find(name);
      if (!given) continue;
      if (!given->is(Type::text) || given->text().empty()) throw Fault{.code = "T0410", .value = *given, .index = 3};
      *symbol = to_code_points(given->text());
    }
  }
  bool is_decimal_digit(char32_t c) const { return c >= zero.front() && c < zero.front() + 10; }
  bool is_digit(char32_t c) const { return is_decimal_digit(c) || Characters(1, c) == digit; }
  bool is_active(char32_t c) const {
    const Characters one(1, c);
    return is_digit(c) || one == decimal || one == exponent || one == grouping || one == pattern;
  }
};

struct Parts {
  Characters prefix, suffix, active, mantissa, exponent, whole, fraction, picture;
  bool has_exponent = false;
};

Parts split_picture(const Characters& picture, const Symbols& symbols) {
  Parts parts{.picture = picture};
  const auto counts = [&](char32_t c) { return symbols.is_active(c) && Characters(1, c) != symbols.exponent; };
  const auto first = std::ranges::find_if(picture, counts);
  if (first != picture.end()) {
    parts.prefix.assign(picture.begin(), first);
    auto last = picture.end();
    while (!counts(*(last - 1))) --last;
    parts.suffix.assign(last, picture.end());
  }
  parts.active = picture.substr(parts.prefix.size(), picture.size() - parts.suffix.size() - parts.prefix.size());
  const auto e = picture.find(symbols.exponent, parts.prefix.size());
  parts.has_exponent = e != nowhere && e <= picture.size() - parts.suffix.size();
  if (parts.has_exponent) {
    const auto place = std::min(e - parts.prefix.size(), parts.active.size());
    parts.mantissa = parts.active.substr(0, place);
    parts.exponent = place < parts.active.size() ? parts.active.substr(place + 1) : Characters();
  } else {
    parts.mantissa = parts.active;
  }
  const auto point = parts.mantissa.find(symbols.decimal);
  parts.whole = parts.mantissa.substr(0, point);
  parts.fraction = point == nowhere ? parts.suffix : parts.mantissa.substr(point + symbols.decimal.size());
  return parts;
}

/// F&O 4.7.3; the last rule that is broken is the one that is told.
void check(const Parts& parts, const Symbols& symbols) {
  const auto& picture = parts.picture;
  const auto twice = [&](const Characters& symbol) { return picture.find(symbol) != picture.rfind(symbol); };
  const auto has = [&](const Characters& symbol) { return picture.find(symbol) != nowhere; };
  const auto decimal = [&](char32_t c) { return symbols.is_decimal_digit(c); };
  const char* code = nullptr;
  if (twice(symbols.decimal)) code = "D3081";
  if (twice(symbols.percent)) code = "D3082";
  if (twice(symbols.per_mille)) code = "D3083";
  if (has(symbols.percent) && has(symbols.per_mille)) code = "D3084";
  if (std::ranges::none_of(parts.mantissa, [&](char32_t c) { return symbols.is_digit(c); })) code = "D3085";
  if (std::ranges::any_of(parts.active, [&](char32_t c) { return !symbols.is_active(c); })) code = "D3086";
  if (const auto point = picture.find(symbols.decimal); point != nowhere) {
    const auto at = [&](std::size_t place) { return place < picture.size() ? picture.substr(place, 1) : Characters(); };
    if ((point > 0 && at(point - 1) == symbols.grouping) || at(point + 1) == symbols.grouping) code = "D3087";
  } else if (parts.whole.ends_with(symbols.grouping)) {
    code = "D3088";
  }
  if (has(symbols.grouping + symbols.grouping)) code = "D3089";
  if (const auto optional = parts.whole.find(symbols.digit);
      optional != nowhere && std::ranges::any_of(parts.whole.substr(0, optional), decimal))
    code = "D3090";
  if (const auto optional = parts.fraction.rfind(symbols.digit);
      optional != nowhere && std::ranges::any_of(parts.fraction.substr(optional), decimal))
    code = "D3091";
  if (parts.has_exponent && !parts.exponent.empty() && (has(symbols.percent) || has(symbols.per_mille))) code = "D3092";
  if (parts.has_exponent && (parts.exponent.empty() || !std::ranges::all_of(parts.exponent, decimal))) code = "D3093";
  if (code) throw Fault{.code = code};
}

struct Plan {
  std::vector<int> whole_groups, fraction_groups;
  int every = 0, whole_min = 0, scale = 0, fraction_min = 0, fraction_max = 0, exponent_min = 0;
};

Plan plan_of(const Parts& parts, const Symbols& symbols) {
  const auto decimals = [&](const Characters& text) {
    return static_cast<int>(std::ranges::count_if(text, [&](char32_t c) { return symbols.is_decimal_digit(c); }));
  };
  const auto digits = [&](const Characters& text) {
    return static_cast<int>(std::ranges::count_if(text, [&](char32_t c) { return symbols.is_digit(c); }));
  };
  Plan plan;
  for (auto place = parts.whole.find(symbols.grouping); place != nowhere;
       place = parts.whole.find(symbols.grouping, place + 1))
    plan.whole_groups.push_back(digits(parts.whole.substr(place)));
  for (auto place = parts.fraction.find(symbols.grouping); place != nowhere;
       place = parts.fraction.find(symbols.grouping, place + 1))
    plan.fraction_groups.push_back(digits(parts.fraction.substr(0, place)));
  if (!plan.whole_groups.empty()) {
    int factor = 0;
    for (const int position : plan.whole_groups) factor = std::gcd(factor, position);
    plan.every = factor;
    for (std::size_t i = 1; i <= plan.whole_groups.size(); ++i)
      if (std::ranges::find(plan.whole_groups, static_cast<int>(i) * factor) == plan.whole_groups.end()) plan.every = 0;
  }
  plan.whole_min = plan.scale = decimals(parts.whole);
  plan.fraction_min = decimals(parts.fraction);
  plan.fraction_max = digits(parts.fraction);
  if (plan.whole_min == 0 && plan.fraction_max == 0) {
    if (parts.has_exponent)
      plan.fraction_min = plan.fraction_max = 1;
    else
      plan.whole_min = 1;
  }
  if (parts.has_exponent && plan.whole_min == 0 && parts.whole.find(symbols.digit) != nowhere) plan.whole_min = 1;
  if (plan.whole_min == 0 && plan.fraction_min == 0) plan.fraction_min = 1;
  if (parts.has_exponent) plan.exponent_min = decimals(parts.exponent);
  return plan;
}

Characters digits_of(double number, int places, const Symbols& symbols) {
  const auto plain =
      std::abs(number) < 1e21 ? fmt::format("{:.{}f}", std::abs(number), places) : number_text(std::abs(number));
  Characters out;
  for (const char c : plain)
    out += c >= '0' && c <= '9' ? symbols.zero.front() + static_cast<char32_t>(c - '0') : static_cast<char32_t>(c);
  return out;
}

}  // namespace

std::string format_number(double number, std::string_view picture_text, const Object* options) {
  const Symbols symbols(options);
  const auto picture = to_code_points(picture_text);
  std::vector<Characters> pictures;
  for (std::size_t start = 0;;) {
    const auto end = picture.find(symbols.pattern, start);
    pictures.push_back(picture.substr(start, end == nowhere ? nowhere : end - start));
    if (end == nowhere) break;
    start = end + symbols.pattern.size();
  }
  if (pictures.size() > 2) throw Fault{.code = "D3080"};
  std::vector<Parts> all;
  for (const auto& one : pictures) all.push_back(split_picture(one, symbols));
  for (const auto& one : all) check(one, symbols);
  auto parts = number >= 0 || all.size() == 1 ? all.front() : all.back();
  if (!(number >= 0) && all.size() == 1) parts.prefix = symbols.minus + parts.prefix;
  const auto plan = plan_of(parts, symbols);

  double mantissa = number;
  if (parts.picture.find(symbols.percent) != nowhere)
    mantissa *= 100;
  else if (parts.picture.find(symbols.per_mille) != nowhere)
    mantissa *= 1000;
  int exponent = 0;
  if (plan.exponent_min > 0 && mantissa != 0 && std::isfinite(mantissa)) {
    const double most = std::pow(10, plan.scale), least = std::pow(10, plan.scale - 1);
    for (; std::abs(mantissa) < least; --exponent) mantissa *= 10;
    for (; std::abs(mantissa) > most; ++exponent) mantissa /= 10;
  }
  auto text = digits_of(round_half_even(mantissa, plan.fraction_max), plan.fraction_max, symbols);
  if (const auto point = text.find(U'.'); point == nowhere)
    text += symbols.decimal;
  else
    text.replace(point, 1, symbols.decimal);
  const char32_t zero = symbols.zero.front();
  text.erase(0, std::min(text.find_first_not_of(zero), text.size()));
  text.erase(text.find_last_not_of(zero) + 1);
  auto point = text.find(symbols.decimal);
  const int missing_left = plan.whole_min - static_cast<int>(point);
  const int missing_right = plan.fraction_min - static_cast<int>(text.size() - point - 1);
  if (missing_left > 0) text.insert(0, static_cast<std::size_t>(missing_left), zero);
  if (missing_right > 0) text.append(static_cast<std::size_t>(missing_right), zero);
  point = text.find(symbols.decimal);
  const auto group_at = [&](std::size_t place) { text.insert(std::min(place, text.size()), symbols.grouping); };
  if (plan.every > 0) {
    const int groups = (static_cast<int>(point) - 1) / plan.every;
    for (int i = 1; i <= groups; ++i) group_at(point - static_cast<std::size_t>(i * plan.every));
  } else {
    for (const int position : plan.whole_groups) {
      const auto place = static_cast<std::ptrdiff_t>(point) - position;
      group_at(static_cast<std::size_t>(
          place < 0 ? std::max<std::ptrdiff_t>(0, place + static_cast<std::ptrdiff_t>(text.size())) : place));
      ++point;
    }
  }
  point = text.find(symbols.decimal);
  for (const int position : plan.fraction_groups) group_at(static_cast<std::size_t>(position) + point + 1);
  point = text.find(symbols.decimal);
  if (parts.picture.find(symbols.decimal) == nowhere || point + 1 == text.size()) text.pop_back();
  if (plan.exponent_min > 0) {
    auto digits = digits_of(exponent, 0, symbols);
    if (const int missing = plan.exponent_min - static_cast<int>(digits.size()); missing > 0)
      digits.insert(0, static_cast<std::size_t>(missing), zero);
    text += symbols.exponent + (exponent < 0 ? symbols.minus : Characters()) + digits;
  }
  return to_utf8(parts.prefix + text + parts.suffix);
}

}  // namespace wick::eventing::jsonata
