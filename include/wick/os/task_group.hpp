// Named tasks with one owner. Declare the group last in a class: its tasks may use the members above it.
#pragma once

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/steady_timer.hpp>
#include <exception>
#include <list>
#include <string>

#include "wick/os/loop.hpp"

namespace wick {

/// A task that ends with an exception is logged with its name (cancellation is not). Destroying a group that still has
/// tasks is a bug: `co_await join()` first.
class TaskGroup {
 public:
  explicit TaskGroup(Executor executor);
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;
  ~TaskGroup();

  /// Starts `task`: at once up to its first wait when called on the loop, at the loop's next turn otherwise. After
  /// close() the task is dropped unstarted.
  void spawn(std::string name, awaitable<void> task);
  /// Cancels every task and takes no more.
  void close();
  /// Waits until no task is left. Tasks spawned meanwhile are waited for too.
  awaitable<void> join();
  /// close, then join.
  awaitable<void> stop();

  std::size_t size() const { return tasks_.size(); }
  bool closed() const { return closed_; }

 private:
  struct Task {
    std::string name;
    asio::cancellation_signal cancel;
  };
  void finished(std::list<Task>::iterator task, std::exception_ptr error);

  Executor executor_;
  asio::steady_timer idle_;
  std::list<Task> tasks_;
  bool closed_ = false;
};

/// True for the exception a cancelled operation ends with.
bool is_cancellation(const std::exception_ptr& error);

}  // namespace wick
