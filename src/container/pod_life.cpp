#include "pod_life.hpp"

#include <algorithm>

namespace wick::container {

PodLife PodLife::adopted(std::size_t init, std::size_t beside, const std::vector<std::size_t>& down) {
  PodLife life(init, beside);
  for (std::size_t i = init; i < life.places_.size(); ++i)
    life.places_[i].up = std::ranges::find(down, i) == down.end();
  life.settled_ = true;
  return life;
}

PodLife::Verdict PodLife::start(std::size_t first, std::size_t last) {
  Verdict verdict;
  for (auto i = first; i < last; ++i) {
    places_[i].up = true;
    verdict.start.push_back(i);
  }
  return verdict;
}

PodLife::Verdict PodLife::finish() {
  over_ = true;
  return {.start = {}, .over = true};
}

PodLife::Verdict PodLife::begin() {
  if (over_) return {};
  return init_ > 0 ? start(0, 1) : start(0, places_.size());
}

PodLife::Verdict PodLife::ended(std::size_t container, bool well, Duration ran) {
  auto& place = places_[container];
  place.up = false;
  if (over_) return {};
  if (container == main()) return finish();
  if (is_init(container)) {
    if (!well) return finish();
    const auto next = container + 1;
    return next < init_ ? start(next, next + 1) : start(init_, places_.size());
  }
  if (ran >= settled_after) place.ends_in_a_row = place.failures_in_a_row = 0;
  place.failures_in_a_row = well ? 0 : place.failures_in_a_row + 1;
  if (!settled_ && place.failures_in_a_row >= failures_max) return finish();
  ++place.restarts;
  auto verdict = start(container, container + 1);
  verdict.after = std::min<Duration>(restart_most, restart_first * (1 << std::min(place.ends_in_a_row++, 20)));
  return verdict;
}

PodLife::Verdict PodLife::not_started(std::size_t container) {
  places_[container].up = false;
  return over_ ? Verdict{} : finish();
}

}  // namespace wick::container
