// A counted right to do something, handed over first come, first served.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <list>
#include <utility>

#include "wick/base/error.hpp"
#include "wick/os/loop.hpp"

namespace wick {

/// One thread. Slots must outlive every Slot it gave out.
class Slots {
 public:
  class Slot {
   public:
    Slot() = default;
    Slot(Slot&& other) noexcept : slots_(std::exchange(other.slots_, nullptr)) {}
    Slot& operator=(Slot&& other) noexcept {
      if (this != &other) {
        reset();
        slots_ = std::exchange(other.slots_, nullptr);
      }
      return *this;
    }
    ~Slot() { reset(); }
    void reset();
    explicit operator bool() const { return slots_ != nullptr; }

   private:
    friend class Slots;
    explicit Slot(Slots& slots) : slots_(&slots) {}
    Slots* slots_ = nullptr;
  };

  Slots(Executor executor, std::size_t count, std::size_t queue_limit)
      : executor_(executor), free_(count), queue_limit_(queue_limit) {}

  /// Waits in order. Errc::overloaded at once when `queue_limit` callers already wait. Cancelling gives up the place.
  awaitable<Result<Slot>> acquire();
  std::size_t waiting() const { return waiters_.size(); }
  std::size_t free() const { return free_; }

 private:
  struct Waiter {
    explicit Waiter(Executor executor) : granted(executor, asio::steady_timer::time_point::max()) {}
    asio::steady_timer granted;
    bool has_slot = false;
  };
  void release();

  Executor executor_;
  std::size_t free_;
  std::size_t queue_limit_;
  std::list<Waiter*> waiters_;
};

}  // namespace wick
