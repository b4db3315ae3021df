// Blocking work (disk, hashing, compression, libgit2, DNS) off the loop.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "wick/os/loop.hpp"

namespace wick {

/// A small pool; values go in and come out, references to loop state do not. Every loop that used it must outlive it.
class WorkerPool {
 public:
  explicit WorkerPool(std::size_t threads = 2);
  ~WorkerPool();

  /// Runs `work` on a pool thread and resumes the caller on its own executor with the result (or exception).
  /// Cancelling does not interrupt work that has started; the caller still waits for it.
  template <class Work>
  awaitable<std::invoke_result_t<Work>> run(Work work) {
    using Value = std::invoke_result_t<Work>;
    if constexpr (std::is_void_v<Value>) {
      std::move_only_function<void()> job = std::move(work);
      co_await run_job(std::move(job));
    } else {
      std::optional<Value> value;
      std::move_only_function<void()> job = [&value, work = std::move(work)]() mutable { value.emplace(work()); };
      co_await run_job(std::move(job));
      co_return std::move(*value);
    }
  }

 private:
  struct Threads;
  awaitable<void> run_job(std::move_only_function<void()> job);

  std::unique_ptr<Threads> threads_;
};

}  // namespace wick
