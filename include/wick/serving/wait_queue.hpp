// Requests that wait for an instance, first come, first served. No timer a request: the pool's tick looks for passed
// deadlines.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <list>
#include <optional>

#include "wick/base/error.hpp"
#include "wick/base/metrics.hpp"
#include "wick/os/loop.hpp"
#include "wick/serving/lease.hpp"

namespace wick::serving {

class WaitQueue {
 public:
  /// `depth` follows size().
  WaitQueue(Executor executor, Gauge& depth) : executor_(executor), depth_(depth) {}

  /// A place at the end of the queue, given up by the destructor.
  class Place {
   public:
    Place(WaitQueue& queue, TimePoint deadline);
    Place(const Place&) = delete;
    ~Place();
    /// Waits for give() or an end. Cancelling throws; a lease that was given meanwhile goes back with the place.
    awaitable<Result<Lease>> outcome();

   private:
    friend class WaitQueue;
    void settle(Result<Lease> outcome);
    WaitQueue& queue_;
    asio::steady_timer woken_;
    TimePoint deadline_;
    std::optional<Result<Lease>> outcome_;
    std::list<Place*>::iterator at_;
  };

  std::size_t size() const { return places_.size(); }
  bool empty() const { return places_.empty(); }
  /// To the first one.
  void give(Lease lease);
  void fail_all(const Error& error);
  void fail_expired(TimePoint now, const Error& error);

 private:
  void take_out(Place& place);

  Executor executor_;
  Gauge& depth_;
  std::list<Place*> places_;
};

}  // namespace wick::serving
