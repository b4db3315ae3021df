// From the log to subscribers: one loop a trigger, attempts beside it.
//
//   looked at ──no match──────────────────────────────► passed by the cursor
//       │ match (start_new)
//       ▼
//   attempt ──delivered──────────────────────────────► passed by the cursor (with a reply: row `settled`, in the
//   reply's transaction)
//       │ retry                 │ refused or no retry left
//       ▼                       ▼
//   row `retry` ─start_due─►  row `dead` ─start_due─► attempt at the dead letter sink ──► row `settled`
//   (attempts, due)           without a sink: dropped
//
// Invariants
//  1. Every matching event above the cursor is in `open` (first attempt under way) or has a row; so the cursor may
//  stand just before
//     the oldest open one, and losing a cursor write only delivers again.
//  2. A position is attempted at most once at a time: it is in `open` or in `busy`, never in both.
//  3. A row changes on disk before the attempt that caused it counts as ended.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

#include "journal.hpp"
#include "log.hpp"
#include "signal.hpp"
#include "wick/base/metrics.hpp"
#include "wick/eventing/eventing.hpp"
#include "wick/eventing/rules.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/task_group.hpp"

namespace wick::eventing {

class Dispatcher {
 public:
  Dispatcher(Executor executor, Clock& clock, store::Database& database, Log& log, Journal& journal, Metrics& metrics,
             Deliver deliver, Eventing::Limits limits);

  void set_broker(BrokerSpec spec);
  void remove_broker(const std::string& broker);
  bool has_broker(const std::string& broker) const { return brokers_.contains(broker); }
  void set_trigger(TriggerSpec spec);
  void remove_trigger(const std::string& name);

  /// Notes events that were just stored, and wakes the triggers of their broker.
  void accepted(const std::vector<EventPointer>& events);
  /// True when the slowest trigger is so far behind that no more events should be taken.
  bool backlog_is_full() const { return newest_ > floor_ + limits_.backlog_events_max; }

  std::map<std::string, std::size_t> pending() const;
  awaitable<void> stop(milliseconds grace);

 private:
  struct Trigger;
  using TriggerPointer = std::shared_ptr<Trigger>;
  /// One attempt: a first one (`row` empty), or the next one of a row.
  struct Attempt {
    EventPointer event;
    std::optional<DeliveryRow> row;
    bool to_dead_letter() const { return row && row->state == DeliveryRow::State::dead; }
    int failed_before() const { return row ? row->attempts : 0; }
  };

  awaitable<void> run(TriggerPointer trigger);
  awaitable<void> activate(TriggerPointer trigger);
  /// Starts what is due while there is room; the time of the next row that is not.
  std::optional<WallTime> start_due(const TriggerPointer& trigger);
  /// Looks at the next events and starts first attempts while there is room. False when there is nothing more to look
  /// at.
  bool start_new(const TriggerPointer& trigger);
  awaitable<void> wait(TriggerPointer trigger, std::optional<WallTime> until);
  void start(const TriggerPointer& trigger, Attempt attempt);

  awaitable<void> attempt(TriggerPointer trigger, Attempt attempt);
  awaitable<void> finish(TriggerPointer trigger, Attempt attempt, Judgement judgement, milliseconds elapsed);
  awaitable<void> delivered(TriggerPointer trigger, Attempt attempt, Judgement judgement, EventRecord record);
  awaitable<void> failed(TriggerPointer trigger, Attempt attempt, Judgement judgement, EventRecord record);
  awaitable<void> settle(TriggerPointer trigger, const Attempt& attempt);
  awaitable<void> store_replies(TriggerPointer trigger, const Attempt& attempt, std::vector<CloudEvent> replies);
  std::vector<StoredEvent> admitted(const Trigger& trigger, const StoredEvent& parent, std::vector<CloudEvent> replies);
  awaitable<Result<http::Response>> send(Destination destination, http::Request request, milliseconds limit);
  http::Request request_for(const Trigger& trigger, const Attempt& attempt) const;

  /// Writes until it succeeds (a full disk is waited out); gives up only when the trigger was removed.
  awaitable<void> persist(TriggerPointer trigger, Log::Work work);
  awaitable<void> save_cursors();
  awaitable<void> keep_house();
  awaitable<void> trim();
  awaitable<void> forget_unclaimed();
  awaitable<void> write_cursors();

  Delivery delivery_of(const Trigger& trigger) const;
  EventRecord record_for(const Trigger& trigger, const StoredEvent& event, EventRecord::Kind kind) const;
  void note(EventRecord record);

  Executor executor_;
  Clock& clock_;
  store::Database& database_;
  Log& log_;
  Journal& journal_;
  Metrics& metrics_;
  Deliver deliver_;
  Eventing::Limits limits_;

  std::map<std::string, BrokerSpec> brokers_;
  std::map<std::string, TriggerPointer> triggers_;
  Position newest_ = 0;
  Position floor_ = 0;
  bool stopping_ = false;
  Signal dirty_;  // a cursor moved
  TaskGroup attempts_;
  TaskGroup tasks_;
};

}  // namespace wick::eventing
