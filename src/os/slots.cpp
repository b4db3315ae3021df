#include "wick/os/slots.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

namespace wick {

void Slots::Slot::reset() {
  if (auto* slots = std::exchange(slots_, nullptr)) slots->release();
}

awaitable<Result<Slots::Slot>> Slots::acquire() {
  if (free_ > 0) {
    --free_;
    co_return Slot(*this);
  }
  if (waiters_.size() >= queue_limit_) co_return fail(Errc::overloaded, "the queue is full");
  Waiter me(executor_);
  const auto place = waiters_.insert(waiters_.end(), &me);
  co_await me.granted.async_wait(asio::as_tuple(use_awaitable));
  if (me.has_slot) co_return Slot(*this);
  waiters_.erase(place);
  throw boost::system::system_error(asio::error::operation_aborted);
}

void Slots::release() {
  if (waiters_.empty()) {
    ++free_;
    return;
  }
  Waiter* next = waiters_.front();
  waiters_.pop_front();
  next->has_slot = true;
  next->granted.cancel();
}

}  // namespace wick
