#include "wick/serving/wait_queue.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

namespace wick::serving {

WaitQueue::Place::Place(WaitQueue& queue, TimePoint deadline)
    : queue_(queue), woken_(queue.executor_, asio::steady_timer::time_point::max()), deadline_(deadline) {
  at_ = queue_.places_.insert(queue_.places_.end(), this);
  queue_.depth_.set(static_cast<double>(queue_.size()));
}

WaitQueue::Place::~Place() {
  if (!outcome_) queue_.take_out(*this);
}

awaitable<Result<Lease>> WaitQueue::Place::outcome() {
  if (!outcome_) co_await woken_.async_wait(asio::as_tuple(use_awaitable));
  if (!outcome_) throw boost::system::system_error(asio::error::operation_aborted);
  co_return std::move(*outcome_);
}

void WaitQueue::Place::settle(Result<Lease> outcome) {
  queue_.take_out(*this);
  outcome_.emplace(std::move(outcome));
  woken_.cancel();
}

void WaitQueue::take_out(Place& place) {
  places_.erase(place.at_);
  depth_.set(static_cast<double>(size()));
}

void WaitQueue::give(Lease lease) { places_.front()->settle(std::move(lease)); }

void WaitQueue::fail_all(const Error& error) {
  while (!empty()) places_.front()->settle(std::unexpected(error));
}

void WaitQueue::fail_expired(TimePoint now, const Error& error) {
  for (auto next = places_.begin(); next != places_.end();) {
    auto& place = **next++;
    if (place.deadline_ <= now) place.settle(std::unexpected(error));
  }
}

}  // namespace wick::serving
