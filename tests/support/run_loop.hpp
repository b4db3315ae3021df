// Runs one coroutine to its end on a loop of its own and hands out its value; an exception comes out as itself.
#pragma once

#include <boost/asio/co_spawn.hpp>
#include <exception>
#include <optional>

#include "wick/os/loop.hpp"

namespace wick {

template <class T>
T run_on(asio::io_context& loop, awaitable<T> task) {
  std::exception_ptr error;
  if constexpr (std::is_void_v<T>) {
    asio::co_spawn(loop, std::move(task), [&](std::exception_ptr e) {
      error = e;
      loop.stop();
    });
    loop.restart();
    loop.run();
    if (error) std::rethrow_exception(error);
  } else {
    std::optional<T> value;
    asio::co_spawn(loop, std::move(task), [&](std::exception_ptr e, T v) {
      error = e;
      if (!e) value.emplace(std::move(v));
      loop.stop();
    });
    loop.restart();
    loop.run();
    if (error) std::rethrow_exception(error);
    return std::move(value.value());
  }
}

template <class T>
T run_to_end(awaitable<T> task) {
  asio::io_context loop(1);
  return run_on(loop, std::move(task));
}

}  // namespace wick
