#include "dispatcher.hpp"

#include <fmt/format.h>

#include <boost/asio/post.hpp>

#include "wick/base/log.hpp"
#include "wick/os/deadline.hpp"

namespace wick::eventing {

namespace {

constexpr int scan_count = 256;                    // places looked at between two turns of the loop
constexpr int due_count = 64;                      // rows looked at
constexpr auto save_interval = milliseconds(250);  // a crash delivers again at most what was delivered in this time
constexpr auto house_interval = seconds(10);
constexpr auto write_retry_interval = seconds(1);
constexpr auto claim_limit =
    std::chrono::hours(24);                  // a cursor whose trigger nobody set since the start goes after this
constexpr std::size_t kept_body_max = 1024;  // bytes of a failed answer

std::string name_of(const TriggerSpec& spec) { return spec.name_space + "/" + spec.name; }
std::string broker_of(const TriggerSpec& spec) { return spec.name_space + "/" + spec.broker; }

/// Filters are checked when the Trigger is admitted; what slipped through matches nothing, and is told.
Matcher compiled(const TriggerSpec& spec) {
  auto matcher = Matcher::compile(spec.filter, spec.filters);
  if (matcher) return *matcher;
  log::error("the filter of a trigger does not compile: it matches nothing",
             {{"trigger", name_of(spec)}, {"error", matcher.error().what()}});
  return Matcher::compile({}, {{.dialect = Filter::Dialect::any}}).value();
}

double seconds_of(milliseconds elapsed) { return std::chrono::duration<double>(elapsed).count(); }

}  // namespace

struct Dispatcher::Trigger {
  Trigger(Executor executor, TriggerSpec spec) : spec(std::move(spec)), wake(executor) {}

  TriggerSpec spec;
  Matcher matcher = compiled(spec);
  Signal wake;
  bool removed = false;
  bool active = false;
  Position looked_at = 0;        // every event up to it was looked at
  Position saved = 0;            // the cursor on disk
  std::set<Position> open;       // first attempts under way
  std::set<Position> busy;       // rows under way
  std::set<Position> have_rows;  // after a restart: positions above the cursor that have a row already

  std::string name() const { return name_of(spec); }
  std::string broker() const { return broker_of(spec); }
  std::size_t in_flight() const { return open.size() + busy.size(); }
  Position cursor() const { return open.empty() ? looked_at : *open.begin() - 1; }
};

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
      newest_(log.newest()),
      floor_(log.floor()),
      dirty_(executor),
      attempts_(executor),
      tasks_(executor) {
  tasks_.spawn("save cursors", save_cursors());
  tasks_.spawn("trim the event log", keep_house());
}

// Brokers and triggers

void Dispatcher::set_broker(BrokerSpec spec) {
  const std::string name = spec.name_space + "/" + spec.name;
  brokers_.insert_or_assign(name, std::move(spec));
}

void Dispatcher::remove_broker(const std::string& broker) { brokers_.erase(broker); }

void Dispatcher::set_trigger(TriggerSpec spec) {
  const std::string name = name_of(spec);
  if (const auto found = triggers_.find(name); found != triggers_.end()) {
    if (found->second->broker() == broker_of(spec)) {
      found->second->spec = std::move(spec);
      found->second->matcher = compiled(found->second->spec);
      found->second->wake.notify();
      return;
    }
    remove_trigger(name);
  }
  auto trigger = std::make_shared<Trigger>(executor_, std::move(spec));
  triggers_[name] = trigger;
  tasks_.spawn("trigger " + name, run(trigger));
}

void Dispatcher::remove_trigger(const std::string& name) {
  const auto found = triggers_.find(name);
  if (found == triggers_.end()) return;
  found->second->removed = true;
  found->second->wake.notify();
  triggers_.erase(found);
  auto forget = [](Dispatcher& self, std::string name) -> awaitable<void> {
    auto work = Log::remove_trigger(name);
    auto removed = co_await self.database_.write(std::move(work));
    if (!removed) log::warn("trigger not removed from the log", {{"trigger", name}, {"error", removed.error().what()}});
  };
  tasks_.spawn("forget trigger " + name, forget(*this, name));
}

void Dispatcher::accepted(const std::vector<EventPointer>& events) {
  std::set<std::string> brokers;
  for (const EventPointer& event : events) {
    newest_ = std::max(newest_, event->position);
    brokers.insert(event->broker);
    const auto slash = event->broker.find('/');
    note({.kind = EventRecord::Kind::accepted,
          .name_space = event->broker.substr(0, slash),
          .broker = event->broker.substr(slash + 1),
          .event_id = event->event.text("id"),
          .type = event->event.text("type"),
          .source = event->event.text("source"),
          .when = clock_.wall()});
  }
  for (const auto& [name, trigger] : triggers_)
    if (brokers.contains(trigger->broker())) trigger->wake.notify();
}

std::map<std::string, std::size_t> Dispatcher::pending() const {
  std::map<std::string, std::size_t> counts;
  for (const auto& [name, trigger] : triggers_) {
    std::size_t count = trigger->open.size() + log_.waiting(name);
    if (trigger->active && trigger->looked_at < newest_) count += log_.unseen(trigger->broker(), trigger->looked_at);
    counts[name] = count;
  }
  return counts;
}

// The loop of a trigger

awaitable<void> Dispatcher::run(TriggerPointer trigger) {
  co_await activate(trigger);
  while (!trigger->removed) {
    std::optional<WallTime> again;
    bool more = false;
    try {
      again = start_due(trigger);
      more = start_new(trigger);
    } catch (const store::DatabaseError& error) {
      log::error("event log not readable, trying again", {{"trigger", trigger->name()}, {"error", error.what()}});
      again = clock_.wall() + write_retry_interval;
    }
    if (more)
      co_await asio::post(use_awaitable);  // others' turn
    else
      co_await wait(trigger, again);
  }
}

awaitable<void> Dispatcher::activate(TriggerPointer trigger) {
  auto cursor = std::make_shared<Position>(0);
  auto work = Log::start_trigger(trigger->name(), trigger->broker(), cursor);
  co_await persist(trigger, std::move(work));
  trigger->looked_at = trigger->saved = *cursor;
  for (const Position position : log_.rows_after(trigger->name(), *cursor)) trigger->have_rows.insert(position);
  trigger->active = true;
}

std::optional<WallTime> Dispatcher::start_due(const TriggerPointer& trigger) {
  if (stopping_) return std::nullopt;
  const auto room = [&] {
    return trigger->in_flight() < static_cast<std::size_t>(limits_.concurrent_deliveries_per_trigger);
  };
  if (!room()) return std::nullopt;  // an attempt that ends wakes us
  // Rows under way are still due, and a row just written may belong to an attempt that has not ended yet: look past
  // them.
  for (DeliveryRow& row : log_.due(trigger->name(), due_count + static_cast<int>(trigger->in_flight()))) {
    if (trigger->busy.contains(row.position) || trigger->open.contains(row.position)) continue;
    if (row.due > clock_.wall()) return row.due;
    if (!room()) return std::nullopt;
    trigger->busy.insert(row.position);
    auto event = log_.read(row.position);
    start(trigger, {.event = std::move(event), .row = std::move(row)});
  }
  return std::nullopt;
}

bool Dispatcher::start_new(const TriggerPointer& trigger) {
  if (stopping_ || trigger->looked_at >= newest_) return false;
  const auto places = log_.scan(trigger->looked_at, scan_count);
  for (const Log::Place& place : places) {
    if (trigger->in_flight() >= static_cast<std::size_t>(limits_.concurrent_deliveries_per_trigger)) return false;
    trigger->looked_at = place.position;
    if (trigger->have_rows.erase(place.position) > 0 || place.broker != trigger->broker()) continue;
    auto event = log_.read(place.position);
    if (!event) continue;
    if (const auto why = trigger->matcher.mismatch(event->event)) {
      EventRecord record = record_for(*trigger, *event, EventRecord::Kind::no_match);
      record.detail = *why;
      note(std::move(record));
      continue;
    }
    trigger->open.insert(place.position);
    start(trigger, {.event = std::move(event)});
  }
  dirty_.notify();
  return !places.empty();
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
  attempts_.spawn("delivery to " + trigger->name(), attempt(trigger, std::move(next)));
}

// One attempt

awaitable<void> Dispatcher::attempt(TriggerPointer trigger, Attempt attempt) {
  const Position position = attempt.event ? attempt.event->position : attempt.row->position;
  if (!attempt.event) {
    // Trimmed or damaged: there is nothing left to send.
    co_await settle(trigger, attempt);
  } else {
    const Delivery delivery = delivery_of(*trigger);
    if (attempt.to_dead_letter() && !delivery.dead_letter) {
      note(record_for(*trigger, *attempt.event, EventRecord::Kind::dropped));
      co_await settle(trigger, attempt);
    } else {
      Destination destination = attempt.to_dead_letter() ? *delivery.dead_letter : trigger->spec.subscriber;
      http::Request request = request_for(*trigger, attempt);
      const TimePoint started = clock_.now();
      auto response =
          co_await send(std::move(destination), std::move(request), delivery.timeout.value_or(limits_.attempt_limit));
      const auto elapsed = std::chrono::duration_cast<milliseconds>(clock_.now() - started);
      auto judgement = judge(std::move(response));
      co_await finish(trigger, attempt, std::move(judgement), elapsed);
    }
  }
  trigger->open.erase(position);
  trigger->busy.erase(position);
  dirty_.notify();
  trigger->wake.notify();
}

awaitable<Result<http::Response>> Dispatcher::send(Destination destination, http::Request request, milliseconds limit) {
  try {
    co_return co_await deliver_(std::move(destination), std::move(request), limit);
  } catch (const DeadlineExceeded&) {
    co_return fail(Errc::timed_out, fmt::format("no answer within {} ms", limit.count()));
  } catch (const std::exception& error) {
    // Our own cancellation ends the attempt; anything else, a cancelled wait inside the way there included, is a failed
    // one.
    if (attempts_.closed()) throw;
    co_return fail(Errc::internal, error.what());
  }
}

http::Request Dispatcher::request_for(const Trigger& trigger, const Attempt& attempt) const {
  http::Request request{.head = {.method = "POST", .fields = attempt.event->fields}};
  request.head.fields.set("Kn-Namespace", trigger.spec.name_space);
  CloudEvent event = attempt.event->event;
  event.attributes.erase("knativebrokerttl");
  if (attempt.to_dead_letter())
    event = dead_letter(std::move(event), attempt.row->destination, attempt.row->status, attempt.row->body);
  else
    request.head.fields.set("Prefer", "reply");
  request.body = encode_binary(event, request.head.fields);
  return request;
}

awaitable<void> Dispatcher::finish(TriggerPointer trigger, Attempt attempt, Judgement judgement, milliseconds elapsed) {
  const bool good = judgement.verdict == Judgement::Verdict::delivered;
  EventRecord record =
      record_for(*trigger, *attempt.event, good ? EventRecord::Kind::delivered : EventRecord::Kind::failed);
  record.status = judgement.status;
  record.attempt = attempt.failed_before() + 1;
  record.elapsed = elapsed;
  record.detail = judgement.detail;
  metrics_
      .histogram("wick_event_dispatch_seconds", "Time from sending an event to a subscriber's answer.",
                 {{"trigger", trigger->name()}})
      .observe(seconds_of(elapsed));
  if (good)
    co_await delivered(trigger, std::move(attempt), std::move(judgement), std::move(record));
  else
    co_await failed(trigger, std::move(attempt), std::move(judgement), std::move(record));
}

awaitable<void> Dispatcher::delivered(TriggerPointer trigger, Attempt attempt, Judgement judgement,
                                      EventRecord record) {
  if (attempt.to_dead_letter()) record.kind = EventRecord::Kind::dead_lettered;  // what a sink answers goes nowhere
  note(std::move(record));
  if (attempt.to_dead_letter() || judgement.replies.empty())
    co_await settle(trigger, attempt);
  else
    co_await store_replies(trigger, attempt, std::move(judgement.replies));
}

awaitable<void> Dispatcher::failed(TriggerPointer trigger, Attempt attempt, Judgement judgement, EventRecord record) {
  const Delivery delivery = delivery_of(*trigger);
  const int failures = attempt.failed_before() + 1;
  DeliveryRow row = attempt.row.value_or(DeliveryRow{.trigger = trigger->name(), .position = attempt.event->position});
  row.attempts = failures;
  if (judgement.verdict == Judgement::Verdict::retry && failures <= delivery.retry) {
    const milliseconds wait = backoff(delivery, failures);
    row.due = clock_.wall() + wait;
    record.detail += fmt::format("; next attempt in {} ms", wait.count());
    note(std::move(record));
    auto work = Log::put(std::move(row));
    co_await persist(trigger, std::move(work));
    co_return;
  }
  if (!attempt.to_dead_letter() && delivery.dead_letter) {
    note(std::move(record));
    row = {.state = DeliveryRow::State::dead,
           .trigger = row.trigger,
           .position = row.position,
           .due = clock_.wall(),
           .status = judgement.status,
           .destination = to_text(trigger->spec.subscriber),
           .body = judgement.body.substr(0, kept_body_max)};
    auto work = Log::put(std::move(row));
    co_await persist(trigger, std::move(work));
    co_return;
  }
  record.kind = EventRecord::Kind::dropped;
  log::warn("event dropped",
            {{"trigger", trigger->name()}, {"id", record.event_id}, {"attempts", failures}, {"why", record.detail}});
  note(std::move(record));
  co_await settle(trigger, attempt);
}

/// A first attempt is settled by the cursor alone.
awaitable<void> Dispatcher::settle(TriggerPointer trigger, const Attempt& attempt) {
  if (!attempt.row) co_return;
  auto work = Log::settle(trigger->name(), attempt.row->position);
  co_await persist(trigger, std::move(work));
}

std::vector<StoredEvent> Dispatcher::admitted(const Trigger& trigger, const StoredEvent& parent,
                                              std::vector<CloudEvent> replies) {
  std::vector<StoredEvent> events;
  for (CloudEvent& reply : replies) {
    // The subscriber never saw the budget: its reply goes on with what the parent has left.
    reply.attributes.erase("knativebrokerttl");
    if (const auto ttl = parent.event.attributes.find("knativebrokerttl"); ttl != parent.event.attributes.end())
      reply.attributes.insert(*ttl);
    StoredEvent event{.broker = trigger.broker(), .received = clock_.wall(), .event = std::move(reply)};
    if (admit(event.event, event.received)) {
      events.push_back(std::move(event));
      continue;
    }
    EventRecord record = record_for(trigger, event, EventRecord::Kind::dropped);
    record.detail = fmt::format("the reply went around {} times (knativebrokerttl)", ttl_max);
    note(std::move(record));
  }
  return events;
}

awaitable<void> Dispatcher::store_replies(TriggerPointer trigger, const Attempt& attempt,
                                          std::vector<CloudEvent> replies) {
  const std::vector<StoredEvent> events = admitted(*trigger, *attempt.event, std::move(replies));
  if (events.empty()) co_return co_await settle(trigger, attempt);
  while (!trigger->removed) {
    auto settled = Log::settle(trigger->name(), attempt.event->position);
    auto stored = co_await log_.append(events, std::move(settled));
    if (stored) co_return accepted(*stored);
    log::warn("reply not stored, trying again", {{"trigger", trigger->name()}, {"error", stored.error().what()}});
    co_await clock_.sleep(write_retry_interval);
  }
}

// Keeping it all on disk

awaitable<void> Dispatcher::persist(TriggerPointer trigger, Log::Work work) {
  while (!trigger->removed) {
    auto written = co_await database_.write(work);
    if (written) co_return;
    log::warn("event log write failed, trying again",
              {{"trigger", trigger->name()}, {"error", written.error().what()}});
    co_await clock_.sleep(write_retry_interval);
  }
}

awaitable<void> Dispatcher::write_cursors() {
  std::vector<Cursor> moved;
  for (const auto& [name, trigger] : triggers_)
    if (trigger->active && trigger->cursor() != trigger->saved) moved.push_back({name, trigger->cursor()});
  if (moved.empty()) co_return;
  auto work = Log::save(moved);
  auto written = co_await database_.write(std::move(work));
  if (!written) {
    log::warn("trigger positions not saved", {{"error", written.error().what()}});
    dirty_.notify();
    co_return;
  }
  for (const Cursor& cursor : moved)
    if (const auto found = triggers_.find(cursor.trigger); found != triggers_.end())
      found->second->saved = cursor.position;
}

awaitable<void> Dispatcher::save_cursors() {
  while (true) {
    co_await dirty_.wait();
    co_await clock_.sleep(save_interval);
    co_await write_cursors();
  }
}

awaitable<void> Dispatcher::keep_house() {
  const TimePoint started = clock_.now();
  bool claimed = false;
  while (true) {
    co_await clock_.sleep(house_interval);
    const bool claim_now = !claimed && clock_.now() - started >= claim_limit;
    // Those of quiet brokers too: a cursor that does not move would keep the events of the others.
    for (const auto& [name, trigger] : triggers_) trigger->wake.notify();
    try {
      co_await trim();
      floor_ = log_.floor();
      if (claim_now) co_await forget_unclaimed();
    } catch (const store::DatabaseError& error) {
      log::error("event log not readable", {{"error", error.what()}});
    }
    claimed = claimed || claim_now;
  }
}

awaitable<void> Dispatcher::forget_unclaimed() {
  for (std::string& name : log_.triggers()) {
    if (triggers_.contains(name)) continue;
    log::warn("forgetting a trigger that is not configured any more", {{"trigger", name}});
    auto forget = Log::remove_trigger(std::move(name));
    co_await database_.write(std::move(forget));
  }
}

awaitable<void> Dispatcher::trim() {
  auto deleted = std::make_shared<int>(0);
  do {
    *deleted = 0;
    auto work = Log::trim(limits_.retained_events, clock_.wall() - limits_.retained_age, deleted);
    auto trimmed = co_await database_.write(std::move(work));
    if (!trimmed) {
      log::warn("event log not trimmed", {{"error", trimmed.error().what()}});
      co_return;
    }
  } while (*deleted == Log::trim_count);
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
  co_await write_cursors();
}

// What is seen from outside

Delivery Dispatcher::delivery_of(const Trigger& trigger) const {
  const auto broker = brokers_.find(trigger.broker());
  return effective_delivery(trigger.spec, broker == brokers_.end() ? nullptr : &broker->second);
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
  constexpr const char* kinds[] = {"accepted", "delivered", "failed", "dead_lettered", "dropped", "no_match"};
  metrics_
      .counter("wick_events_total", "Events by what became of them.",
               {{"broker", record.name_space + "/" + record.broker}, {"kind", kinds[static_cast<int>(record.kind)]}})
      .add();
  journal_.add(std::move(record));
}

}  // namespace wick::eventing
