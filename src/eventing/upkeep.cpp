// The dispatcher's upkeep: saving where triggers are, trimming, replays, and the end.
#include <algorithm>

#include "trigger.hpp"
#include "wick/base/log.hpp"
#include "wick/os/deadline.hpp"

namespace wick::eventing {

namespace {

constexpr auto save_interval = milliseconds(100);  // a crash delivers again at most what was delivered in this time
constexpr auto house_interval = seconds(10);
constexpr auto claim_limit =
    std::chrono::hours(24);                    // the state of a trigger that nobody set since the start goes after this
constexpr int replay_count = 100;              // events looked at a step of a replay
constexpr std::size_t replay_rows_max = 1000;  // a replay waits while so many deliveries of the trigger wait
constexpr auto replay_interval = milliseconds(200);

}  // namespace

TriggerState Dispatcher::state_without(const Trigger& trigger, Position position) const {
  TriggerState state{.trigger = trigger.name, .position = trigger.position(head_), .open = trigger.queue.open()};
  std::erase(state.open, position);
  return state;
}

/// Those that settled something, or all that moved.
awaitable<void> Dispatcher::write_states(bool all) {
  std::vector<TriggerState> states;
  for (const auto& [name, trigger] : triggers_) {
    if (!trigger->active || !(trigger->dirty || (all && trigger->position(head_) != trigger->saved))) continue;
    states.push_back(state_without(*trigger, 0));
    trigger->dirty = false;
  }
  measure_backlog();
  if (states.empty()) co_return;
  auto work = log_.save(states);
  auto written = co_await database_.write(std::move(work));
  if (!written) log::warn("positions of triggers not saved", {{"error", written.error().what()}});
  for (const TriggerState& state : states) {
    const auto found = triggers_.find(state.trigger);
    if (found == triggers_.end()) continue;
    if (written)
      found->second->saved = state.position;
    else
      found->second->dirty = true;
  }
  if (!written) dirty_.notify();
}

void Dispatcher::measure_backlog() {
  for (const auto& [name, broker] : brokers_) {
    broker->floor = head_;
    for (const Trigger* trigger : broker->triggers)
      if (trigger->active) broker->floor = std::min(broker->floor, trigger->floor(head_));
  }
  try {
    log_is_full_ = log_.used_bytes() > limits_.log_bytes_max;
  } catch (const store::DatabaseError& error) {
    log::error("event log not readable", {{"error", error.what()}});
  }
}

awaitable<void> Dispatcher::save_states() {
  while (true) {
    co_await dirty_.wait();
    co_await clock_.sleep(save_interval);
    co_await write_states(false);
  }
}

awaitable<void> Dispatcher::keep_house() {
  const TimePoint started = clock_.now();
  bool claimed = false;
  while (true) {
    co_await clock_.sleep(house_interval);
    const bool claim_now = !claimed && clock_.now() - started >= claim_limit;
    try {
      co_await write_states(true);
      if (claim_now) co_await forget_unclaimed();
      claimed = claimed || claim_now;
      co_await trim();
    } catch (const store::DatabaseError& error) {
      log::error("event log not readable", {{"error", error.what()}});
    }
    // A clock that was set forward makes rows due that nobody expects yet.
    for (const auto& [name, trigger] : triggers_)
      if (trigger->next_due) trigger->wake.notify();
  }
}

/// A trigger that was removed while wick did not run would keep its events for ever.
awaitable<void> Dispatcher::forget_unclaimed() {
  for (const std::string& name : log_.triggers()) {
    if (triggers_.contains(name)) continue;
    log::warn("forgetting a trigger that is not configured any more", {{"trigger", name}});
    auto forget = Log::remove_trigger(name);
    co_await database_.write(std::move(forget));
  }
}

awaitable<void> Dispatcher::trim() {
  auto deleted = std::make_shared<int>(0);
  do {
    *deleted = 0;
    const Log::Retention retention{.kept = limits_.retained_events,
                                   .before = clock_.wall() - limits_.retained_age,
                                   .bytes = limits_.retained_bytes,
                                   .dead_before = clock_.wall() - limits_.dead_letter_age,
                                   .dead_kept = limits_.dead_letters_max};
    auto work = Log::trim(retention, deleted);
    auto trimmed = co_await database_.write(std::move(work));
    if (!trimmed) {
      log::warn("event log not trimmed", {{"error", trimmed.error().what()}});
      co_return;
    }
  } while (*deleted == Log::trim_count);
}

// Replay: a step writes its rows and where it is in one transaction, so that a restart goes on and repeats nothing.

awaitable<Result<void>> Dispatcher::replay(std::string name, Position first, Position last) {
  const auto found = triggers_.find(name);
  if (found == triggers_.end()) co_return fail(Errc::not_found, "there is no trigger " + name);
  const TriggerPointer trigger = found->second;
  if (trigger->replaying) co_return fail(Errc::conflict, "a replay to trigger " + name + " is under way");
  last = std::min(last, head_);
  first = std::max<Position>(first, 1);
  if (first > last) co_return fail(Errc::invalid, "there are no events from the first to the last position");
  trigger->replaying = true;
  auto work = Log::put_replay(name, first, last);
  auto written = co_await database_.write(std::move(work));
  trigger->replaying = false;
  if (!written) co_return fail(std::move(written.error()));
  tasks_.spawn("replay to " + name, run_replay(trigger, first, last));
  co_return Result<void>();
}

awaitable<void> Dispatcher::run_replay(TriggerPointer trigger, Position next, Position last) {
  trigger->replaying = true;
  while (!trigger->removed && next <= last) {
    if (trigger->rows > replay_rows_max) {
      co_await clock_.sleep(replay_interval);
      continue;
    }
    std::vector<DeliveryRow> rows;
    const auto places = log_.scan(next - 1, replay_count);
    for (const Log::Place& place : places) {
      if (place.position > last || place.broker != trigger->broker) continue;
      const auto event = log_.read(place.position);
      const bool waits = trigger->queue.contains(place.position) || trigger->busy.contains(place.position);
      if (!waits && event && trigger->matcher.passes(event->event))
        rows.push_back({.trigger = trigger->name, .position = place.position, .due = clock_.wall(), .replayed = true});
    }
    next = places.empty() ? last + 1 : places.back().position + 1;
    const auto make = [&]() -> Log::Work {
      return [&log = log_, rows, moved = Log::put_replay(trigger->name, next, last)](sqlite3* connection) {
        for (const DeliveryRow& row : rows) log.put(row)(connection);
        moved(connection);
      };
    };
    co_await persist(trigger, make);
    trigger->rows += rows.size();
    if (!rows.empty()) {
      trigger->due.clear();  // one of these may have replaced a row that was read
      trigger->expect_row(rows.front().due);
    }
    trigger->wake.notify();
  }
  trigger->replaying = false;
}

awaitable<void> Dispatcher::stop(milliseconds grace) {
  stopping_ = true;
  try {
    co_await with_deadline(clock_, grace, attempts_.join());
  } catch (const DeadlineExceeded&) {
    log::info("deliveries cut by the stop are repeated after the next start", {{"count", attempts_.size()}});
  }
  co_await attempts_.stop();
  co_await tasks_.stop();
  co_await write_states(true);
  co_await log_.stop();
}

}  // namespace wick::eventing
