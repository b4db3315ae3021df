// From a verb of the runner that writes to a descriptor into the content store, hashed on the way.
#pragma once

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <functional>
#include <optional>

#include "wick/image/content_store.hpp"
#include "wick/os/child_process.hpp"
#include "wick/os/worker.hpp"

namespace wick::build {

/// Both results; the first exception when there is one. Cancelling cancels both.
template <class A, class B>
awaitable<std::pair<A, B>> both(awaitable<A> first, awaitable<B> second) {
  auto executor = co_await asio::this_coro::executor;
  auto group = asio::experimental::make_parallel_group(asio::co_spawn(executor, std::move(first), asio::deferred),
                                                       asio::co_spawn(executor, std::move(second), asio::deferred));
  auto done = co_await group.async_wait(asio::experimental::wait_for_all(), use_awaitable);
  auto& [order, first_error, a, second_error, b] = done;
  if (first_error) std::rethrow_exception(first_error);
  if (second_error) std::rethrow_exception(second_error);
  co_return std::pair<A, B>(std::move(a), std::move(b));
}

/// What `write` writes to its descriptor, as a layer blob; nullopt for an archive without entries.
awaitable<Result<std::optional<image::Descriptor>>> layer_from(WorkerPool& workers, const image::ContentStore& store,
                                                               std::function<awaitable<Result<void>>(Fd)> write);

}  // namespace wick::build
