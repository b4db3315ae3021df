// Instances of one revision that are made ahead: prepared (all but the exec), or parked (the language runtime booted).
// A start that finds one is a write to a fifo; the next one is made when the box is at rest again.
//
//   keep() ──► (making) ──► prepared ──► parked        take() gives the best one away
//                 ▲            └────┬──────┘           drop(), eviction, spares_for: given back
//                 └── its end, take() ◄┘
//
// 1. Only instances of the spec of the last keep() are given away.
// 2. A spare never runs the program's own code before it is taken: a runtime that does not stop at the shim is ended,
//    and the next spares of the spec are only prepared.
// 3. What was evicted is not made again before the revision is used again (keep() with a later time).
#pragma once

#include <list>
#include <memory>
#include <vector>

#include "wick/base/metrics.hpp"
#include "wick/container/launcher.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/task_group.hpp"
#include "wick/serving/revision.hpp"
#include "wick/serving/sleep_budget.hpp"

namespace wick::serving {

/// What every start of the revision is given: its environment set, its id empty.
container::InstanceSpec instance_of(const RevisionSpec& spec);

class Spares {
 public:
  Spares(Executor executor, Clock& clock, container::Launcher& launcher, SleepBudget* budget, Gauge& count);
  ~Spares();

  /// From now on `spec->ladder.spares` are kept, until `spares_for` after `used`. Those of another spec go.
  void keep(std::shared_ptr<const RevisionSpec> spec, TimePoint used);
  /// None from now on.
  void drop();
  /// The best there is: parked before prepared; empty when there is none. It waits for start().
  std::shared_ptr<container::Instance> take();
  std::size_t size() const { return spares_.size(); }
  /// Gives all back and waits for that.
  awaitable<void> stop();

 private:
  struct Spare {
    std::shared_ptr<container::Instance> instance;
    SleepBudget::Place place;
    bool parked = false;
  };
  using SparePointer = std::shared_ptr<Spare>;

  void tend();
  awaitable<void> refill();
  awaitable<bool> add_one();
  awaitable<void> watch(SparePointer spare);
  awaitable<void> expire();
  void end(const SparePointer& spare);
  awaitable<void> give_back(std::shared_ptr<container::Instance> instance);
  void count();

  Executor executor_;
  Clock& clock_;
  container::Launcher& launcher_;
  SleepBudget* budget_;
  Gauge& count_;
  std::shared_ptr<const RevisionSpec> spec_;  // empty: none are kept
  TimePoint used_{};
  std::list<SparePointer> spares_;
  std::vector<std::shared_ptr<container::Instance>> giving_back_;  // while stop() runs
  bool parks_ = true;
  bool evicted_ = false;
  bool refilling_ = false;
  bool expiring_ = false;
  bool closed_ = false;
  int counted_ = 0;
  TaskGroup tasks_;
};

}  // namespace wick::serving
