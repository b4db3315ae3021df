#include "wick/serving/keep_warm.hpp"

#include <algorithm>
#include <cmath>

namespace wick::serving {

std::size_t IdleTimes::bin_of(Duration idle) {
  const double length = std::chrono::duration<double>(idle).count();
  if (length <= 1) return 0;
  return std::min(bins, static_cast<std::size_t>(std::log(length) / std::log(ratio)));
}

double IdleTimes::start_of(std::size_t bin) { return bin == 0 ? 0 : std::pow(ratio, static_cast<double>(bin)); }

void IdleTimes::learn(Duration idle) {
  if (learned_ < samples_min) ++learned_;
  counts_[bin_of(idle)] += 1;
  total_ += 1;
  if (total_ > total_max) {
    total_ /= 2;
    for (auto& count : counts_) count /= 2;
  }
  weigh();
}

void IdleTimes::weigh() {
  double survivors = total_;
  for (std::size_t bin = 0; bin < bins; ++bin) {
    const double here = counts_[bin];
    const double width = start_of(bin + 1) - start_of(bin);
    worth_[bin] = here > 0 && here * seconds_per_cold_start_ >= width * (survivors - here / 2 + unseen);
    survivors -= here;
  }
}

bool IdleTimes::warm_at(Duration idle, Duration lead) const {
  const auto last = bin_of(idle + lead);
  for (auto bin = bin_of(idle); bin <= last; ++bin)
    if (worth(bin)) return true;
  return false;
}

std::optional<Duration> IdleTimes::next_warm(Duration idle, Duration lead) const {
  for (auto bin = bin_of(idle); bin < bins; ++bin) {
    if (!worth(bin)) continue;
    const auto begin = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(start_of(bin))) - lead;
    return std::max(begin, idle);
  }
  return std::nullopt;
}

}  // namespace wick::serving
