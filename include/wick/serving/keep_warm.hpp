// When the last idle instance of a revision is worth its memory, learnt from the revision's own idle times
// (`wick.dev/keep-warm: predicted`). Pure: time is passed in.
//
// A histogram of idle times, from the end of the last request to the next arrival, in bins of 3 % from one second to
// 26 hours. A bin is kept warm when it costs at most `seconds_per_cold_start` of an instance for each cold start that
// it saves: n · seconds_per_cold_start ≥ width · survivors. Bins are independent of each other, so this is the best
// there is for that price: a service asked every 15 minutes goes at once and is there again shortly before the 15
// minutes are over; one that is asked at random stays for as long as the next request is likely enough.
#pragma once

#include <array>
#include <optional>

#include "wick/base/time.hpp"

namespace wick::serving {

class IdleTimes {
 public:
  /// Knative's window costs 60 s or more for a cold start that it may save. A guess so far: the traces of
  /// tests/simulator have not been run to set it.
  static constexpr double seconds_per_cold_start_default = 240;

  explicit IdleTimes(double seconds_per_cold_start = seconds_per_cold_start_default)
      : seconds_per_cold_start_(seconds_per_cold_start) {}

  /// A request came `idle` after the one before had ended.
  void learn(Duration idle);
  /// Enough was seen to predict from; before that the autoscaler's window decides.
  bool known() const { return learned_ >= samples_min; }
  /// Whether an instance should be there `idle` after the last request. `lead`: what it takes to make one ready.
  bool warm_at(Duration idle, Duration lead) const;
  /// When that turns true next, from `idle` on; nullopt: never, as far as is known.
  std::optional<Duration> next_warm(Duration idle, Duration lead) const;

 private:
  static constexpr int samples_min = 4;
  static constexpr double ratio = 1.03;
  static constexpr std::size_t bins = 387;  // 1.03^387 s are 26 h
  // Halves what was seen: the last few hundred idle times count, not those of last month.
  static constexpr float total_max = 512;
  // Survivors that were never seen: a single idle time is no habit.
  static constexpr double unseen = 3;

  static std::size_t bin_of(Duration idle);
  static double start_of(std::size_t bin);
  bool worth(std::size_t bin) const { return worth_[bin]; }
  void weigh();

  double seconds_per_cold_start_;
  std::array<float, bins + 1> counts_{};  // the last bin is everything longer
  std::array<bool, bins + 1> worth_{};
  float total_ = 0;
  int learned_ = 0;
};

}  // namespace wick::serving
