#include "wick/serving/autoscaler.hpp"

#include <cmath>
#include <utility>

namespace wick::serving {

namespace {

constexpr seconds delay_granularity{2};

long whole_seconds(Duration duration) { return std::chrono::floor<seconds>(duration).count(); }

// Of Knative's weighted buckets: what the weights of a whole window add up to, and the least newest weight.
constexpr double weight_precision = 0.9999;
constexpr double coefficient_min = 0.2;

double total_of(const Scaling& scaling, int container_concurrency) {
  if (scaling.metric == Scaling::Metric::rps) return scaling.target > 0 ? scaling.target : scaling.rps_target_default;
  double total = container_concurrency > 0 ? container_concurrency : scaling.target_default;
  if (scaling.target > 0) total = container_concurrency > 0 ? std::min(scaling.target, total) : scaling.target;
  return total;
}

seconds panic_window_of(const Scaling& scaling) {
  const double exact =
      std::chrono::duration<double>(scaling.stable_window).count() * scaling.panic_window_percentage / 100;
  return seconds(std::max(1L, std::lround(exact)));
}

double to_six_digits(double value) { return std::round(value * 1e6) / 1e6; }

}  // namespace

Load LoadMeter::take(TimePoint now) {
  change(now, 0);
  const double elapsed = std::chrono::duration<double>(now - since_).count();
  const double average = elapsed > 0 ? area_ / elapsed : current_;
  since_ = now;
  area_ = 0;
  return {.in_flight = average, .requests = static_cast<double>(std::exchange(arrived_, 0))};
}

WindowAverage::WindowAverage(seconds length, Scaling::Aggregation aggregation)
    : buckets_(static_cast<std::size_t>(std::max<long>(1, length.count()))) {
  if (aggregation == Scaling::Aggregation::weighted_exponential)
    coefficient_ =
        std::max(1 - std::pow(1 - weight_precision, 1.0 / static_cast<double>(buckets_.size())), coefficient_min);
}

void WindowAverage::record(long second, double value) {
  const auto length = static_cast<long>(buckets_.size());
  if (!first_ || second - last_ >= length) {
    std::ranges::fill(buckets_, 0.0);
    first_ = second;
    last_ = second;
  }
  for (; last_ < second; bucket(last_) = 0) ++last_;
  bucket(second) += value;
}

double WindowAverage::average(long second, double unrecorded) const {
  const auto length = static_cast<long>(buckets_.size());
  if (coefficient_ > 0) return weighted(second, unrecorded);
  if (!first_ || second - last_ >= length) return to_six_digits(unrecorded);
  const long oldest = std::max(*first_, second - length + 1);
  double sum = unrecorded;
  for (long each = oldest; each <= std::min(last_, second); ++each) sum += bucket(each);
  return to_six_digits(sum / static_cast<double>(second - oldest + 1));
}

double WindowAverage::weighted(long second, double unrecorded) const {
  double sum = coefficient_ * unrecorded;
  const auto length = static_cast<long>(buckets_.size());
  if (!first_ || second - last_ >= length) return to_six_digits(sum);
  const long oldest = std::max(*first_, second - length + 1);
  double weight = coefficient_ * std::pow(1 - coefficient_, static_cast<double>(second - std::min(last_, second)));
  for (long each = std::min(last_, second); each >= oldest; --each, weight *= 1 - coefficient_)
    sum += weight * bucket(each);
  return to_six_digits(sum);
}

Autoscaler::Autoscaler(const Scaling& scaling, int container_concurrency, TimePoint now)
    : scaling_(scaling),
      container_concurrency_(container_concurrency),
      total_value_(total_of(scaling, container_concurrency)),
      target_value_(std::max(0.01, total_value_ * scaling.utilization)),
      panic_window_(panic_window_of(scaling)),
      origin_(now),
      proxied_since_(now),
      stable_(std::chrono::duration_cast<seconds>(scaling.stable_window), scaling.aggregation),
      panic_(panic_window_, scaling.aggregation) {}

TimePoint Autoscaler::next_tick(TimePoint now) const { return origin_ + seconds(whole_seconds(now - origin_) + 1); }

long Autoscaler::second_ended_at(TimePoint now) const { return whole_seconds(now - origin_ - Duration(1)); }

void Autoscaler::record(TimePoint now, Load load) {
  stable_.record(second_ended_at(now), metric_of(load));
  panic_.record(second_ended_at(now), metric_of(load));
}

void Autoscaler::became_active(TimePoint now) {
  if (active_since_ && !inactive_since_) return;
  active_since_ = now;
  inactive_since_.reset();
}

Autoscaler::Raw Autoscaler::formulas(long second, double unrecorded, const Observation& seen) const {
  const double ready = std::max(1, seen.ready);
  const int most = static_cast<int>(std::min(1e6, std::ceil(scaling_.max_scale_up_rate * ready)));
  const int least = seen.reachable ? static_cast<int>(std::floor(ready / scaling_.max_scale_down_rate)) : 0;
  Raw raw;
  raw.stable_average = stable_.average(second, unrecorded);
  raw.panic_average = panic_.average(second, unrecorded);
  const int stable_wanted = static_cast<int>(std::ceil(raw.stable_average / target_value_));
  const int panic_wanted = static_cast<int>(std::ceil(raw.panic_average / target_value_));
  raw.stable = std::clamp(stable_wanted, std::min(least, most), most);
  raw.panic = std::clamp(panic_wanted, std::min(least, most), most);
  if (scaling_.activation_scale > 1) {
    if (stable_wanted > 0) raw.stable = std::max(raw.stable, scaling_.activation_scale);
    if (panic_wanted > 0) raw.panic = std::max(raw.panic, scaling_.activation_scale);
  }
  raw.over = panic_wanted / ready >= scaling_.panic_threshold_percentage / 100;
  return raw;
}

Decision Autoscaler::decide(TimePoint now, const Observation& seen) {
  if (stable_.empty()) return {.desired = bounded(seen.ready, seen)};
  const auto raw = formulas(second_ended_at(now), 0, seen);
  if (raw.over) {
    panic_since_ = now;
  } else if (in_panic() && *panic_since_ + scaling_.stable_window < now) {
    panic_since_.reset();
    panic_highest_ = 0;
  }
  int wanted = raw.stable;
  if (in_panic()) {
    panic_highest_ = std::max({panic_highest_, raw.stable, raw.panic});
    wanted = panic_highest_;
  }
  if (seen.reachable) wanted = delayed(now, wanted);
  Decision decision{.desired = held_from_zero(now, bounded(wanted, seen), seen),
                    .panicking = in_panic(),
                    .stable_average = raw.stable_average,
                    .panic_average = raw.panic_average};
  const double burst = scaling_.target_burst_capacity;
  if (burst < 0) decision.excess_burst_capacity = -1;
  if (burst > 0) decision.excess_burst_capacity = std::floor(seen.ready * total_value_ - burst - raw.panic_average);
  return decision;
}

int Autoscaler::wanted_for_burst(TimePoint now, const Observation& seen, Load in_progress) const {
  const int in_flight = static_cast<int>(in_progress.in_flight);
  const auto raw = formulas(whole_seconds(now - origin_), metric_of(in_progress), seen);
  const int wanted = in_panic() || raw.over ? std::max({panic_highest_, raw.stable, raw.panic}) : raw.stable;
  const int occupied =
      container_concurrency_ > 0 ? (in_flight + container_concurrency_ - 1) / container_concurrency_ : 1;
  const int floor = in_flight > 0 ? std::max(1, scaling_.activation_scale) : 0;
  return bounded(std::max(std::min(wanted, occupied), floor), seen);
}

int Autoscaler::bounded(int wanted, const Observation& seen) const {
  int least = seen.reachable ? scaling_.min_scale : 0;
  if (seen.reachable && seen.initial_pending) least = std::max(least, scaling_.initial_scale);
  wanted = std::max(wanted, least);
  return scaling_.max_scale > 0 ? std::min(wanted, scaling_.max_scale) : wanted;
}

/// The highest of the last scale-down-delay.
int Autoscaler::delayed(TimePoint now, int wanted) {
  if (scaling_.scale_down_delay <= milliseconds(0)) return wanted;
  const long slot = (now - origin_) / delay_granularity;
  const long slots = (scaling_.scale_down_delay + delay_granularity - milliseconds(1)) / delay_granularity;
  while (!recent_.empty() && recent_.front().slot + slots < slot) recent_.pop_front();
  // Falling from front to back: what is older and no higher can never be the highest again.
  while (!recent_.empty() && recent_.back().highest <= wanted) recent_.pop_back();
  recent_.push_back({slot, wanted});
  return recent_.front().highest;
}

/// serving.md 3.5: active (at least the stable window) → inactive (grace, retention) → zero.
int Autoscaler::held_from_zero(TimePoint now, int wanted, const Observation& seen) {
  if (wanted > 0) {
    if (inactive_since_) became_active(now);
    return wanted;
  }
  if (!scaling_.scale_to_zero) return 1;
  if (!seen.reachable || !active_since_) return 0;
  if (!inactive_since_) {
    if (now - *active_since_ < scaling_.stable_window) return 1;
    inactive_since_ = now;
  }
  const auto inactive = now - *inactive_since_;
  const bool retained = inactive >= scaling_.scale_to_zero_retention;
  const bool graced = inactive >= scaling_.scale_to_zero_grace || now - proxied_since_ >= scaling_.scale_to_zero_grace;
  return retained && graced ? 0 : 1;
}

}  // namespace wick::serving
