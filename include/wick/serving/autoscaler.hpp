// How many instances a revision should have: Knative's KPA formulas (serving.md 3.2 to 3.5), fed with exact numbers.
// Pure: time is passed in, nothing here waits or starts anything. Once a second the pool records the time-weighted
// average of the requests in flight (LoadMeter); every two seconds it asks for a decision.
#pragma once

#include <algorithm>
#include <deque>
#include <optional>
#include <vector>

#include "wick/serving/revision.hpp"

namespace wick::serving {

/// The load of one second: what either metric is read from.
struct Load {
  double in_flight = 0;  // the average; requests that wait count
  double requests = 0;   // that arrived
};

/// The exact average of a step function over time: requests in flight, waiting ones included. Counts arrivals too.
class LoadMeter {
 public:
  explicit LoadMeter(TimePoint now) : since_(now), last_(now) {}
  void change(TimePoint now, int by) {
    area_ += current_ * std::chrono::duration<double>(now - last_).count();
    last_ = now;
    current_ += by;
    if (by > 0) arrived_ += by;
  }
  int current() const { return current_; }
  /// What is in flight now and has arrived since the last take(): the second in progress, if it went on as it is.
  Load in_progress() const { return {.in_flight = double(current_), .requests = double(arrived_)}; }
  /// The load since the last call (the current value where no time has passed), and begins anew.
  Load take(TimePoint now);

 private:
  TimePoint since_;
  TimePoint last_;
  int current_ = 0;
  int arrived_ = 0;
  double area_ = 0;
};

/// Sums in buckets of one second and their average (serving.md 3.3): linear, or with weights that fall geometrically
/// from the newest second on.
class WindowAverage {
 public:
  explicit WindowAverage(seconds length, Scaling::Aggregation aggregation = Scaling::Aggregation::linear);

  /// Adds to the bucket of `second`. Nothing recorded for a whole window forgets everything before.
  void record(long second, double value);
  /// Linear: the sum over the window ending with `second`, by the seconds since the first record (at most the window).
  /// Exponential: the sum of each second's value times c·(1−c)^age, c = max(1 − (1 − 0.9999)^(1/n), 0.2) for n buckets.
  /// To six digits. `unrecorded` counts as the value of `second` itself without being kept.
  double average(long second, double unrecorded = 0) const;
  bool empty() const { return !first_; }

 private:
  double& bucket(long second) { return buckets_[static_cast<std::size_t>(second) % buckets_.size()]; }
  double bucket(long second) const { return buckets_[static_cast<std::size_t>(second) % buckets_.size()]; }
  double weighted(long second, double unrecorded) const;

  std::vector<double> buckets_;
  std::optional<long> first_;  // the second of the first record
  long last_ = 0;              // the second of the last record
  double coefficient_ = 0;     // of the newest second's weight; 0: linear
};

struct Observation {
  int ready = 0;
  bool reachable = true;         // some route names the revision; if not, min-scale and retention do not hold it
  bool initial_pending = false;  // a new revision that has not had its initial-scale instances ready yet
};

struct Decision {
  int desired = 0;
  bool panicking = false;
  double stable_average = 0;
  double panic_average = 0;
  double excess_burst_capacity = 0;
};

class Autoscaler {
 public:
  Autoscaler(const Scaling& scaling, int container_concurrency, TimePoint now);

  /// Knative starts in panic mode when it finds more than one instance ready, so that a restart does not shrink.
  void start_in_panic(TimePoint now, int ready) {
    panic_since_ = now;
    panic_highest_ = ready;
  }
  /// When the next second ends: record() and decide() are called then. After `now`.
  TimePoint next_tick(TimePoint now) const;
  /// The load of the second that ends at `now`.
  void record(TimePoint now, Load load);
  /// To be called every two seconds, after record(). Keeps panic, delay and scale-to-zero state.
  Decision decide(TimePoint now, const Observation& seen);
  /// What the formulas would say now if the second in progress went on as it is: asked when a request has to wait, so
  /// that a burst need not wait for the tick. Spare capacity is left to the tick: at most as many as the requests in
  /// flight occupy.
  int wanted_for_burst(TimePoint now, const Observation& seen, Load in_progress) const;
  /// The revision became able to answer: scale to zero counts from here.
  void became_active(TimePoint now);

  double target_value() const { return target_value_; }
  double total_value() const { return total_value_; }
  seconds panic_window() const { return panic_window_; }

 private:
  struct Raw {
    int stable = 0;  // clamped
    int panic = 0;   // clamped
    bool over = false;
    double stable_average = 0;
    double panic_average = 0;
  };
  Raw formulas(long second, double unrecorded, const Observation& seen) const;
  int bounded(int wanted, const Observation& seen) const;
  int delayed(TimePoint now, int wanted);
  int held_from_zero(TimePoint now, int wanted, const Observation& seen);
  bool in_panic() const { return panic_since_.has_value(); }
  long second_ended_at(TimePoint now) const;
  double metric_of(Load load) const { return scaling_.metric == Scaling::Metric::rps ? load.requests : load.in_flight; }

  Scaling scaling_;
  int container_concurrency_;
  double total_value_;
  double target_value_;
  seconds panic_window_;
  TimePoint origin_;
  TimePoint proxied_since_;  // the proxy is always in the path, so Knative's grace counts from the first day
  WindowAverage stable_;
  WindowAverage panic_;
  std::optional<TimePoint> panic_since_;
  int panic_highest_ = 0;
  struct Wanted {
    long slot;
    int highest;
  };
  std::deque<Wanted> recent_;  // scale-down-delay: one entry a 2 s slot
  std::optional<TimePoint> active_since_;
  std::optional<TimePoint> inactive_since_;
};

}  // namespace wick::serving
