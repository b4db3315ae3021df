#include "app/acme/schedule.hpp"

#include <algorithm>

#include "app/acme/key.hpp"

namespace wick::app::acme {

namespace {

/// 0 up to 1, the same for the same words.
double fraction_of(std::string_view host, long salt) {
  const auto digest = sha256(std::string(host) + "/" + std::to_string(salt));
  std::uint64_t number = 0;
  for (int i = 0; i < 6; ++i) number = number << 8 | static_cast<unsigned char>(digest[static_cast<std::size_t>(i)]);
  return static_cast<double>(number) / static_cast<double>(1ull << 48);
}

constexpr seconds unreachable_first(10), unreachable_max(600);
constexpr seconds refused_first(300), refused_max(12 * 3600);

}  // namespace

WallTime renewal_time(WallTime not_before, WallTime not_after, std::string_view host) {
  const auto life = not_after - not_before;
  const auto salt = std::chrono::floor<seconds>(not_after).time_since_epoch().count();
  return not_before + life / 3 * 2 +
         std::chrono::duration_cast<WallTime::duration>(life / 20 * fraction_of(host, static_cast<long>(salt)));
}

seconds wait_after(const Failure& failure, int failures, std::string_view host) {
  const bool unreachable = failure.kind == Failure::Kind::unreachable;
  const auto first = unreachable ? unreachable_first : refused_first;
  const auto most = unreachable ? unreachable_max : refused_max;
  const auto wait = std::min<seconds>(most, first * (1ll << std::clamp(failures - 1, 0, 20)));
  const auto varied = std::chrono::duration_cast<seconds>(wait * (0.8 + 0.4 * fraction_of(host, failures)));
  return failure.retry_after ? std::max(varied, *failure.retry_after) : varied;
}

}  // namespace wick::app::acme
