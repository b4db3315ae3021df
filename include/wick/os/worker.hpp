// Blocking work (disk, hashing, compression, libgit2, DNS) off the loop.
#pragma once

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/thread_pool.hpp>
#include <utility>

#include "wick/os/loop.hpp"

namespace wick {

/// A small pool; values go in and come out, references to loop state do not. Every loop that used it must outlive it.
class WorkerPool {
 public:
  explicit WorkerPool(std::size_t threads = 2) : pool_(threads) {}

  /// Runs `work` on a pool thread and resumes the caller on its own executor with the result (or exception).
  /// Cancelling does not interrupt work that has started; the caller still waits for it.
  template <class Work>
  awaitable<std::invoke_result_t<Work>> run(Work work) {
    auto task = [](Work job) -> awaitable<std::invoke_result_t<Work>> { co_return job(); };
    auto started = task(std::move(work));
    // No cancellation crosses to the pool: Asio posts it there, where it can arrive after the work is done and gone.
    co_return co_await asio::co_spawn(pool_, std::move(started),
                                      asio::bind_cancellation_slot(asio::cancellation_slot(), use_awaitable));
  }

 private:
  asio::thread_pool pool_;
};

}  // namespace wick
