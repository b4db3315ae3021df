// Every wait has a limit.
#pragma once

#include <exception>
#include <optional>
#include <utility>

#include "wick/base/error.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/together.hpp"

namespace wick {

/// Thrown by with_deadline when the limit passed first.
class DeadlineExceeded : public std::exception {
 public:
  const char* what() const noexcept override { return "deadline exceeded"; }
};

/// `op` beside the limit; throws as with_deadline does.
awaitable<void> run_with_deadline(Clock& clock, Duration limit, awaitable<bool> op);

/// The value of `op`, or DeadlineExceeded after `limit`, or what `op` threw, at once. On a timeout `op` is cancelled
/// and its end awaited, so nothing of it runs afterwards. Cancelling the caller cancels `op`.
template <class T>
awaitable<T> with_deadline(Clock& clock, Duration limit, awaitable<T> op) {
  if constexpr (std::is_void_v<T>) {
    auto kept = keep_value(std::move(op), true);
    co_await run_with_deadline(clock, limit, std::move(kept));
  } else {
    std::optional<T> value;
    auto kept = keep_value(std::move(op), value, true);
    co_await run_with_deadline(clock, limit, std::move(kept));
    co_return std::move(*value);
  }
}

}  // namespace wick
