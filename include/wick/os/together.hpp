// Two operations at once, as one wait. Asio's groups are instantiated once, in together.cpp: they cost a file that
// waits this way three seconds of compiling.
#pragma once

#include <exception>
#include <optional>
#include <utility>
#include <variant>

#include "wick/os/loop.hpp"

namespace wick {

struct PairEnd {
  bool second_ended_first = false;
  std::exception_ptr first_error;
  std::exception_ptr second_error;
};

/// Runs both until each has ended. One that returns true, or throws, ends the pair: the other is cancelled and its end
/// awaited, so nothing of either runs afterwards. Cancelling the caller cancels both.
awaitable<PairEnd> run_together(awaitable<bool> first, awaitable<bool> second);

/// `op` with its value kept in `value`; `ends` is what it returns.
template <class T>
awaitable<bool> keep_value(awaitable<T> op, std::optional<T>& value, bool ends) {
  value.emplace(co_await std::move(op));
  co_return ends;
}
inline awaitable<bool> keep_value(awaitable<void> op, bool ends) {
  co_await std::move(op);
  co_return ends;
}

/// What the first of the two to end returned, or threw; the other is cancelled.
template <class A, class B>
awaitable<std::variant<A, B>> first_of(awaitable<A> a, awaitable<B> b) {
  std::optional<A> a_value;
  std::optional<B> b_value;
  auto first = keep_value(std::move(a), a_value, true);
  auto second = keep_value(std::move(b), b_value, true);
  auto end = co_await run_together(std::move(first), std::move(second));
  if (const auto& error = end.second_ended_first ? end.second_error : end.first_error) std::rethrow_exception(error);
  if (end.second_ended_first) co_return std::variant<A, B>(std::in_place_index<1>, std::move(*b_value));
  co_return std::variant<A, B>(std::in_place_index<0>, std::move(*a_value));
}

/// Both values; the exception of the first that threw, which cancels the other.
template <class A, class B>
awaitable<std::pair<A, B>> both(awaitable<A> a, awaitable<B> b) {
  std::optional<A> a_value;
  std::optional<B> b_value;
  auto first = keep_value(std::move(a), a_value, false);
  auto second = keep_value(std::move(b), b_value, false);
  auto end = co_await run_together(std::move(first), std::move(second));
  if (end.second_ended_first && end.second_error) std::rethrow_exception(end.second_error);
  if (end.first_error) std::rethrow_exception(end.first_error);
  if (end.second_error) std::rethrow_exception(end.second_error);
  co_return std::pair<A, B>(std::move(*a_value), std::move(*b_value));
}

}  // namespace wick
