#include "wick/serving/sleep_budget.hpp"

#include <algorithm>

namespace wick::serving {

SleepBudget::Place& SleepBudget::Place::operator=(Place&& other) noexcept {
  if (this != &other) {
    reset();
    budget_ = std::exchange(other.budget_, nullptr);
    at_ = other.at_;
  }
  return *this;
}

void SleepBudget::Place::reset() {
  auto* budget = std::exchange(budget_, nullptr);
  if (!budget) return;
  budget->bytes_ -= at_->bytes;
  budget->sleepers_.erase(at_);
}

SleepBudget::Place SleepBudget::add(std::uint64_t bytes, TimePoint used, std::function<void()> evict) {
  bytes = std::max(bytes, sleeper_bytes_min);
  bytes_ += bytes;
  sleepers_.push_back({.bytes = bytes, .used = used, .evict = std::move(evict)});
  Place place(*this, std::prev(sleepers_.end()));
  while (bytes_ > bytes_max_) {
    // Evicted ones stay in the list, with no bytes, until their owner drops the place.
    Sleeper* least = nullptr;
    for (auto& sleeper : sleepers_)
      if (sleeper.bytes > 0 && (!least || sleeper.used < least->used)) least = &sleeper;
    if (!least) break;
    bytes_ -= std::exchange(least->bytes, 0);
    least->evict();
  }
  return place;
}

}  // namespace wick::serving
