#include "wick/os/deadline.hpp"

namespace wick {

awaitable<void> run_with_deadline(Clock& clock, Duration limit, awaitable<bool> op) {
  auto sleep = keep_value(clock.sleep_until(clock.now() + limit), true);
  const auto end = co_await run_together(std::move(op), std::move(sleep));
  if (end.second_ended_first && !end.second_error) throw DeadlineExceeded();
  if (end.first_error) std::rethrow_exception(end.first_error);
}

}  // namespace wick
