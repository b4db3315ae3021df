// One attempt of the dispatcher: sending, judging, and writing down what follows.
#include <fmt/format.h>

#include "trigger.hpp"
#include "wick/base/log.hpp"
#include "wick/os/deadline.hpp"

namespace wick::eventing {

namespace {

constexpr auto write_retry_interval = seconds(1);

Log::Work both(Log::Work first, Log::Work second) {
  if (!first) return second;
  if (!second) return first;
  return [first = std::move(first), second = std::move(second)](sqlite3* connection) {
    first(connection);
    second(connection);
  };
}

AttemptRow attempt_row(const EventRecord& record, const std::string& trigger, Position position, bool to_sink) {
  return {.position = position,
          .trigger = trigger,
          .number = record.attempt,
          .when = record.when,
          .elapsed = record.elapsed,
          .status = record.status,
          .detail = record.detail,
          .to_sink = to_sink};
}

}  // namespace

awaitable<void> Dispatcher::attempt(TriggerPointer trigger, Attempt attempt) {
  const Position position = attempt.position();
  co_await deliver(trigger, attempt);
  trigger->queue.settled(position);
  trigger->busy.erase(position);
  --trigger->under_way;
  trigger->dirty = true;
  dirty_.notify();
  trigger->wake.notify();
}

awaitable<void> Dispatcher::deliver(TriggerPointer trigger, Attempt attempt) {
  if (!attempt.event) co_return co_await settle(trigger, attempt);  // trimmed or damaged: there is nothing left to send
  const WallTime now = clock_.wall();
  if (!attempt.to_sink() && has_expired(attempt.event->event, now)) {
    note(record_for(*trigger, *attempt.event, EventRecord::Kind::expired));
    co_return co_await settle(trigger, attempt);
  }
  const auto not_before = attempt.row ? std::nullopt : deliver_at(attempt.event->event, attempt.event->received);
  if (not_before && *not_before > now) {
    DeliveryRow row = row_for(*trigger, attempt);
    row.due = *not_before;
    row.lane.clear();  // it comes when it is due, whatever the order
    EventRecord record = record_for(*trigger, *attempt.event, EventRecord::Kind::delayed);
    record.detail = "until " + to_rfc3339(row.due);
    note(std::move(record));
    co_await put(trigger, attempt, std::move(row));
    trigger->queue.release(attempt.lane);
    co_return;
  }
  const Delivery delivery = delivery_of(*trigger);
  if (attempt.to_sink() && !delivery.dead_letter) {  // it was taken away meanwhile
    DeliveryRow row = *attempt.row;
    row.state = DeliveryRow::State::dead;
    row.due = now;
    note(record_for(*trigger, *attempt.event, EventRecord::Kind::dropped));
    co_return co_await put(trigger, attempt, std::move(row));
  }
  Destination destination = attempt.to_sink() ? *delivery.dead_letter : trigger->spec.subscriber;
  destination.sender = trigger->spec.subscriber.sender;
  http::Request request = request_for(*trigger, attempt, delivery);
  const TimePoint started = clock_.now();
  auto response =
      co_await send(std::move(destination), std::move(request), delivery.timeout.value_or(limits_.attempt_limit));
  const auto elapsed = std::chrono::duration_cast<milliseconds>(clock_.now() - started);
  // Our own queue before the service was full: nobody was asked, so nothing failed.
  if (!response && response.error().code() == Errc::overloaded) {
    DeliveryRow row = row_for(*trigger, attempt);
    row.due = clock_.wall() + overload_interval;
    co_return co_await put(trigger, attempt, std::move(row));
  }
  const auto replies = trigger->spec.lenient_replies || attempt.to_sink() ? Replies::lenient : Replies::strict;
  auto judgement = judge(std::move(response), clock_.wall(), replies);
  co_await finish(trigger, std::move(attempt), std::move(judgement), elapsed);
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

http::Request Dispatcher::request_for(const Trigger& trigger, const Attempt& attempt, const Delivery& delivery) const {
  http::Request request{.head = {.method = "POST", .fields = attempt.event->fields}};
  request.head.fields.set("Kn-Namespace", trigger.spec.name_space);
  CloudEvent event = attempt.event->event;
  event.attributes.erase("knativebrokerttl");
  if (attempt.row && attempt.row->replayed) event.attributes["wickreplay"] = true;
  if (attempt.to_sink())
    event = dead_letter(std::move(event), attempt.row->destination, attempt.row->status, attempt.row->body);
  else
    request.head.fields.set("Prefer", "reply");
  if (delivery.format == Delivery::Format::json) {
    request.head.fields.set("Content-Type", "application/cloudevents+json; charset=utf-8");
    request.body = encode_json(event);
  } else {
    request.body = encode_binary(event, request.head.fields);
  }
  return request;
}

DeliveryRow Dispatcher::row_for(const Trigger& trigger, const Attempt& attempt) const {
  if (attempt.row) return *attempt.row;
  return {.trigger = trigger.name, .position = attempt.event->position, .lane = attempt.lane};
}

/// An answer that has nowhere to go makes the attempt a failed one (C5 of eventing.md 2.2): it comes again.
void Dispatcher::refuse_lost_replies(const Trigger& trigger, Judgement& judgement) const {
  if (judgement.replies.empty() || !trigger.spec.reply_to || trigger.spec.reply_to->empty()) return;
  if (has_broker(*trigger.spec.reply_to)) return;
  judgement = {.verdict = Judgement::Verdict::retry,
               .status = 404,
               .detail = fmt::format("its answer goes to {}, which is not there", *trigger.spec.reply_to)};
}

awaitable<void> Dispatcher::finish(TriggerPointer trigger, Attempt attempt, Judgement judgement, milliseconds elapsed) {
  if (!attempt.to_sink()) refuse_lost_replies(*trigger, judgement);
  const bool good = judgement.verdict == Judgement::Verdict::delivered;
  EventRecord record =
      record_for(*trigger, *attempt.event, good ? EventRecord::Kind::delivered : EventRecord::Kind::failed);
  record.status = judgement.status;
  record.attempt = attempt.failed_before() + 1;
  record.elapsed = elapsed;
  record.detail = judgement.detail;
  trigger->dispatch_seconds->observe(std::chrono::duration<double>(elapsed).count());
  if (good)
    co_await delivered(trigger, std::move(attempt), std::move(judgement), std::move(record));
  else
    co_await failed(trigger, std::move(attempt), std::move(judgement), std::move(record));
}

awaitable<void> Dispatcher::delivered(TriggerPointer trigger, Attempt attempt, Judgement judgement,
                                      EventRecord record) {
  if (attempt.to_sink()) record.kind = EventRecord::Kind::dead_lettered;  // what a sink answers goes nowhere
  // Only what failed before has a history on disk.
  Log::Work history;
  if (attempt.row) history = log_.note(attempt_row(record, trigger->name, attempt.position(), attempt.to_sink()));
  note(std::move(record));
  const bool unheard = trigger->spec.reply_to && trigger->spec.reply_to->empty();
  if (attempt.to_sink() || unheard || judgement.replies.empty())
    co_await settle(trigger, attempt, std::move(history));
  else
    co_await store_replies(trigger, attempt, std::move(judgement.replies), std::move(history));
}

awaitable<void> Dispatcher::failed(TriggerPointer trigger, Attempt attempt, Judgement judgement, EventRecord record) {
  const Delivery delivery = delivery_of(*trigger);
  DeliveryRow row = row_for(*trigger, attempt);
  row.attempts = attempt.failed_before() + 1;
  if (judgement.verdict == Judgement::Verdict::retry && row.attempts <= delivery.retry) {
    const double share = std::uniform_real_distribution<double>(0, limits_.backoff_jitter)(random_);
    const milliseconds wait = next_wait(delivery, row.attempts, judgement.retry_after, share);
    row.due = clock_.wall() + wait;
    row.detail = judgement.detail;
    auto history = log_.note(attempt_row(record, trigger->name, row.position, attempt.to_sink()));
    record.detail += fmt::format("; next attempt in {} ms", wait.count());
    note(std::move(record));
    co_return co_await put(trigger, attempt, std::move(row), std::move(history));
  }
  auto history = log_.note(attempt_row(record, trigger->name, row.position, attempt.to_sink()));
  const bool to_sink = !attempt.to_sink() && delivery.dead_letter;
  row.due = clock_.wall();
  if (!attempt.to_sink()) {  // a dead letter says what the subscriber answered, not what the sink did
    row.status = judgement.status;
    row.destination = to_text(trigger->spec.subscriber);
    row.body = judgement.body.substr(0, kept_body_max);
    row.detail = judgement.detail;
  }
  if (to_sink) {
    row.state = DeliveryRow::State::sink;
    row.attempts = 0;
  } else {
    row.state = DeliveryRow::State::dead;
    record.kind = EventRecord::Kind::dropped;
    log::warn(
        "event not delivered, kept as a dead letter",
        {{"trigger", trigger->name}, {"id", record.event_id}, {"attempts", row.attempts}, {"why", record.detail}});
  }
  note(std::move(record));
  co_await put(trigger, attempt, std::move(row), std::move(history));
}

// Each of these ends an attempt on disk: what the row becomes and what is open then, in one transaction.

/// A first attempt that went well is settled by the next save alone.
awaitable<void> Dispatcher::settle(TriggerPointer trigger, const Attempt& attempt, Log::Work with) {
  if (attempt.row) {
    const Position position = attempt.row->position;
    const auto make = [&] {
      return both(both(log_.erase(trigger->name, position), with), log_.save({state_without(*trigger, position)}));
    };
    co_await persist(trigger, make);
    if (trigger->rows > 0) --trigger->rows;
  }
  trigger->queue.release(attempt.lane);
}

awaitable<void> Dispatcher::put(TriggerPointer trigger, const Attempt& attempt, DeliveryRow row, Log::Work with) {
  const auto make = [&] { return both(both(log_.put(row), with), log_.save({state_without(*trigger, row.position)})); };
  co_await persist(trigger, make);
  if (row.state == DeliveryRow::State::dead) {
    if (attempt.row && trigger->rows > 0) --trigger->rows;
    trigger->queue.release(attempt.lane);
    co_return;
  }
  if (!attempt.row) ++trigger->rows;
  trigger->expect_row(row.due);
}

std::vector<StoredEvent> Dispatcher::admitted(const Trigger& trigger, const StoredEvent& parent,
                                              std::vector<CloudEvent> replies) {
  std::vector<StoredEvent> events;
  for (CloudEvent& reply : replies) {
    // The subscriber never saw the budget: its reply goes on with what the parent has left.
    reply.attributes.erase("knativebrokerttl");
    if (const auto ttl = parent.event.attributes.find("knativebrokerttl"); ttl != parent.event.attributes.end())
      reply.attributes.insert(*ttl);
    if (!reply.has("causationid")) reply.attributes["causationid"] = parent.event.text("id");
    StoredEvent event{.broker = trigger.spec.reply_to.value_or(trigger.broker),
                      .received = clock_.wall(),
                      .event = std::move(reply),
                      .parent = parent.position};
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

/// The reply and the settlement of its parent are one transaction: both are on disk, or the parent is delivered again.
awaitable<void> Dispatcher::store_replies(TriggerPointer trigger, const Attempt& attempt,
                                          std::vector<CloudEvent> replies, Log::Work with) {
  const std::vector<StoredEvent> events = admitted(*trigger, *attempt.event, std::move(replies));
  if (events.empty()) co_return co_await settle(trigger, attempt, std::move(with));
  const Position position = attempt.position();
  while (!trigger->removed) {
    auto settled =
        both(both(log_.erase(trigger->name, position), with), log_.save({state_without(*trigger, position)}));
    auto stored = co_await log_.append(events, std::move(settled));
    if (stored) break;
    log::warn("reply not stored, trying again", {{"trigger", trigger->name}, {"error", stored.error().what()}});
    co_await clock_.sleep(write_retry_interval);
  }
  if (attempt.row && trigger->rows > 0) --trigger->rows;
  trigger->queue.release(attempt.lane);
}

awaitable<void> Dispatcher::persist(TriggerPointer trigger, MakeWork make) {
  while (!trigger->removed) {
    auto work = make();
    auto written = co_await database_.write(std::move(work));
    if (written) co_return;
    log::warn("event log write failed, trying again", {{"trigger", trigger->name}, {"error", written.error().what()}});
    co_await clock_.sleep(write_retry_interval);
  }
}

}  // namespace wick::eventing
