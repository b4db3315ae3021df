#include "wick/os/worker.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/thread_pool.hpp>

namespace wick {

struct WorkerPool::Threads {
  explicit Threads(std::size_t count) : pool(count) {}
  asio::thread_pool pool;
};

WorkerPool::WorkerPool(std::size_t threads) : threads_(std::make_unique<Threads>(threads)) {}
WorkerPool::~WorkerPool() = default;

namespace {

awaitable<void> do_job(std::move_only_function<void()> job) {
  job();
  co_return;
}

}  // namespace

awaitable<void> WorkerPool::run_job(std::move_only_function<void()> job) {
  auto started = do_job(std::move(job));
  // No cancellation crosses to the pool: Asio posts it there, where it can arrive after the work is done and gone.
  co_await asio::co_spawn(threads_->pool, std::move(started),
                          asio::bind_cancellation_slot(asio::cancellation_slot(), use_awaitable));
}

}  // namespace wick
