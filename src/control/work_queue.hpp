// Keys to reconcile: each key at most once at a time, repeated when it was touched meanwhile, tried again with backoff
// when it failed.
//
//   idle ──enqueue──► running ──done, untouched──► idle
//                      │  ▲ └──touched meanwhile──► running
//                      │  └──────backoff passed, or enqueue───┐
//                      └──────────failed──────────────────► waiting
#pragma once

#include <functional>
#include <map>

#include "wick/os/clock.hpp"
#include "wick/os/task_group.hpp"
#include "wick/store/objects.hpp"

namespace wick::control {

class WorkQueue {
 public:
  using Reconcile = std::function<awaitable<Result<void>>(store::ObjectKey)>;
  struct Backoff {
    milliseconds first{100};
    milliseconds max{30'000};
  };

  WorkQueue(Executor executor, Clock& clock, Backoff backoff, Reconcile reconcile);

  void enqueue(store::ObjectKey key);
  /// Cancels what runs and waits for its end.
  awaitable<void> stop();
  /// True when nothing runs and nothing waits for a retry.
  bool idle() const { return items_.empty(); }

 private:
  struct Item {
    bool running = false;
    bool touched = false;
    int failures = 0;
    std::uint64_t waiting = 0;  // the number of the retry that is due; 0: none
  };
  awaitable<void> work(store::ObjectKey key);
  awaitable<void> retry_later(store::ObjectKey key, std::uint64_t number, milliseconds delay);
  void run(const store::ObjectKey& key, Item& item);
  milliseconds delay_after(int failures) const;

  Clock& clock_;
  Backoff backoff_;
  Reconcile reconcile_;
  std::map<store::ObjectKey, Item> items_;  // bounded by the objects there are
  std::uint64_t retries_ = 0;
  TaskGroup tasks_;
};

}  // namespace wick::control
