// The tables beside the events: triggers, deliveries, attempts, replays, and what is trimmed.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/serialize.hpp>

#include "log_rows.hpp"

namespace wick::eventing {

using store::Statement;

namespace {

constexpr std::string_view row_columns =
    "trigger, seq, state, attempts, due, status, destination, body, detail, lane, replayed";

/// Ascending positions as distances, seven bits a byte.
std::string packed(const std::vector<Position>& positions) {
  std::string bytes;
  Position before = 0;
  for (const Position position : positions) {
    Position distance = position - before;
    for (; distance >= 0x80; distance >>= 7) bytes += static_cast<char>(0x80 | (distance & 0x7f));
    bytes += static_cast<char>(distance);
    before = position;
  }
  return bytes;
}

std::vector<Position> unpacked(std::string_view bytes) {
  std::vector<Position> positions;
  Position before = 0, distance = 0;
  int shift = 0;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    distance |= static_cast<Position>(byte & 0x7f) << shift;
    shift = std::min(shift + 7, 63);
    if (byte & 0x80) continue;
    positions.push_back(before += distance);
    distance = 0;
    shift = 0;
  }
  return positions;
}

std::int64_t integer_of(Statement& query) {
  query.step();
  return query.integer(0);
}

int changes(sqlite3* connection) {
  Statement query(connection, "SELECT changes()");
  return static_cast<int>(integer_of(query));
}

}  // namespace

std::string select_rows(const std::string& condition) {
  return fmt::format("SELECT {} FROM delivery {}", row_columns, condition);
}

std::vector<DeliveryRow> rows_in(Statement& query) {
  std::vector<DeliveryRow> rows;
  while (query.step())
    rows.push_back({.state = static_cast<DeliveryRow::State>(query.integer(2)),
                    .trigger = query.text(0),
                    .position = static_cast<Position>(query.integer(1)),
                    .attempts = static_cast<int>(query.integer(3)),
                    .due = from_microseconds(query.integer(4)),
                    .status = static_cast<int>(query.integer(5)),
                    .destination = query.text(6),
                    .body = query.text(7),
                    .detail = query.text(8),
                    .lane = query.text(9),
                    .replayed = query.integer(10) != 0});
  query.reset();
  return rows;
}

std::vector<std::string_view> Log::migrations() {
  constexpr std::string_view first = R"sql(
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
  // The columns of a primary key come first: else SQLite 3.40's integrity_check sees NULLs that are not there.
  // State 3 was "settled although the cursor has not passed it": it is delivered once more.
  constexpr std::string_view second = R"sql(
ALTER TABLE event ADD COLUMN parent INTEGER;
CREATE TABLE trigger_state(
  trigger TEXT PRIMARY KEY,
  broker TEXT NOT NULL,
  position INTEGER NOT NULL,
  floor INTEGER NOT NULL,
  open BLOB NOT NULL
) WITHOUT ROWID;
INSERT INTO trigger_state SELECT trigger, broker, position, position, x'' FROM trigger_cursor;
DROP TABLE trigger_cursor;
DELETE FROM delivery WHERE state = 3;
DROP INDEX delivery_event;
DROP INDEX delivery_settled;
ALTER TABLE delivery ADD COLUMN detail TEXT NOT NULL DEFAULT '';
ALTER TABLE delivery ADD COLUMN lane TEXT NOT NULL DEFAULT '';
ALTER TABLE delivery ADD COLUMN replayed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX delivery_event ON delivery(seq);
CREATE INDEX delivery_dead ON delivery(due) WHERE state = 3;
CREATE TABLE attempt(
  seq INTEGER NOT NULL,
  trigger TEXT NOT NULL,
  to_sink INTEGER NOT NULL,
  number INTEGER NOT NULL,
  at INTEGER NOT NULL,
  elapsed INTEGER NOT NULL,
  status INTEGER NOT NULL,
  detail TEXT NOT NULL,
  PRIMARY KEY(seq, trigger, to_sink, number)
) WITHOUT ROWID;
CREATE TABLE replay(
  trigger TEXT PRIMARY KEY,
  next INTEGER NOT NULL,
  last INTEGER NOT NULL
) WITHOUT ROWID;
)sql";
  constexpr std::string_view third = R"sql(
CREATE TABLE source_mark(source TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
)sql";
  return {first, second, third};
}

// Reading

Position Log::newest_in(sqlite3* connection) {
  Statement query(connection, "SELECT coalesce(max(seq), 0) FROM event");
  return static_cast<Position>(integer_of(query));
}

Position Log::first_received_at(sqlite3* connection, WallTime time) {
  // Positions follow the time of receipt as far as the clock does: a binary search, not a scan.
  Position low = 0, high = newest_in(connection);
  Statement query(connection, "SELECT seq, received FROM event WHERE seq > ? ORDER BY seq LIMIT 1");
  while (low < high) {
    const Position middle = low + (high - low) / 2;
    query.reset().bind(static_cast<std::int64_t>(middle));
    if (!query.step() || query.integer(1) >= to_microseconds(time))
      high = middle;
    else
      low = static_cast<Position>(query.integer(0));
  }
  return low;
}

std::vector<DeliveryRow> Log::rows_of(const std::string& trigger) {
  Statement query(database_.reader(), select_rows("WHERE trigger = ? AND state IN (1,2)"));
  query.bind(trigger);
  return rows_in(query);
}

std::vector<DeliveryRow> Log::rows_at(Position position) {
  Statement query(database_.reader(), select_rows("WHERE seq = ?"));
  query.bind(static_cast<std::int64_t>(position));
  return rows_in(query);
}

std::vector<DeliveryRow> Log::dead_letters(const std::string& name_space, int count) {
  Statement query(database_.reader(),
                  select_rows("WHERE state = 3 AND substr(trigger, 1, ?) = ? ORDER BY due DESC LIMIT ?"));
  const std::string prefix = name_space + "/";
  query.bind(static_cast<std::int64_t>(prefix.size())).bind(prefix).bind(count);
  return rows_in(query);
}

std::vector<AttemptRow> Log::attempts_at(Position position) {
  Statement query(
      database_.reader(),
      "SELECT trigger, number, at, elapsed, status, detail, to_sink FROM attempt WHERE seq = ? ORDER BY at");
  query.bind(static_cast<std::int64_t>(position));
  std::vector<AttemptRow> rows;
  while (query.step())
    rows.push_back({.position = position,
                    .trigger = query.text(0),
                    .number = static_cast<int>(query.integer(1)),
                    .when = from_microseconds(query.integer(2)),
                    .elapsed = milliseconds(query.integer(3)),
                    .status = static_cast<int>(query.integer(4)),
                    .detail = query.text(5),
                    .to_sink = query.integer(6) != 0});
  return rows;
}

std::size_t Log::waiting(const std::string& trigger) {
  Statement query(database_.reader(), "SELECT count(*) FROM delivery WHERE trigger = ? AND state IN (1,2)");
  query.bind(trigger);
  return static_cast<std::size_t>(integer_of(query));
}

std::size_t Log::dead(const std::string& trigger) {
  Statement query(database_.reader(), "SELECT count(*) FROM delivery WHERE trigger = ? AND state = 3");
  query.bind(trigger);
  return static_cast<std::size_t>(integer_of(query));
}

std::optional<TriggerState> Log::state_of(const std::string& trigger) {
  Statement query(database_.reader(), "SELECT position, open FROM trigger_state WHERE trigger = ?");
  query.bind(trigger);
  if (!query.step()) return std::nullopt;
  return TriggerState{trigger, static_cast<Position>(query.integer(0)), unpacked(query.text(1))};
}

std::size_t Log::unseen(const std::string& broker, Position position) {
  Statement query(database_.reader(),
                  "SELECT count(*) FROM (SELECT broker FROM event WHERE seq > ? LIMIT 10000) WHERE broker = ?");
  query.bind(static_cast<std::int64_t>(position)).bind(broker);
  return static_cast<std::size_t>(integer_of(query));
}

std::vector<std::string> Log::triggers() {
  Statement query(database_.reader(), "SELECT trigger FROM trigger_state");
  std::vector<std::string> names;
  while (query.step()) names.push_back(query.text(0));
  return names;
}

Position Log::floor() {
  Statement query(database_.reader(),
                  "SELECT coalesce((SELECT min(floor) FROM trigger_state), (SELECT max(seq) FROM event), 0)");
  return static_cast<Position>(integer_of(query));
}

std::uint64_t Log::used_bytes() {
  const auto pragma = [&](const char* text) {
    Statement query(database_.reader(), text);
    return static_cast<std::uint64_t>(integer_of(query));
  };
  return (pragma("PRAGMA page_count") - pragma("PRAGMA freelist_count")) * pragma("PRAGMA page_size");
}

std::vector<Position> Log::search(Position& after, int rows, const std::string& text, Position parent) {
  Statement query(database_.reader(),
                  "SELECT seq, instr(attributes, ?) > 0 OR parent = ? FROM event WHERE seq > ? ORDER BY seq LIMIT ?");
  query.bind(text).bind(static_cast<std::int64_t>(parent)).bind(static_cast<std::int64_t>(after)).bind(rows);
  std::vector<Position> found;
  int seen = 0;
  while (query.step()) {
    ++seen;
    after = static_cast<Position>(query.integer(0));
    if (query.integer(1) != 0) found.push_back(after);
  }
  if (seen < rows) after = std::max(after, newest());
  return found;
}

std::vector<std::pair<std::string, std::pair<Position, Position>>> Log::replays() {
  Statement query(database_.reader(), "SELECT trigger, next, last FROM replay");
  std::vector<std::pair<std::string, std::pair<Position, Position>>> found;
  while (query.step())
    found.push_back(
        {query.text(0), {static_cast<Position>(query.integer(1)), static_cast<Position>(query.integer(2))}});
  return found;
}

// Writing

Log::Work Log::start_trigger(std::string trigger, std::string broker, std::function<Position(sqlite3*)> first,
                             std::shared_ptr<Start> start) {
  return
      [trigger = std::move(trigger), broker = std::move(broker), first = std::move(first), start](sqlite3* connection) {
        Statement known(connection, "SELECT position, open FROM trigger_state WHERE trigger = ? AND broker = ?");
        known.bind(trigger).bind(broker);
        start->fresh = !known.step();
        if (!start->fresh) {
          start->state = {trigger, static_cast<Position>(known.integer(0)), unpacked(known.text(1))};
          return;
        }
        remove_trigger(trigger)(connection);
        start->state = {trigger, first(connection), {}};
        const auto position = static_cast<std::int64_t>(start->state.position);
        Statement insert(connection, "INSERT INTO trigger_state VALUES(?, ?, ?, ?, x'')");
        insert.bind(trigger).bind(broker).bind(position).bind(position).run();
      };
}

Log::Work Log::remove_trigger(std::string trigger) {
  return [trigger = std::move(trigger)](sqlite3* connection) {
    for (const char* table : {"trigger_state", "delivery", "replay"})
      Statement(connection, fmt::format("DELETE FROM {} WHERE trigger = ?", table)).bind(trigger).run();
  };
}

Log::Work Log::put(DeliveryRow row) const {
  return [prepared = prepared_, row = std::move(row)](sqlite3* connection) {
    static const std::string sql =
        fmt::format("INSERT OR REPLACE INTO delivery({}) VALUES(?,?,?,?,?,?,?,?,?,?,?)", row_columns);
    auto& statement = Prepared::of(prepared->put, connection, sql);
    statement.bind(row.trigger).bind(static_cast<std::int64_t>(row.position)).bind(static_cast<int>(row.state));
    statement.bind(row.attempts).bind(to_microseconds(row.due)).bind(row.status).bind(row.destination);
    statement.bind_blob(row.body).bind(row.detail).bind(row.lane).bind(row.replayed ? 1 : 0).run();
  };
}

Log::Work Log::note(AttemptRow row) const {
  return [prepared = prepared_, row = std::move(row)](sqlite3* connection) {
    // A redriven delivery counts from 1 again: its attempts come after those that are there.
    auto& last =
        Prepared::of(prepared->last_attempt, connection,
                     "SELECT coalesce(max(number), 0) FROM attempt WHERE seq = ? AND trigger = ? AND to_sink = ?");
    last.bind(static_cast<std::int64_t>(row.position)).bind(row.trigger).bind(row.to_sink ? 1 : 0);
    const std::int64_t number = integer_of(last) + 1;
    last.reset();
    auto& statement = Prepared::of(
        prepared->note, connection,
        "INSERT INTO attempt(seq, trigger, number, at, elapsed, status, detail, to_sink) VALUES(?,?,?,?,?,?,?,?)");
    statement.bind(static_cast<std::int64_t>(row.position)).bind(row.trigger).bind(number);
    statement.bind(to_microseconds(row.when)).bind(row.elapsed.count()).bind(row.status).bind(row.detail);
    statement.bind(row.to_sink ? 1 : 0).run();
  };
}

Log::Work Log::erase(std::string trigger, Position position) const {
  return [prepared = prepared_, trigger = std::move(trigger), position](sqlite3* connection) {
    auto& statement = Prepared::of(prepared->erase, connection, "DELETE FROM delivery WHERE trigger = ? AND seq = ?");
    statement.bind(trigger).bind(static_cast<std::int64_t>(position)).run();
  };
}

Log::Work Log::save(std::vector<TriggerState> states) const {
  return [prepared = prepared_, states = std::move(states)](sqlite3* connection) {
    auto& move = Prepared::of(prepared->save, connection,
                              "UPDATE trigger_state SET position = ?, floor = ?, open = ? WHERE trigger = ?");
    for (const TriggerState& state : states)
      move.reset()
          .bind(static_cast<std::int64_t>(state.position))
          .bind(static_cast<std::int64_t>(state.floor()))
          .bind_blob(packed(state.open))
          .bind(state.trigger)
          .run();
  };
}

std::optional<WallTime> Log::mark_of(const std::string& source) {
  Statement query(database_.reader(), "SELECT at FROM source_mark WHERE source = ?");
  query.bind(source);
  return query.step() ? std::optional(from_microseconds(query.integer(0))) : std::nullopt;
}

Log::Work Log::put_mark(std::string source, WallTime at) {
  return [source = std::move(source), at](sqlite3* connection) {
    Statement statement(connection, "INSERT OR REPLACE INTO source_mark VALUES(?,?)");
    statement.bind(source).bind(to_microseconds(at)).run();
  };
}

Log::Work Log::remove_mark(std::string source) {
  return [source = std::move(source)](sqlite3* connection) {
    Statement(connection, "DELETE FROM source_mark WHERE source = ?").bind(source).run();
  };
}

Log::Work Log::put_replay(std::string trigger, Position next, Position last) {
  return [trigger = std::move(trigger), next, last](sqlite3* connection) {
    if (next > last) {
      Statement(connection, "DELETE FROM replay WHERE trigger = ?").bind(trigger).run();
      return;
    }
    Statement statement(connection, "INSERT OR REPLACE INTO replay VALUES(?,?,?)");
    statement.bind(trigger).bind(static_cast<std::int64_t>(next)).bind(static_cast<std::int64_t>(last)).run();
  };
}

Log::Work Log::purge(std::string trigger, std::optional<Position> position, std::shared_ptr<int> count) {
  return [trigger = std::move(trigger), position, count](sqlite3* connection) {
    Statement statement(connection, "DELETE FROM delivery WHERE trigger = ?1 AND state = 3 AND (?2 = 0 OR seq = ?2)");
    statement.bind(trigger).bind(static_cast<std::int64_t>(position.value_or(0))).run();
    *count = changes(connection);
  };
}

Log::Work Log::redrive(std::string trigger, std::optional<Position> position, WallTime now,
                       std::shared_ptr<int> count) {
  return [trigger = std::move(trigger), position, now, count](sqlite3* connection) {
    Statement statement(connection,
                        "UPDATE delivery SET state = 1, attempts = 0, lane = '', due = ?3 "
                        "WHERE trigger = ?1 AND state = 3 AND (?2 = 0 OR seq = ?2)");
    statement.bind(trigger).bind(static_cast<std::int64_t>(position.value_or(0))).bind(to_microseconds(now)).run();
    *count = changes(connection);
  };
}

Log::Work Log::trim(Retention retention, std::shared_ptr<int> deleted) {
  return [retention, deleted](sqlite3* connection) {
    const auto pragma = [&](const char* text) {
      Statement query(connection, text);
      return static_cast<std::uint64_t>(integer_of(query));
    };
    Statement old(connection,
                  "DELETE FROM delivery WHERE state = 3 AND (due < ? OR due < coalesce((SELECT due FROM "
                  "delivery INDEXED BY delivery_dead WHERE state = 3 ORDER BY due DESC LIMIT 1 OFFSET ?), 0))");
    old.bind(to_microseconds(retention.dead_before))
        .bind(static_cast<std::int64_t>(std::max<std::uint64_t>(retention.dead_kept, 1)) - 1)
        .run();
    const auto used = (pragma("PRAGMA page_count") - pragma("PRAGMA freelist_count")) * pragma("PRAGMA page_size");
    Statement bounds(
        connection,
        "SELECT coalesce(max(seq), 0), coalesce((SELECT min(floor) FROM trigger_state), max(seq), 0) FROM event");
    bounds.step();
    const std::int64_t newest = bounds.integer(0);
    const std::int64_t settled = bounds.integer(1);
    Statement trim(connection,
                   fmt::format("DELETE FROM event WHERE seq IN (SELECT seq FROM event WHERE seq <= ? AND "
                               "seq < ? AND (? OR seq <= ? OR received < ?) AND NOT EXISTS"
                               " (SELECT 1 FROM delivery d INDEXED BY delivery_event WHERE d.seq = event.seq)"
                               " ORDER BY seq LIMIT {})",
                               trim_count));
    trim.bind(settled).bind(newest).bind(used > retention.bytes ? 1 : 0);
    trim.bind(newest - static_cast<std::int64_t>(retention.kept)).bind(to_microseconds(retention.before)).run();
    *deleted = changes(connection);
    if (*deleted > 0) Statement(connection, "DELETE FROM attempt WHERE seq < (SELECT min(seq) FROM event)").run();
  };
}

}  // namespace wick::eventing
