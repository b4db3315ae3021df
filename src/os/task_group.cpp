#include "wick/os/task_group.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <cassert>

#include "wick/base/log.hpp"

namespace wick {

bool is_cancellation(const std::exception_ptr& error) {
  try {
    if (error) std::rethrow_exception(error);
  } catch (const boost::system::system_error& e) {
    return e.code() == asio::error::operation_aborted;
  } catch (...) {
  }
  return false;
}

TaskGroup::TaskGroup(Executor executor) : executor_(executor), idle_(executor, asio::steady_timer::time_point::max()) {}

TaskGroup::~TaskGroup() { assert(tasks_.empty()); }

void TaskGroup::spawn(std::string name, awaitable<void> task) {
  if (closed_) return;
  auto place = tasks_.emplace(tasks_.end());
  place->name = std::move(name);
  auto done = [this, place](std::exception_ptr error) { finished(place, error); };
  asio::co_spawn(executor_, std::move(task), asio::bind_cancellation_slot(place->cancel.slot(), std::move(done)));
}

void TaskGroup::close() {
  closed_ = true;
  for (auto task = tasks_.begin(); task != tasks_.end();) (task++)->cancel.emit(asio::cancellation_type::terminal);
}

awaitable<void> TaskGroup::join() {
  while (!tasks_.empty()) co_await idle_.async_wait(asio::as_tuple(use_awaitable));
}

awaitable<void> TaskGroup::stop() {
  close();
  co_await join();
}

void TaskGroup::finished(std::list<Task>::iterator task, std::exception_ptr error) {
  if (error && !is_cancellation(error)) {
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& e) {
      log::error("task failed", {{"task", task->name}, {"error", e.what()}});
    } catch (...) {
      log::error("task failed", {{"task", task->name}, {"error", "unknown exception"}});
    }
  }
  tasks_.erase(task);
  if (tasks_.empty()) idle_.cancel();
}

}  // namespace wick
