// Brokers, triggers and matching: what is offered to whom. What becomes of an offer is in attempts.cpp.
#include "dispatcher.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/post.hpp>

#include "trigger.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/deadline.hpp"

namespace wick::eventing {

namespace {

constexpr int scan_count = 32;            // places looked at between two turns of the loop: 1 ms where all are read
constexpr int due_count = 64;             // rows looked at
constexpr std::size_t rows_max = 10'000;  // that wait for a retry; past it a trigger begins nothing new
constexpr std::size_t explained_max = 8;  // triggers of a broker whose refusals the journal shows
constexpr auto read_retry_interval = seconds(1);

/// Filters are checked when the Trigger is admitted; what slipped through matches nothing, and is told.
Matcher compiled(const TriggerSpec& spec) {
  auto matcher = Matcher::compile(spec.filter, spec.filters);
  if (matcher) return *matcher;
  log::error("the filter of a trigger does not compile: it matches nothing",
             {{"trigger", name_of(spec)}, {"error", matcher.error().what()}});
  return Matcher::compile({}, {{.dialect = Filter::Dialect::any}}).value();
}

/// What a new trigger has looked at already.
std::function<Position(sqlite3*)> first_position(StartFrom from) {
  return [from](sqlite3* connection) -> Position {
    switch (from.where) {
      case StartFrom::Where::earliest:
        return 0;
      case StartFrom::Where::position:
        return std::min(from.position > 0 ? from.position - 1 : 0, Log::newest_in(connection));
      case StartFrom::Where::time:
        return Log::first_received_at(connection, from.time);
      case StartFrom::Where::latest:
        break;
    }
    return Log::newest_in(connection);
  };
}

}  // namespace

std::string name_of(const TriggerSpec& spec) { return spec.name_space + "/" + spec.name; }
std::string broker_of(const TriggerSpec& spec) { return spec.name_space + "/" + spec.broker; }

Dispatcher::Trigger::Trigger(Executor executor, TriggerSpec given)
    : wake(executor), started(executor, asio::steady_timer::time_point::max()) {
  set(std::move(given));
}

void Dispatcher::Trigger::set(TriggerSpec given) {
  spec = std::move(given);
  name = name_of(spec);
  broker = broker_of(spec);
  matcher = compiled(spec);
}

std::string Dispatcher::Trigger::lane_of(const StoredEvent& event) const {
  if (spec.ordering == TriggerSpec::Ordering::strict) return "*";
  if (spec.ordering == TriggerSpec::Ordering::none) return {};
  const std::string key = event.event.text("partitionkey");
  return key.empty() ? key : "=" + key;
}

Dispatcher::Dispatcher(Executor executor, Clock& clock, store::Database& database, Log& log, Journal& journal,
                       Metrics& metrics, Deliver deliver, Eventing::Limits limits)
    : executor_(executor),
      clock_(clock),
      database_(database),
      log_(log),
      journal_(journal),
      metrics_(metrics),
      deliver_(std::move(deliver)),
      limits_(limits),
      head_(log.newest()),
      dirty_(executor),
      attempts_(executor),
      tasks_(executor) {
  log_.on_stored([this](const std::vector<EventPointer>& events) { stored(events); });
  tasks_.spawn("save triggers", save_states());
  tasks_.spawn("trim the event log", keep_house());
}

Dispatcher::~Dispatcher() = default;

// Brokers and triggers

void Dispatcher::set_broker(BrokerSpec spec) {
  const std::string name = spec.name_space + "/" + spec.name;
  if (!spec.host.empty()) hosts_[spec.host] = name;
  state_of(name).spec = std::move(spec);
}

std::string Dispatcher::stream_at(std::string_view host) const {
  const auto found = hosts_.find(to_lower(host.substr(0, host.find(':'))));
  return found == hosts_.end() ? std::string() : found->second;
}

/// Made when it is first named. How far behind it is shows once its triggers are active.
Dispatcher::BrokerState& Dispatcher::state_of(const std::string& broker) {
  auto& state = brokers_[broker];
  if (!state) state = std::make_unique<BrokerState>(BrokerState{.floor = head_});
  return *state;
}

void Dispatcher::remove_broker(const std::string& broker) {
  std::erase_if(hosts_, [&](const auto& host) { return host.second == broker; });
  if (const auto found = brokers_.find(broker); found != brokers_.end()) found->second->spec.reset();
}

const BrokerSpec* Dispatcher::broker(const std::string& broker) const {
  const auto found = brokers_.find(broker);
  return found != brokers_.end() && found->second->spec ? &*found->second->spec : nullptr;
}
bool Dispatcher::has_broker(const std::string& name) const { return broker(name) != nullptr; }

void Dispatcher::set_trigger(TriggerSpec spec) {
  const std::string name = name_of(spec);
  if (const auto found = triggers_.find(name); found != triggers_.end()) {
    if (found->second->broker == broker_of(spec)) {
      found->second->set(std::move(spec));
      brokers_[found->second->broker]->stale = true;
      found->second->wake.notify();
      return;
    }
    remove_trigger(name);
  }
  auto trigger = std::make_shared<Trigger>(executor_, std::move(spec));
  trigger->dispatch_seconds = &metrics_.histogram(
      "wick_event_dispatch_seconds", "Time from sending an event to a subscriber's answer.", {{"trigger", name}});
  triggers_[name] = trigger;
  BrokerState& state = state_of(trigger->broker);
  state.triggers.push_back(trigger.get());
  state.stale = true;
  tasks_.spawn("trigger " + name, run(trigger));
}

void Dispatcher::remove_trigger(const std::string& name) {
  const auto found = triggers_.find(name);
  if (found == triggers_.end()) return;
  const TriggerPointer trigger = found->second;
  trigger->removed = true;
  trigger->wake.notify();
  trigger->started.cancel();
  triggers_.erase(found);
  auto& state = *brokers_[trigger->broker];
  std::erase(state.triggers, trigger.get());
  reindex(state);
  auto forget = [](Dispatcher& self, std::string name) -> awaitable<void> {
    auto work = Log::remove_trigger(name);
    auto removed = co_await self.database_.write(std::move(work));
    if (!removed) log::warn("trigger not removed from the log", {{"trigger", name}, {"error", removed.error().what()}});
  };
  tasks_.spawn("forget trigger " + name, forget(*this, name));
}

awaitable<bool> Dispatcher::await_trigger(std::string name, milliseconds limit) {
  const auto found = triggers_.find(name);
  if (found == triggers_.end()) co_return false;
  const TriggerPointer trigger = found->second;
  if (!trigger->active) {
    auto started = [](TriggerPointer trigger) -> awaitable<void> {
      co_await trigger->started.async_wait(asio::as_tuple(use_awaitable));
    };
    try {
      co_await with_deadline(clock_, limit, started(trigger));
    } catch (const DeadlineExceeded&) {
    }
  }
  co_return trigger->active && !trigger->removed;
}

void Dispatcher::wake(const std::string& name) {
  const auto found = triggers_.find(name);
  if (found == triggers_.end()) return;
  found->second->expect_row(clock_.wall());
  found->second->wake.notify();
}

void Dispatcher::reindex(BrokerState& broker) {
  broker.stale = false;
  broker.index.clear();
  for (Trigger* trigger : broker.triggers) broker.index.add(trigger, trigger->matcher);
}

bool Dispatcher::backlog_is_full(const std::string& broker) const {
  if (log_is_full_) return true;
  const auto found = brokers_.find(broker);
  return found != brokers_.end() && !found->second->triggers.empty() &&
         head_ > found->second->floor + limits_.backlog_events_max;
}

// Matching

void Dispatcher::stored(const std::vector<EventPointer>& events) {
  for (const EventPointer& event : events) {
    head_ = event->position;
    if (accepted_) accepted_(event->broker, event->event);
    const auto slash = event->broker.find('/');
    note({.kind = EventRecord::Kind::accepted,
          .name_space = event->broker.substr(0, slash),
          .broker = event->broker.substr(slash + 1),
          .event_id = event->event.text("id"),
          .type = event->event.text("type"),
          .source = event->event.text("source"),
          .when = event->received});
    match(event);
  }
}

void Dispatcher::match(const EventPointer& event) {
  const auto found = brokers_.find(event->broker);
  if (found == brokers_.end()) return;
  BrokerState& broker = *found->second;
  if (broker.stale) reindex(broker);
  std::size_t matched = 0;
  broker.index.matches(event->event, [&](Trigger* trigger) {
    ++matched;
    offer(*trigger, *event);
  });
  if (matched == broker.triggers.size() || (matched > 0 && broker.triggers.size() > explained_max)) return;
  if (broker.triggers.size() > explained_max) {
    EventRecord record = record_for(*broker.triggers.front(), *event, EventRecord::Kind::no_match);
    record.trigger.clear();
    record.detail = fmt::format("none of {} triggers wanted it", broker.triggers.size());
    note(std::move(record));
    return;
  }
  for (const Trigger* trigger : broker.triggers)
    if (const auto why = trigger->matcher.mismatch(event->event)) {
      EventRecord record = record_for(*trigger, *event, EventRecord::Kind::no_match);
      record.detail = *why;
      note(std::move(record));
    }
}

/// A trigger that is not live looks at the log itself.
void Dispatcher::offer(Trigger& trigger, const StoredEvent& event) {
  if (!trigger.live) return;
  if (trigger.queue.is_full() || trigger.rows > rows_max) {
    trigger.live = false;
    trigger.looked_at = event.position - 1;
    return;
  }
  trigger.queue.offer(event.position, trigger.lane_of(event));
  trigger.wake.notify();
}

/// True while there is more to look at.
bool Dispatcher::catch_up(Trigger& trigger) {
  if (trigger.live || !trigger.queue.wants_more() || trigger.rows > rows_max) return false;
  const auto places = log_.scan(trigger.looked_at, scan_count);
  bool at_head = places.empty();
  for (const Log::Place& place : places) {
    at_head = place.position > head_;  // stored, but not matched yet: match() will offer it
    if (at_head) break;
    if (trigger.queue.is_full()) return false;
    if (trigger.looked_at > 0 && place.position > trigger.looked_at + 1)
      log_.note_gap(trigger.looked_at, place.position);
    trigger.looked_at = place.position;
    // A broker that nobody knows may be a damaged name: reading the event tells.
    if (place.broker != trigger.broker) {
      if (!brokers_.contains(place.broker)) log_.read(place.position);
      continue;
    }
    const auto event = log_.read(place.position);
    if (event && trigger.matcher.passes(event->event)) trigger.queue.offer(place.position, trigger.lane_of(*event));
  }
  if (places.empty() && trigger.looked_at < head_) log_.note_gap(trigger.looked_at, head_ + 1);
  trigger.live = at_head || trigger.looked_at >= head_;
  trigger.dirty = true;
  dirty_.notify();
  return !trigger.live;
}

// The loop of a trigger

awaitable<void> Dispatcher::run(TriggerPointer trigger) {
  co_await activate(trigger);
  while (!trigger->removed) {
    std::optional<WallTime> again;
    bool more = false;
    try {
      again = start_due(trigger);
      more = !stopping_ && catch_up(*trigger);
      more |= start_ready(trigger);
    } catch (const store::DatabaseError& error) {
      log::error("event log not readable, trying again", {{"trigger", trigger->name}, {"error", error.what()}});
      again = clock_.wall() + read_retry_interval;
    }
    if (more)
      co_await asio::post(use_awaitable);  // others' turn
    else
      co_await wait(trigger, again);
  }
}

awaitable<void> Dispatcher::activate(TriggerPointer trigger) {
  auto start = std::make_shared<Log::Start>();
  const auto make = [&] {
    return Log::start_trigger(trigger->name, trigger->broker, first_position(trigger->spec.start_from), start);
  };
  co_await persist(trigger, make);
  trigger->looked_at = trigger->saved = start->state.position;
  const auto rows = log_.rows_of(trigger->name);
  std::set<Position> have_rows;
  for (const DeliveryRow& row : rows) {
    have_rows.insert(row.position);
    trigger->queue.hold(row.lane);
  }
  if (!rows.empty()) trigger->expect_row(clock_.wall());
  trigger->rows = rows.size();
  for (const Position position : start->state.open)
    if (!have_rows.contains(position))
      if (const auto event = log_.read(position)) trigger->queue.offer(position, trigger->lane_of(*event));
  trigger->active = true;
  trigger->started.cancel();
  for (const auto& [name, range] : log_.replays())
    if (name == trigger->name) tasks_.spawn("replay to " + name, run_replay(trigger, range.first, range.second));
}

bool Dispatcher::has_room(const Trigger& trigger) const {
  const int most =
      trigger.spec.in_flight_max > 0 ? trigger.spec.in_flight_max : limits_.concurrent_deliveries_per_trigger;
  return !stopping_ && trigger.under_way < static_cast<std::size_t>(most);
}

/// Starts what is due while there is room; the time of the next row that is not.
std::optional<WallTime> Dispatcher::start_due(const TriggerPointer& trigger) {
  while (has_room(*trigger)) {
    if (trigger->due.empty()) look_for_due(*trigger);
    if (trigger->due.empty()) return trigger->next_due;
    DeliveryRow row = std::move(trigger->due.front());
    trigger->due.pop_front();
    if (trigger->busy.contains(row.position) || trigger->queue.contains(row.position)) {
      trigger->expect_row(row.due);
      continue;
    }
    trigger->busy.insert(row.position);
    auto event = log_.read(row.position);
    std::string lane = row.lane;
    start(trigger, {.event = std::move(event), .lane = std::move(lane), .row = std::move(row)});
  }
  return std::nullopt;  // an attempt that ends wakes us
}

/// A read for many attempts: a subscriber that is away has thousands of rows due.
void Dispatcher::look_for_due(Trigger& trigger) {
  const WallTime now = clock_.wall();
  notice_clock_set_back(now);
  if (!trigger.next_due || *trigger.next_due > now) return;
  trigger.next_due.reset();
  // Rows under way are still due, and a row just written may belong to an attempt that has not ended yet: look past
  // them.
  const auto count = due_count + static_cast<int>(trigger.under_way);
  auto rows = log_.due(trigger.name, count);
  bool all_due = true;
  for (DeliveryRow& row : rows) {
    if (trigger.busy.contains(row.position) || trigger.queue.contains(row.position)) continue;
    if (is_due(trigger, row, now)) {
      trigger.due.push_back(std::move(row));
    } else {
      all_due = false;
      trigger.expect_row(row.due);
    }
  }
  if (all_due && rows.size() >= static_cast<std::size_t>(count)) trigger.expect_row(now);  // it may have left some out
}

/// A row that is further away than any repetition waits was written before the clock was set back. Only what was asked
/// to come later may be that far.
bool Dispatcher::is_due(const Trigger& trigger, const DeliveryRow& row, WallTime now) {
  if (row.due <= now) return true;
  if (row.due - now <= std::max<Duration>(longest_wait(delivery_of(trigger)), overload_interval)) return false;
  if (row.attempts > 0 || row.state == DeliveryRow::State::sink) return true;
  const auto event = log_.read(row.position);
  return !event || !deliver_at(event->event, event->received);
}

/// The time of the next row is then no reason not to look.
void Dispatcher::notice_clock_set_back(WallTime now) {
  if (now < latest_wall_)
    for (const auto& [name, trigger] : triggers_)
      if (trigger->next_due) trigger->expect_row(now);
  latest_wall_ = now;
}

/// Begins one delivery, if there is one: publishers and other triggers have their turn before the next. False when
/// there is none.
bool Dispatcher::start_ready(const TriggerPointer& trigger) {
  while (has_room(*trigger)) {
    auto ready = trigger->queue.next();
    if (!ready) return false;
    auto event = log_.read(ready->position);
    if (event) {
      start(trigger, {.event = std::move(event), .lane = std::move(ready->lane)});
      return true;
    }
    // Damaged, or trimmed: there is nothing to send.
    trigger->queue.settled(ready->position);
    trigger->queue.release(ready->lane);
    trigger->dirty = true;
  }
  return false;
}

awaitable<void> Dispatcher::wait(TriggerPointer trigger, std::optional<WallTime> until) {
  if (!until) co_return co_await trigger->wake.wait();
  const auto left = std::max(std::chrono::duration_cast<Duration>(*until - clock_.wall()), Duration(1ms));
  try {
    co_await with_deadline(clock_, left, trigger->wake.wait());
  } catch (const DeadlineExceeded&) {
  }
}

void Dispatcher::start(const TriggerPointer& trigger, Attempt next) {
  ++trigger->under_way;
  attempts_.spawn("delivery", attempt(trigger, std::move(next)));
}

// What is seen from outside

std::map<std::string, std::size_t> Dispatcher::pending() const {
  std::map<std::string, std::size_t> counts;
  for (const auto& [name, trigger] : triggers_) {
    std::size_t count = trigger->queue.open_count() + log_.waiting(name);
    if (trigger->active && !trigger->live && trigger->looked_at < head_)
      count += log_.unseen(trigger->broker, trigger->looked_at);
    counts[name] = count;
  }
  return counts;
}

std::map<std::string, Dispatcher::View> Dispatcher::view(const StoredEvent& event) const {
  std::map<std::string, View> views;
  for (const auto& [name, trigger] : triggers_)
    if (trigger->broker == event.broker)
      views[name] = {.spec = &trigger->spec,
                     .position = trigger->active ? trigger->position(head_) : 0,
                     .open = trigger->queue.contains(event.position),
                     .under_way = trigger->busy.contains(event.position),
                     .mismatch = trigger->matcher.mismatch(event.event)};
  return views;
}

Delivery Dispatcher::delivery_of(const Trigger& trigger) const {
  return effective_delivery(trigger.spec, broker(trigger.broker));
}

EventRecord Dispatcher::record_for(const Trigger& trigger, const StoredEvent& event, EventRecord::Kind kind) const {
  return {.kind = kind,
          .name_space = trigger.spec.name_space,
          .broker = trigger.spec.broker,
          .trigger = trigger.spec.name,
          .event_id = event.event.text("id"),
          .type = event.event.text("type"),
          .source = event.event.text("source"),
          .when = clock_.wall()};
}

void Dispatcher::note(EventRecord record) {
  constexpr const char* kinds[] = {"accepted", "delivered", "failed",  "dead_lettered",
                                   "dropped",  "no_match",  "expired", "delayed"};
  const auto kind = static_cast<std::size_t>(record.kind);
  Counter*& counter = state_of(record.name_space + "/" + record.broker).counters[kind];
  if (counter == nullptr)
    counter = &metrics_.counter("wick_events_total", "Events by what became of them.",
                                {{"broker", record.name_space + "/" + record.broker}, {"kind", kinds[kind]}});
  counter->add();
  journal_.add(std::move(record));
}

}  // namespace wick::eventing
