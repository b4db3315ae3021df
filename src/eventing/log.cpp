#include "log.hpp"

#include <fmt/format.h>

#include <boost/crc.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "wick/base/log.hpp"

namespace wick::eventing {

namespace json = boost::json;
using store::Statement;

namespace {

std::int64_t to_microseconds(WallTime time) {
  return std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
}
WallTime from_microseconds(std::int64_t time) { return WallTime(std::chrono::microseconds(time)); }

std::int64_t checksum(std::string_view attributes, std::string_view fields, std::string_view body) {
  boost::crc_32_type crc;
  for (const std::string_view part : {attributes, fields, body}) crc.process_bytes(part.data(), part.size());
  return crc.checksum();
}

std::string fields_to_text(const http::Fields& fields) {
  if (fields.empty()) return {};
  json::array array;
  for (const auto& field : fields) array.push_back(json::array{field.name, field.value});
  return json::serialize(array);
}

http::Fields fields_from_text(const std::string& text) {
  http::Fields fields;
  if (text.empty()) return fields;
  for (const auto& field : json::parse(text).as_array())
    fields.add(std::string(field.at(0).as_string()), std::string(field.at(1).as_string()));
  return fields;
}

DeliveryRow row_of(const Statement& query, std::string trigger) {
  return {.state = static_cast<DeliveryRow::State>(query.integer(1)),
          .trigger = std::move(trigger),
          .position = static_cast<Position>(query.integer(0)),
          .attempts = static_cast<int>(query.integer(2)),
          .due = from_microseconds(query.integer(3)),
          .status = static_cast<int>(query.integer(4)),
          .destination = query.text(5),
          .body = query.text(6)};
}

/// An event as the writer thread stores it.
struct Record {
  std::string broker, attributes, fields;
  std::optional<std::string> body;
  std::int64_t received = 0;
  Position position = 0;  // given by the writer
};

Record record_of(const StoredEvent& stored) {
  return {.broker = stored.broker,
          .attributes = attributes_to_json(stored.event),
          .fields = fields_to_text(stored.fields),
          .body = stored.event.data,
          .received = to_microseconds(stored.received)};
}

}  // namespace

/// Prepared once; used by the writer thread only, and finalised after the last write.
struct Log::Insert {
  std::optional<Statement> statement;

  void run(sqlite3* connection, Record& record) {
    if (!statement)
      statement.emplace(
          connection,
          "INSERT INTO event(broker, received, attributes, fields, body, crc) VALUES(?,?,?,?,?,?) RETURNING seq");
    statement->reset().bind(record.broker).bind(record.received).bind(record.attributes).bind(record.fields);
    record.body ? statement->bind_blob(*record.body) : statement->bind_null();
    statement->bind(checksum(record.attributes, record.fields, record.body.value_or("")));
    statement->step();
    record.position = static_cast<Position>(statement->integer(0));
    statement->step();
    statement->reset();
  }
};

std::string_view Log::schema() {
  return R"sql(
CREATE TABLE event(
  seq INTEGER PRIMARY KEY,
  broker TEXT NOT NULL,
  received INTEGER NOT NULL,
  attributes TEXT NOT NULL,
  fields TEXT NOT NULL,
  body BLOB,
  crc INTEGER NOT NULL
);
CREATE TABLE trigger_cursor(
  trigger TEXT PRIMARY KEY,
  broker TEXT NOT NULL,
  position INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE delivery(
  trigger TEXT NOT NULL,
  seq INTEGER NOT NULL,
  state INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  due INTEGER NOT NULL,
  status INTEGER NOT NULL,
  destination TEXT NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY(trigger, seq)
) WITHOUT ROWID;
CREATE INDEX delivery_due ON delivery(trigger, due) WHERE state IN (1,2);
CREATE INDEX delivery_event ON delivery(seq) WHERE state IN (1,2);
CREATE INDEX delivery_settled ON delivery(trigger, seq) WHERE state = 3;
)sql";
}

Log::Log(store::Database& database)
    : database_(database),
      scan_(database.reader(), "SELECT seq, broker FROM event WHERE seq > ? ORDER BY seq LIMIT ?"),
      read_(database.reader(), "SELECT broker, attributes, fields, body, crc, received FROM event WHERE seq = ?"),
      due_(database.reader(),
           "SELECT seq, state, attempts, due, status, destination, body FROM delivery INDEXED BY delivery_due "
           "WHERE trigger = ? AND state IN (1,2) ORDER BY due LIMIT ?"),
      insert_(std::make_shared<Insert>()) {}

awaitable<Result<std::vector<EventPointer>>> Log::append(std::vector<StoredEvent> events, Work settle) {
  auto records = std::make_shared<std::vector<Record>>();
  records->reserve(events.size());
  for (const StoredEvent& event : events) records->push_back(record_of(event));
  auto work = [records, insert = insert_, settle = std::move(settle)](sqlite3* connection) {
    for (Record& record : *records) insert->run(connection, record);
    if (settle) settle(connection);
  };
  auto written = co_await database_.write(std::move(work));
  if (!written) co_return fail(std::move(written.error()));
  std::vector<EventPointer> stored;
  stored.reserve(events.size());
  for (std::size_t i = 0; i < events.size(); ++i) {
    events[i].position = (*records)[i].position;
    stored.push_back(std::make_shared<const StoredEvent>(std::move(events[i])));
    remember(stored.back());
  }
  co_return stored;
}

void Log::remember(EventPointer event) {
  const auto size = [](const StoredEvent& stored) { return stored.event.data ? stored.event.data->size() + 512 : 512; };
  recent_bytes_ += size(*event);
  recent_.emplace(event->position, std::move(event));
  while (recent_.size() > recent_events_max || recent_bytes_ > recent_bytes_max) {
    recent_bytes_ -= size(*recent_.begin()->second);
    recent_.erase(recent_.begin());
  }
}

std::vector<Log::Place> Log::scan(Position after, int count) {
  std::vector<Place> places;
  scan_.reset().bind(static_cast<std::int64_t>(after)).bind(count);
  while (scan_.step()) places.push_back({static_cast<Position>(scan_.integer(0)), scan_.text(1)});
  scan_.reset();
  return places;
}

EventPointer Log::read(Position position) {
  if (const auto found = recent_.find(position); found != recent_.end()) return found->second;
  read_.reset().bind(static_cast<std::int64_t>(position));
  EventPointer event = read_.step() ? decode(position) : nullptr;
  read_.reset();
  return event;
}

EventPointer Log::decode(Position position) {
  const std::string attributes_text = read_.text(1);
  const std::string fields = read_.text(2);
  std::string body = read_.text(3);
  auto attributes = attributes_from_json(attributes_text);
  if (checksum(attributes_text, fields, body) != read_.integer(4) || !attributes) {
    wick::log::error("event in the log is damaged", {{"position", position}, {"broker", read_.text(0)}});
    return nullptr;
  }
  auto stored = std::make_shared<StoredEvent>();
  stored->position = position;
  stored->broker = read_.text(0);
  stored->received = from_microseconds(read_.integer(5));
  stored->event.attributes = std::move(*attributes);
  if (!read_.is_null(3)) stored->event.data = std::move(body);
  stored->fields = fields_from_text(fields);
  return stored;
}

Position Log::newest() {
  Statement query(database_.reader(), "SELECT coalesce(max(seq), 0) FROM event");
  query.step();
  return static_cast<Position>(query.integer(0));
}

std::vector<DeliveryRow> Log::due(const std::string& trigger, int count) {
  std::vector<DeliveryRow> rows;
  due_.reset().bind(trigger).bind(count);
  while (due_.step()) rows.push_back(row_of(due_, trigger));
  due_.reset();
  return rows;
}

std::vector<Position> Log::rows_after(const std::string& trigger, Position position) {
  Statement query(database_.reader(), "SELECT seq FROM delivery WHERE trigger = ? AND seq > ? ORDER BY seq");
  query.bind(trigger).bind(static_cast<std::int64_t>(position));
  std::vector<Position> positions;
  while (query.step()) positions.push_back(static_cast<Position>(query.integer(0)));
  return positions;
}

std::size_t Log::waiting(const std::string& trigger) {
  Statement query(database_.reader(), "SELECT count(*) FROM delivery WHERE trigger = ? AND state IN (1,2)");
  query.bind(trigger).step();
  return static_cast<std::size_t>(query.integer(0));
}

std::size_t Log::unseen(const std::string& broker, Position position) {
  Statement query(database_.reader(),
                  "SELECT count(*) FROM (SELECT broker FROM event WHERE seq > ? LIMIT 10000) WHERE broker = ?");
  query.bind(static_cast<std::int64_t>(position)).bind(broker).step();
  return static_cast<std::size_t>(query.integer(0));
}

std::vector<std::string> Log::triggers() {
  Statement query(database_.reader(), "SELECT trigger FROM trigger_cursor");
  std::vector<std::string> names;
  while (query.step()) names.push_back(query.text(0));
  return names;
}

Position Log::floor() {
  Statement query(database_.reader(),
                  "SELECT coalesce((SELECT min(position) FROM trigger_cursor), (SELECT max(seq) FROM event), 0)");
  query.step();
  return static_cast<Position>(query.integer(0));
}

Log::Work Log::start_trigger(std::string trigger, std::string broker, std::shared_ptr<Position> cursor) {
  return [trigger = std::move(trigger), broker = std::move(broker), cursor](sqlite3* connection) {
    Statement known(connection, "SELECT position FROM trigger_cursor WHERE trigger = ? AND broker = ?");
    known.bind(trigger).bind(broker);
    if (known.step()) {
      *cursor = static_cast<Position>(known.integer(0));
      return;
    }
    remove_trigger(trigger)(connection);
    Statement start(
        connection,
        "INSERT INTO trigger_cursor VALUES(?, ?, (SELECT coalesce(max(seq), 0) FROM event)) RETURNING position");
    start.bind(trigger).bind(broker).step();
    *cursor = static_cast<Position>(start.integer(0));
    start.step();
  };
}

Log::Work Log::remove_trigger(std::string trigger) {
  return [trigger = std::move(trigger)](sqlite3* connection) {
    Statement(connection, "DELETE FROM trigger_cursor WHERE trigger = ?").bind(trigger).run();
    Statement(connection, "DELETE FROM delivery WHERE trigger = ?").bind(trigger).run();
  };
}

Log::Work Log::put(DeliveryRow row) {
  return [row = std::move(row)](sqlite3* connection) {
    Statement statement(connection, "INSERT OR REPLACE INTO delivery VALUES(?,?,?,?,?,?,?,?)");
    statement.bind(row.trigger)
        .bind(static_cast<std::int64_t>(row.position))
        .bind(static_cast<int>(row.state))
        .bind(row.attempts);
    statement.bind(to_microseconds(row.due)).bind(row.status).bind(row.destination).bind_blob(row.body).run();
  };
}

Log::Work Log::settle(std::string trigger, Position position) {
  return [trigger = std::move(trigger), position](sqlite3* connection) {
    Statement passed(connection,
                     "DELETE FROM delivery WHERE trigger = ?1 AND seq = ?2 AND seq <= "
                     "(SELECT position FROM trigger_cursor WHERE trigger = ?1) RETURNING seq");
    const bool gone = passed.bind(trigger).bind(static_cast<std::int64_t>(position)).step();
    if (!gone) put({.state = DeliveryRow::State::settled, .trigger = trigger, .position = position})(connection);
  };
}

Log::Work Log::save(std::vector<Cursor> cursors) {
  return [cursors = std::move(cursors)](sqlite3* connection) {
    Statement move(connection, "UPDATE trigger_cursor SET position = ? WHERE trigger = ?");
    Statement clean(connection,
                    "DELETE FROM delivery INDEXED BY delivery_settled WHERE trigger = ? AND seq <= ? AND state = 3");
    for (const Cursor& cursor : cursors) {
      move.reset().bind(static_cast<std::int64_t>(cursor.position)).bind(cursor.trigger).run();
      clean.reset().bind(cursor.trigger).bind(static_cast<std::int64_t>(cursor.position)).run();
    }
  };
}

Log::Work Log::trim(std::uint64_t kept, WallTime before, std::shared_ptr<int> deleted) {
  return [kept, before, deleted](sqlite3* connection) {
    Statement bounds(
        connection,
        "SELECT coalesce(max(seq), 0), coalesce((SELECT min(position) FROM trigger_cursor), max(seq), 0) FROM event");
    bounds.step();
    const std::int64_t newest = bounds.integer(0);
    const std::int64_t settled = bounds.integer(1);
    Statement trim(connection, fmt::format("DELETE FROM event WHERE seq IN (SELECT seq FROM event WHERE seq <= ? AND "
                                           "seq < ? AND (seq <= ? OR received < ?) AND NOT EXISTS"
                                           " (SELECT 1 FROM delivery d INDEXED BY delivery_event WHERE d.seq = "
                                           "event.seq AND d.state IN (1,2)) ORDER BY seq LIMIT {})",
                                           trim_count));
    trim.bind(settled).bind(newest).bind(newest - static_cast<std::int64_t>(kept)).bind(to_microseconds(before)).run();
    Statement changes(connection, "SELECT changes()");
    changes.step();
    *deleted = static_cast<int>(changes.integer(0));
  };
}

}  // namespace wick::eventing
