// Wakes one waiting coroutine; a notice that comes while nobody waits is kept.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/system_error.hpp>

#include "wick/os/loop.hpp"

namespace wick::eventing {

class Signal {
 public:
  explicit Signal(Executor executor) : timer_(executor, asio::steady_timer::time_point::max()) {}

  void notify() {
    noticed_ = true;
    timer_.cancel();
  }

  awaitable<void> wait() {
    if (!noticed_) co_await timer_.async_wait(asio::as_tuple(use_awaitable));
    if (!noticed_) throw boost::system::system_error(asio::error::operation_aborted);
    noticed_ = false;
  }

 private:
  asio::steady_timer timer_;
  bool noticed_ = false;
};

}  // namespace wick::eventing
