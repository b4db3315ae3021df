#include "wick/os/clock.hpp"

#include <boost/asio/steady_timer.hpp>

namespace wick {

awaitable<void> SteadyClock::sleep_until(TimePoint when) {
  asio::steady_timer timer(co_await asio::this_coro::executor, when);
  co_await timer.async_wait(use_awaitable);
}

}  // namespace wick
