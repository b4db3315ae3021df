// Every wait has a limit.
#pragma once

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <exception>
#include <utility>

#include "wick/base/error.hpp"
#include "wick/os/clock.hpp"

namespace wick {

/// Thrown by with_deadline when the limit passed first.
class DeadlineExceeded : public std::exception {
 public:
  const char* what() const noexcept override { return "deadline exceeded"; }
};

/// The value of `op`, or DeadlineExceeded after `limit`, or what `op` threw, at once. On a timeout `op` is cancelled
/// and its end awaited, so nothing of it runs afterwards. Cancelling the caller cancels `op`.
template <class T>
awaitable<T> with_deadline(Clock& clock, Duration limit, awaitable<T> op) {
  auto executor = co_await asio::this_coro::executor;
  auto sleep = clock.sleep_until(clock.now() + limit);
  auto group = asio::experimental::make_parallel_group(asio::co_spawn(executor, std::move(op), asio::deferred),
                                                       asio::co_spawn(executor, std::move(sleep), asio::deferred));
  auto done = co_await group.async_wait(asio::experimental::wait_for_one(), use_awaitable);
  if constexpr (std::is_void_v<T>) {
    auto& [order, error, sleep_error] = done;
    if (order[0] == 1 && !sleep_error) throw DeadlineExceeded();
    if (error) std::rethrow_exception(error);
  } else {
    auto& [order, error, value, sleep_error] = done;
    if (order[0] == 1 && !sleep_error) throw DeadlineExceeded();
    if (error) std::rethrow_exception(error);
    co_return std::move(value);
  }
}

}  // namespace wick
