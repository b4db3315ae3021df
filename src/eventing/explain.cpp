#include "explain.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/json/serialize.hpp>

#include "wick/base/text.hpp"

namespace wick::eventing {

namespace json = boost::json;

namespace {

constexpr int slice = 2000;               // rows searched between two turns of the loop
constexpr std::size_t found_max = 20;     // events with the same id that are explained
constexpr std::size_t replies_max = 100;  // of one event that are shown
constexpr std::size_t listed_max = 1000;
constexpr std::size_t shown_body_max = 1024;

json::object shown(const StoredEvent& stored) {
  json::object attributes;
  for (const auto& [name, value] : stored.event.attributes) attributes[name] = printable(to_text(value), 1000);
  return {{"position", stored.position},
          {"broker", stored.broker.substr(stored.broker.find('/') + 1)},
          {"received", to_rfc3339_nano(stored.received)},
          {"id", printable(stored.event.text("id"))},
          {"type", printable(stored.event.text("type"))},
          {"source", printable(stored.event.text("source"))},
          {"dataBytes", stored.event.data.value_or("").size()},
          {"attributes", std::move(attributes)}};
}

json::object short_view(const StoredEvent& stored) {
  return {{"position", stored.position},
          {"id", printable(stored.event.text("id"))},
          {"type", printable(stored.event.text("type"))}};
}

json::object shown_attempt(const AttemptRow& row) {
  json::object attempt{{"number", row.number},
                       {"when", to_rfc3339_nano(row.when)},
                       {"status", row.status},
                       {"elapsedMs", row.elapsed.count()},
                       {"to", row.to_sink ? "deadLetterSink" : "subscriber"}};
  if (!row.detail.empty()) attempt["detail"] = printable(row.detail, 500);
  return attempt;
}

std::string state_of(const DeliveryRow& row) {
  if (row.state == DeliveryRow::State::dead) return "dead letter";
  if (row.state == DeliveryRow::State::sink) return "on its way to the dead letter sink";
  return row.attempts == 0 ? "delayed" : "waits for its next attempt";
}

void add_row(json::object& trigger, const DeliveryRow& row) {
  trigger["state"] = state_of(row);
  if (row.state == DeliveryRow::State::dead) {
    trigger["lastStatus"] = row.status;
    trigger["lastAnswer"] = printable(row.body, shown_body_max);
    trigger["because"] = printable(row.detail, 500);
  } else {
    trigger["nextAttempt"] = to_rfc3339_nano(row.due);
    trigger["failedAttempts"] = row.attempts;
  }
}

/// What went well the first time is remembered by the journal only.
void add_memory(json::array& attempts, const std::vector<EventRecord>& records, const std::string& trigger) {
  for (const EventRecord& record : records)
    if (record.trigger == trigger && record.kind == EventRecord::Kind::delivered)
      attempts.push_back(shown_attempt({.number = record.attempt,
                                        .when = record.when,
                                        .elapsed = record.elapsed,
                                        .status = record.status,
                                        .detail = record.detail}));
}

json::array shown_triggers(Log& log, Dispatcher& dispatcher, Journal& journal, const StoredEvent& event) {
  json::array triggers;
  const auto rows = log.rows_at(event.position);
  const auto attempts = log.attempts_at(event.position);
  const auto records = journal.of(event.broker, event.event.text("id"), event.event.text("source"));
  for (const auto& [name, view] : dispatcher.view(event)) {
    json::object trigger{{"trigger", view.spec->name}, {"matched", !view.mismatch}};
    const auto row = std::ranges::find(rows, name, &DeliveryRow::trigger);
    json::array made;
    for (const AttemptRow& attempt : attempts)
      if (attempt.trigger == name) made.push_back(shown_attempt(attempt));
    if (made.empty()) add_memory(made, records, view.spec->name);
    if (row != rows.end())
      add_row(trigger, *row);
    else if (view.mismatch && made.empty())
      trigger["because"] = printable(*view.mismatch, 1000);
    else if (view.open || view.under_way)
      trigger["state"] = "under way";
    else if (event.position > view.position)
      trigger["state"] = "not looked at yet";
    else if (made.empty())
      trigger["state"] = "delivered, or older than the trigger";
    else
      trigger["state"] =
          made.back().as_object().at("to") == "subscriber" ? "delivered" : "sent to the dead letter sink";
    if (row != rows.end() && view.under_way) trigger["state"] = "under way";
    if (!made.empty()) trigger["attempts"] = std::move(made);
    triggers.push_back(std::move(trigger));
  }
  return triggers;
}

/// All positions that hold `text`, or that reply to `parent`, after `after`.
awaitable<std::vector<Position>> search(Log& log, Position after, std::string text, Position parent, std::size_t most) {
  std::vector<Position> found;
  while (after < log.newest() && found.size() < most) {
    const auto some = log.search(after, slice, text, parent);
    found.insert(found.end(), some.begin(), some.end());
    co_await asio::post(use_awaitable);
  }
  co_return found;
}

}  // namespace

awaitable<Result<json::object>> explain(Log& log, Dispatcher& dispatcher, Journal& journal, std::string name_space,
                                        std::string event_id) {
  json::array events;
  const std::string text = "\"id\":" + json::serialize(json::value(event_id));
  const auto positions = co_await search(log, 0, text, 0, found_max);
  for (const Position position : positions) {
    const auto event = log.read(position);
    if (!event || event->event.text("id") != event_id || !event->broker.starts_with(name_space + "/")) continue;
    json::object explained = shown(*event);
    explained["triggers"] = shown_triggers(log, dispatcher, journal, *event);
    if (event->parent != 0) {
      const auto parent = log.read(event->parent);
      explained["replyTo"] = parent ? short_view(*parent) : json::object{{"position", event->parent}};
    }
    json::array replies;
    const auto children = co_await search(log, position, "\"\"\"", position, replies_max);
    for (const Position child : children)
      if (const auto reply = log.read(child); reply && reply->parent == position) replies.push_back(short_view(*reply));
    explained["replies"] = std::move(replies);
    events.push_back(std::move(explained));
  }
  if (events.empty())
    co_return fail(Errc::not_found, "there is no event '" + printable(event_id) + "' in namespace " + name_space,
                   "it was never accepted, or it is older than the log; see: wick event list");
  co_return json::object{{"id", printable(event_id)}, {"events", std::move(events)}};
}

awaitable<json::array> list_events(Log& log, std::string broker, Position after, std::size_t count) {
  json::array events;
  count = std::min(count, listed_max);
  while (events.size() < count) {
    const auto places = log.scan(after, slice);
    if (places.empty()) break;
    for (const auto& place : places) {
      after = place.position;
      if (place.broker != broker || events.size() >= count) continue;
      if (const auto event = log.read(place.position)) events.push_back(shown(*event));
    }
    co_await asio::post(use_awaitable);
  }
  co_return events;
}

json::array list_dead_letters(Log& log, const std::string& name_space, std::size_t count) {
  json::array letters;
  for (const DeliveryRow& row : log.dead_letters(name_space, static_cast<int>(std::min(count, listed_max)))) {
    json::object letter{{"trigger", row.trigger.substr(row.trigger.find('/') + 1)},
                        {"position", row.position},
                        {"since", to_rfc3339_nano(row.due)},
                        {"attempts", row.attempts},
                        {"status", row.status},
                        {"destination", printable(row.destination, 500)},
                        {"because", printable(row.detail, 500)},
                        {"lastAnswer", printable(row.body, shown_body_max)}};
    if (const auto event = log.read(row.position)) {
      letter["id"] = printable(event->event.text("id"));
      letter["type"] = printable(event->event.text("type"));
      letter["source"] = printable(event->event.text("source"));
    }
    letters.push_back(std::move(letter));
  }
  return letters;
}

}  // namespace wick::eventing
