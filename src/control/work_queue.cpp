#include "control/work_queue.hpp"

#include <algorithm>

#include "wick/base/log.hpp"

namespace wick::control {

WorkQueue::WorkQueue(Executor executor, Clock& clock, Backoff backoff, Reconcile reconcile)
    : clock_(clock), backoff_(backoff), reconcile_(std::move(reconcile)), tasks_(executor) {}

void WorkQueue::enqueue(store::ObjectKey key) {
  if (tasks_.closed()) return;
  auto& item = items_[key];
  if (item.running)
    item.touched = true;
  else
    run(key, item);
}

void WorkQueue::run(const store::ObjectKey& key, Item& item) {
  item.running = true;
  item.touched = false;
  item.waiting = 0;
  tasks_.spawn("reconcile " + key.resource + " " + key.name_space + "/" + key.name, work(key));
}

milliseconds WorkQueue::delay_after(int failures) const {
  const auto doubled = backoff_.first * (1 << std::min(failures - 1, 20));
  return std::min<milliseconds>(doubled, backoff_.max);
}

awaitable<void> WorkQueue::work(store::ObjectKey key) {
  bool failed = false;
  try {
    const auto done = co_await reconcile_(key);
    failed = !done;
    // A conflict is another writer's turn, not a failure to tell of.
    if (failed && done.error().code() != Errc::conflict)
      log::warn(
          "reconcile failed",
          {{"resource", key.resource}, {"name", key.name_space + "/" + key.name}, {"error", done.error().what()}});
  } catch (const std::exception& error) {
    if (is_cancellation(std::current_exception())) throw;
    failed = true;
    log::error("reconcile threw",
               {{"resource", key.resource}, {"name", key.name_space + "/" + key.name}, {"error", error.what()}});
  }
  const auto found = items_.find(key);
  if (found == items_.end()) co_return;
  auto& item = found->second;
  item.running = false;
  if (!failed) {
    item.failures = 0;
    if (item.touched)
      run(key, item);
    else
      items_.erase(found);
    co_return;
  }
  ++item.failures;
  item.waiting = ++retries_;
  tasks_.spawn("retry " + key.name, retry_later(key, item.waiting, delay_after(item.failures)));
}

awaitable<void> WorkQueue::retry_later(store::ObjectKey key, std::uint64_t number, milliseconds delay) {
  co_await clock_.sleep(delay);
  const auto found = items_.find(key);
  if (found != items_.end() && found->second.waiting == number && !found->second.running) run(key, found->second);
}

awaitable<void> WorkQueue::stop() {
  co_await tasks_.stop();
  items_.clear();
}

}  // namespace wick::control
