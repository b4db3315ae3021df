// Time that moves only when a test says so.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <list>

#include "wick/os/clock.hpp"

namespace wick {

/// `advance(d)` moves time, wakes every sleeper that is due in order of its time, and runs the loop until nothing is
/// ready.
class FakeClock final : public Clock {
 public:
  explicit FakeClock(asio::io_context& loop) : loop_(loop) {}

  TimePoint now() const override { return now_; }
  WallTime wall() const override {
    return wall_ + std::chrono::duration_cast<std::chrono::nanoseconds>(now_ - TimePoint{});
  }

  awaitable<void> sleep_until(TimePoint when) override {
    if (when <= now_) co_return;
    Sleeper me{.when = when,
               .timer = asio::steady_timer(co_await asio::this_coro::executor, asio::steady_timer::time_point::max())};
    const Place place(sleepers_, me);
    auto waited = co_await me.timer.async_wait(asio::as_tuple(use_awaitable));
    if (!me.due) throw boost::system::system_error(std::get<0>(waited));
  }

  void advance(Duration duration) {
    const auto end = now_ + duration;
    settle();
    while (true) {
      Sleeper* next = nullptr;
      for (auto* sleeper : sleepers_)
        if (!sleeper->due && sleeper->when <= end && (!next || sleeper->when < next->when)) next = sleeper;
      if (!next) break;
      now_ = std::max(now_, next->when);
      next->due = true;
      next->timer.cancel();
      settle();
    }
    now_ = end;
    settle();
  }

  /// Runs everything that is ready, without moving time.
  void settle() {
    loop_.restart();
    loop_.poll();
  }

  /// As an administrator or NTP does: the wall clock only.
  void set_back(Duration step) { wall_ -= std::chrono::duration_cast<WallTime::duration>(step); }

  std::size_t sleepers() const { return sleepers_.size(); }

 private:
  struct Sleeper {
    TimePoint when;
    asio::steady_timer timer;
    bool due = false;
  };
  struct Place {
    Place(std::list<Sleeper*>& list, Sleeper& me) : list(list), at(list.insert(list.end(), &me)) {}
    ~Place() { list.erase(at); }
    std::list<Sleeper*>& list;
    std::list<Sleeper*>::iterator at;
  };

  asio::io_context& loop_;
  TimePoint now_{std::chrono::hours(1)};
  WallTime wall_{std::chrono::sys_days{std::chrono::year{2026} / 11 / 23}};
  std::list<Sleeper*> sleepers_;
};

}  // namespace wick
