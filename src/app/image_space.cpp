#include "app/image_space.hpp"

#include <fmt/format.h>

#include "wick/base/text.hpp"

namespace wick::app {

Result<SpaceLimit> SpaceLimit::parse(std::string_view text) {
  const auto wrong = [text] {
    return fail(Errc::invalid,
                fmt::format("expected a size like 20G or a share like 50%, found '{}'", printable(text)));
  };
  constexpr std::string_view units = "KMGT";
  const auto number = text.substr(0, text.find_first_not_of("0123456789"));
  const auto unit = text.substr(number.size());
  const auto value = parse_unsigned(number);
  if (!value || *value == 0) return wrong();
  if (unit == "%")
    return *value <= 100 ? Result<SpaceLimit>(SpaceLimit{.percent = static_cast<unsigned>(*value)}) : wrong();
  if (unit.empty()) return SpaceLimit{.bytes = *value};
  const auto power = units.find(unit.front());
  if (unit.size() > 1 || power == std::string_view::npos || *value > (1ull << 20)) return wrong();
  return SpaceLimit{.bytes = *value << (10 * (power + 1))};
}

std::uint64_t bytes_over(const ImageSpace& space, const ImageLimits& limits) {
  const auto use_max = limits.use_max.of(space.file_system);
  const auto free_min = limits.free_min.of(space.file_system);
  const auto over = space.used > use_max ? space.used - use_max + use_max / 10 : 0;
  const auto missing = space.free < free_min ? free_min - space.free + free_min / 10 : 0;
  return std::max(over, missing);
}

}  // namespace wick::app
