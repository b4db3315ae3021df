#include "wick/model/quantity.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

#include "wick/base/text.hpp"

namespace wick::model {

namespace {

struct Suffix {
  std::string_view text;
  long double factor;
};

constexpr long double Ki = 1024;
constexpr std::array suffixes{
    Suffix{"", 1},
    Suffix{"m", 1e-3L},
    Suffix{"u", 1e-6L},
    Suffix{"n", 1e-9L},
    Suffix{"k", 1e3L},
    Suffix{"M", 1e6L},
    Suffix{"G", 1e9L},
    Suffix{"T", 1e12L},
    Suffix{"P", 1e15L},
    Suffix{"E", 1e18L},
    Suffix{"Ki", Ki},
    Suffix{"Mi", Ki* Ki},
    Suffix{"Gi", Ki* Ki* Ki},
    Suffix{"Ti", Ki* Ki* Ki* Ki},
    Suffix{"Pi", Ki* Ki* Ki* Ki* Ki},
};

// Kubernetes' own sentence for a quantity that does not parse.
constexpr std::string_view syntax =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

}  // namespace

Result<Quantity> parse_quantity(std::string_view text) {
  const auto bad = [&] { return fail(Errc::invalid, std::string(syntax)); };
  const auto number_end = std::min(text.find_first_not_of("0123456789."), text.size());
  const auto number = text.substr(0, number_end);
  if (number.empty() || number.size() > 40) return bad();
  double value = 0;
  if (auto [end, ec] = std::from_chars(number.data(), number.data() + number.size(), value, std::chars_format::fixed);
      ec != std::errc{} || end != number.data() + number.size())
    return bad();

  auto suffix = text.substr(number_end);
  long double factor = 0;
  if (suffix.size() > 1 && (suffix[0] == 'e' || suffix[0] == 'E') && suffix != "Ei") {
    suffix.remove_prefix(suffix[1] == '+' ? 2 : 1);
    int exponent = 0;
    auto [end, ec] = std::from_chars(suffix.data(), suffix.data() + suffix.size(), exponent);
    if (ec != std::errc{} || end != suffix.data() + suffix.size() || std::abs(exponent) > 30) return bad();
    factor = std::pow(10.0L, exponent);
  } else {
    for (const auto& known : suffixes)
      if (known.text == suffix) factor = known.factor;
    if (factor == 0) return bad();
  }

  // Rounded up, but not for the noise of a decimal fraction in binary.
  const long double exact = static_cast<long double>(value) * factor * 1000;
  const long double near = std::round(exact);
  const long double milli = std::fabs(exact - near) < 1e-6L * std::max(1.0L, near) ? near : std::ceil(exact);
  if (milli > 9.2e18L) return fail(Errc::invalid, fmt::format("quantity {} is too large", printable(text)));
  return Quantity{static_cast<std::int64_t>(milli)};
}

}  // namespace wick::model
