// From the log to subscribers.
//
// What was just stored is matched once, against the index of its broker, and offered to the triggers that want it. A
// trigger whose queue is full falls behind: it reads the log by itself until it has caught up.
//
//   offered ──► attempt ──delivered──────────────────► settled (with a reply: in the reply's transaction)
//                  │ retry, delayed     │ refused, or no retry left
//                  ▼                    ▼
//           row `retry` ─due─►   row `sink` ─due─► attempt at the dead letter sink ──► settled
//                                (without a sink, or when that fails for good: row `dead`)
//
// Invariants
//  1. Every matching event a trigger has looked at is open in its queue, or has a row, or is settled. What is saved of
//     a trigger (position and open ones) says at most that too little is settled: a lost save delivers again.
//  2. A position is attempted at most once at a time: it is open, or in `busy`, never in both.
//  3. A row changes on disk before the attempt that caused it counts as ended.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>

#include "journal.hpp"
#include "log.hpp"
#include "signal.hpp"
#include "trigger_index.hpp"
#include "trigger_queue.hpp"
#include "wick/base/metrics.hpp"
#include "wick/eventing/eventing.hpp"
#include "wick/eventing/rules.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/task_group.hpp"

namespace wick::eventing {

class Dispatcher {
 public:
  struct Trigger;

  Dispatcher(Executor executor, Clock& clock, store::Database& database, Log& log, Journal& journal, Metrics& metrics,
             Deliver deliver, Eventing::Limits limits);
  ~Dispatcher();

  void set_broker(BrokerSpec spec);
  void remove_broker(const std::string& broker);
  bool has_broker(const std::string& broker) const;
  const BrokerSpec* broker(const std::string& broker) const;
  /// The stream that has this host (with or without a port) of its own; "" when none has.
  std::string stream_at(std::string_view host) const;
  awaitable<bool> await_trigger(std::string name, milliseconds limit);
  void set_trigger(TriggerSpec spec);
  void remove_trigger(const std::string& name);

  void on_accepted(std::function<void(const std::string&, const CloudEvent&)> callback) {
    accepted_ = std::move(callback);
  }

  /// True when the slowest trigger of the broker is so far behind, or the log so big, that no more should be taken.
  bool backlog_is_full(const std::string& broker) const;

  std::map<std::string, std::size_t> pending() const;
  /// Looks for due rows of a trigger now: its dead letters were redriven.
  void wake(const std::string& name);
  /// The events from `first` to `last` once more, beside what is new. Errors: not_found, conflict (one is under way).
  awaitable<Result<void>> replay(std::string name, Position first, Position last);

  /// What a trigger makes of an event, as far as memory knows.
  struct View {
    const TriggerSpec* spec;
    Position position;
    bool open;
    bool under_way;
    std::optional<std::string> mismatch;
  };
  std::map<std::string, View> view(const StoredEvent& event) const;

  /// One request, with no trigger.
  awaitable<Result<http::Response>> send(Destination destination, http::Request request, milliseconds limit);

  awaitable<void> stop(milliseconds grace);

 private:
  static constexpr seconds overload_interval{1};  // until a service whose queue was full is asked again

  using TriggerPointer = std::shared_ptr<Trigger>;
  struct BrokerState;
  /// One attempt: a first one (`row` empty), or the next one of a row.
  struct Attempt {
    EventPointer event;
    std::string lane;
    std::optional<DeliveryRow> row;
    bool to_sink() const { return row && row->state == DeliveryRow::State::sink; }
    int failed_before() const { return row ? row->attempts : 0; }
    Position position() const { return event ? event->position : row->position; }
  };

  BrokerState& state_of(const std::string& broker);

  // Matching
  void stored(const std::vector<EventPointer>& events);
  void match(const EventPointer& event);
  void offer(Trigger& trigger, const StoredEvent& event);
  void reindex(BrokerState& broker);

  // The loop of a trigger
  awaitable<void> run(TriggerPointer trigger);
  awaitable<void> activate(TriggerPointer trigger);
  bool has_room(const Trigger& trigger) const;
  std::optional<WallTime> start_due(const TriggerPointer& trigger);
  void look_for_due(Trigger& trigger);
  bool is_due(const Trigger& trigger, const DeliveryRow& row, WallTime now);
  void notice_clock_set_back(WallTime now);
  bool catch_up(Trigger& trigger);
  bool start_ready(const TriggerPointer& trigger);
  awaitable<void> wait(TriggerPointer trigger, std::optional<WallTime> until);
  void start(const TriggerPointer& trigger, Attempt attempt);

  // One attempt
  awaitable<void> attempt(TriggerPointer trigger, Attempt attempt);
  awaitable<void> deliver(TriggerPointer trigger, Attempt attempt);
  awaitable<void> finish(TriggerPointer trigger, Attempt attempt, Judgement judgement, milliseconds elapsed);
  awaitable<void> delivered(TriggerPointer trigger, Attempt attempt, Judgement judgement, EventRecord record);
  awaitable<void> failed(TriggerPointer trigger, Attempt attempt, Judgement judgement, EventRecord record);
  awaitable<void> settle(TriggerPointer trigger, const Attempt& attempt, Log::Work with = {});
  awaitable<void> put(TriggerPointer trigger, const Attempt& attempt, DeliveryRow row, Log::Work with = {});
  awaitable<void> store_replies(TriggerPointer trigger, const Attempt& attempt, std::vector<CloudEvent> replies,
                                Log::Work with);
  void refuse_lost_replies(const Trigger& trigger, Judgement& judgement) const;
  std::vector<StoredEvent> admitted(const Trigger& trigger, const StoredEvent& parent, std::vector<CloudEvent> replies);
  http::Request request_for(const Trigger& trigger, const Attempt& attempt, const Delivery& delivery) const;
  DeliveryRow row_for(const Trigger& trigger, const Attempt& attempt) const;

  // Keeping it all on disk
  using MakeWork = std::function<Log::Work()>;
  /// Writes until it succeeds (a full disk is waited out); gives up only when the trigger was removed.
  awaitable<void> persist(TriggerPointer trigger, MakeWork make);
  TriggerState state_without(const Trigger& trigger, Position position) const;
  awaitable<void> save_states();
  awaitable<void> write_states(bool all);
  awaitable<void> keep_house();
  awaitable<void> trim();
  awaitable<void> forget_unclaimed();
  awaitable<void> run_replay(TriggerPointer trigger, Position next, Position last);
  void measure_backlog();

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

  std::map<std::string, std::unique_ptr<BrokerState>, std::less<>> brokers_;
  std::map<std::string, std::string, std::less<>> hosts_;  // of streams that have one of their own
  std::map<std::string, TriggerPointer> triggers_;
  std::function<void(const std::string&, const CloudEvent&)> accepted_;
  Position head_ = 0;  // everything up to it was matched
  bool log_is_full_ = false;
  bool stopping_ = false;
  WallTime latest_wall_{};  // at the last look for what is due
  std::minstd_rand random_{std::random_device{}()};
  Signal dirty_;  // a trigger's state changed
  TaskGroup attempts_;
  TaskGroup tasks_;
};

}  // namespace wick::eventing
