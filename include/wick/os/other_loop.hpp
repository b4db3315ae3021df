// Work on another loop. Each loop's live state is its own: what crosses is moved, and nothing is shared but what says
// so.
#pragma once

#include <functional>
#include <optional>
#include <utility>

#include "wick/os/loop.hpp"

namespace wick {

/// As on_loop(), without a value.
awaitable<void> do_on_loop(Executor there, std::move_only_function<awaitable<void>()> job);

/// Calls `work` on the loop of `there` and gives here what the coroutine it returns ends with, value or exception. Both
/// loops must run until then. Cancelling asks the work to end and waits until it has, then throws operation_aborted: a
/// value that came all the same is dropped here.
template <class Value, class Work>
awaitable<Value> on_loop(Executor there, Work work) {
  std::optional<Value> value;
  auto job = [&value, work = std::move(work)]() mutable -> awaitable<void> { value.emplace(co_await work()); };
  co_await do_on_loop(std::move(there), std::move(job));
  co_return std::move(*value);
}

}  // namespace wick
