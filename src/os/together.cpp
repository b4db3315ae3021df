#include "wick/os/together.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/parallel_group.hpp>

namespace wick {
namespace {

struct OneEnds {
  asio::cancellation_type operator()(std::exception_ptr error, bool ends) const {
    return error || ends ? asio::cancellation_type::all : asio::cancellation_type::none;
  }
};

}  // namespace

awaitable<PairEnd> run_together(awaitable<bool> first, awaitable<bool> second) {
  auto executor = co_await asio::this_coro::executor;
  auto pair = asio::experimental::make_parallel_group(asio::co_spawn(executor, std::move(first), asio::deferred),
                                                      asio::co_spawn(executor, std::move(second), asio::deferred));
  auto done = co_await pair.async_wait(OneEnds{}, use_awaitable);
  auto& [order, first_error, first_ends, second_error, second_ends] = done;
  co_return PairEnd{.second_ended_first = order[0] == 1,
                    .first_error = std::move(first_error),
                    .second_error = std::move(second_error)};
}

}  // namespace wick
