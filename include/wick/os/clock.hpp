// Time as something that is handed in: real in the daemon, driven by hand in tests (tests/support/fake_clock.hpp).
#pragma once

#include "wick/base/time.hpp"
#include "wick/os/loop.hpp"

namespace wick {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint now() const = 0;
  virtual WallTime wall() const = 0;
  /// Returns at or after `when`. Cancelling throws operation_aborted.
  virtual awaitable<void> sleep_until(TimePoint when) = 0;

  awaitable<void> sleep(Duration duration) { return sleep_until(now() + duration); }
};

class SteadyClock final : public Clock {
 public:
  TimePoint now() const override { return std::chrono::steady_clock::now(); }
  WallTime wall() const override { return wall_now(); }
  awaitable<void> sleep_until(TimePoint when) override;
};

}  // namespace wick
