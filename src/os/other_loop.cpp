#include "wick/os/other_loop.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/system_error.hpp>
#include <memory>

namespace wick {

namespace {

/// The caller's half: touched on its loop only.
struct Waiting {
  explicit Waiting(const Executor& here) : ended(here, asio::steady_timer::time_point::max()) {}
  asio::steady_timer ended;
  bool over = false;
  std::exception_ptr error;
};

/// The worker's half: touched on its loop only. `over` because a wish to end may come after the end.
struct Working {
  asio::cancellation_signal stop;
  bool over = false;
};

}  // namespace

awaitable<void> do_on_loop(Executor there, std::move_only_function<awaitable<void>()> job) {
  const Executor here = co_await asio::this_coro::executor;
  const auto aborted = [] { return boost::system::system_error(asio::error::operation_aborted); };
  if ((co_await asio::this_coro::cancellation_state).cancelled() != asio::cancellation_type::none) throw aborted();
  const auto waiting = std::make_shared<Waiting>(here);
  const auto working = std::make_shared<Working>();
  // By reference: we wait for the end whatever happens.
  asio::post(there, [&job, there, here, waiting, working] {
    auto ended = [here, waiting, working](std::exception_ptr error) {
      working->over = true;
      asio::post(here, [waiting, error] {
        waiting->over = true;
        waiting->error = error;
        waiting->ended.cancel();
      });
    };
    asio::co_spawn(there, job(), asio::bind_cancellation_slot(working->stop.slot(), std::move(ended)));
  });
  bool cancelled = false;
  while (!waiting->over) {
    co_await waiting->ended.async_wait(asio::as_tuple(use_awaitable));
    if (waiting->over || cancelled) continue;
    cancelled = true;
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    asio::post(there, [working] {
      if (!working->over) working->stop.emit(asio::cancellation_type::terminal);
    });
  }
  if (cancelled) {
    co_await asio::this_coro::reset_cancellation_state(asio::enable_terminal_cancellation());
    throw aborted();
  }
  if (waiting->error) std::rethrow_exception(waiting->error);
}

}  // namespace wick
