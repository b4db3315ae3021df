#include "log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "log_rows.hpp"
#include "wick/base/log.hpp"

namespace wick::eventing {

namespace json = boost::json;
using store::Statement;

namespace {

constexpr int failed_commits_max = 2;
constexpr milliseconds gather_max{2};       // however slow the disk is
constexpr Position probe_max = 1ull << 40;  // how far past damage the next readable position is looked for

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

std::size_t size_of(const StoredEvent& stored) { return (stored.event.data ? stored.event.data->size() : 0) + 512; }

void insert(Statement& statement, const StoredEvent& event) {
  const std::string attributes = attributes_to_json(event.event);
  const std::string fields = fields_to_text(event.fields);
  statement.reset().bind(static_cast<std::int64_t>(event.position)).bind(event.broker);
  statement.bind(to_microseconds(event.received)).bind(attributes).bind(fields);
  event.event.data ? statement.bind_blob(*event.event.data) : statement.bind_null();
  statement.bind(checksum(event.position, event.broker, to_microseconds(event.received), event.parent, attributes,
                          fields, event.event.data.value_or("")));
  event.parent != 0 ? statement.bind(static_cast<std::int64_t>(event.parent)) : statement.bind_null();
  statement.run();
}

bool is_damage(const store::DatabaseError& error) {
  const int code = error.code() & 0xff;
  return code == 11 || code == 26;  // SQLITE_CORRUPT, SQLITE_NOTADB
}

}  // namespace

/// What one commit will hold: callers join it until it is committed.
struct Log::Batch {
  explicit Batch(Executor executor)
      : complete(executor, asio::steady_timer::time_point::max()),
        ended(executor, asio::steady_timer::time_point::max()) {}

  std::vector<std::shared_ptr<StoredEvent>> events;
  std::vector<Work> works;
  std::size_t callers = 0;
  std::size_t bytes = 0;
  asio::steady_timer complete;  // cancelled when its commit begins
  asio::steady_timer ended;     // cancelled when the outcome is there
  std::optional<Result<void>> outcome;
};

Log::Log(Executor executor, Clock& clock, store::Database& database, Bounds bounds)
    : executor_(executor),
      clock_(clock),
      database_(database),
      bounds_(bounds),
      scan_(database.reader(), "SELECT seq, broker FROM event WHERE seq > ? ORDER BY seq LIMIT ?"),
      read_(database.reader(),
            "SELECT broker, attributes, fields, body, crc, received, parent FROM event WHERE seq = ?"),
      due_(database.reader(),
           select_rows("INDEXED BY delivery_due WHERE trigger = ? AND state IN (1,2) ORDER BY due LIMIT ?")),
      prepared_(std::make_shared<Prepared>()),
      next_(newest_in(database.reader()) + 1),
      tasks_(executor) {}

// Group commit: what comes while a commit syncs, and a moment more, is the next one.

awaitable<Result<void>> Log::append(std::vector<StoredEvent> events, Work with) {
  std::size_t bytes = 0;
  for (const StoredEvent& event : events) bytes += size_of(event);
  // A reply's work frees what is held, so it is never turned away.
  if (!with && waiting_bytes_ + bytes > bounds_.waiting_bytes_max)
    co_return fail(Errc::overloaded, fmt::format("{} bytes of events already wait for the disk", waiting_bytes_));
  const bool first = !gathering_;
  if (first) gathering_ = std::make_shared<Batch>(executor_);
  const auto batch = gathering_;
  for (StoredEvent& event : events) batch->events.push_back(std::make_shared<StoredEvent>(std::move(event)));
  if (with) batch->works.push_back(std::move(with));
  batch->bytes += bytes;
  waiting_bytes_ += bytes;
  ++batch->callers;
  ++callers_;
  const bool full = batch->events.size() >= bounds_.batch_events_max || batch->bytes >= bounds_.batch_bytes_max;
  if (full || batch->callers >= awaited_callers())
    tasks_.spawn("commit events", commit(std::move(gathering_)));
  else if (first)
    tasks_.spawn("gather events", gather(batch));
  if (!batch->outcome) co_await batch->ended.async_wait(asio::as_tuple(use_awaitable));
  if (!batch->outcome) co_return fail(Errc::internal, "the commit was given up");
  co_return *batch->outcome;
}

/// All of a few. Of many the half: while it syncs, the loop reads what the other half sends. So its commit begins at
/// once, and not when the loop has read all that has come.
std::size_t Log::awaited_callers() const {
  constexpr std::size_t few = 8;
  return expected_callers_ <= few ? expected_callers_ : expected_callers_ / 2;
}

/// With one publisher nobody is waited for. With many, a commit that takes them together is worth a short wait: else
/// the first one to come has a sync of its own, and all others wait for two.
awaitable<void> Log::gather(std::shared_ptr<Batch> batch) {
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  const auto limit = std::min<Duration>(last_commit_ / 4, gather_max);
  co_await asio::post(use_awaitable);  // what is ready in this turn joins
  if (limit > Duration(0) && gathering_ == batch) {
    batch->complete.expires_after(limit);
    co_await batch->complete.async_wait(asio::as_tuple(use_awaitable));
  }
  if (gathering_ == batch) co_await commit(std::move(gathering_));
}

awaitable<void> Log::commit(std::shared_ptr<Batch> batch) {
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  batch->complete.cancel();
  // From here on nobody joins. Positions are given in the order of commits, which the writer keeps.
  for (auto& event : batch->events) event->position = next_++;
  auto work = [batch, prepared = prepared_](sqlite3* connection) {
    auto& statement = Prepared::of(prepared->insert, connection,
                                   "INSERT INTO event(seq, broker, received, attributes, fields, body, crc, parent) "
                                   "VALUES(?,?,?,?,?,?,?,?)");
    for (const auto& event : batch->events) insert(statement, *event);
    for (const Work& with : batch->works) with(connection);
  };
  const TimePoint started = clock_.now();
  Result<void> written;
  try {
    written = co_await database_.write(std::move(work));
  } catch (const std::exception& error) {
    written = fail(Errc::internal, error.what());
  }
  last_commit_ = clock_.now() - started;
  expected_callers_ = std::max<std::size_t>(1, callers_);
  callers_ -= batch->callers;
  waiting_bytes_ -= batch->bytes;
  batch->outcome = written;
  failed_commits_ = !written && written.error().code() == Errc::io ? failed_commits_ + 1 : 0;
  if (failed_commits_ == failed_commits_max && broken_) broken_();
  batch->ended.cancel();  // the callers go on after this, but before the deliveries that are begun here
  if (written && !batch->events.empty()) {
    std::vector<EventPointer> stored(batch->events.begin(), batch->events.end());
    for (const auto& event : stored) remember(event);
    if (stored_) stored_(stored);
  }
}

awaitable<void> Log::stop() { co_await tasks_.join(); }

void Log::remember(EventPointer event) {
  recent_bytes_ += size_of(*event);
  recent_.emplace_hint(recent_.end(), event->position, event);
  while (recent_.size() > recent_events_max || recent_bytes_ > recent_bytes_max) {
    recent_bytes_ -= size_of(*recent_.begin()->second);
    recent_.erase(recent_.begin());
  }
}

// Reading

std::vector<Log::Place> Log::scan(Position after, int count) {
  std::vector<Place> places;
  if (!recent_.empty() && recent_.begin()->first <= after + 1) {
    for (auto next = recent_.upper_bound(after); next != recent_.end() && std::ssize(places) < count; ++next)
      places.push_back({next->first, next->second->broker});
    return places;
  }
  try {
    scan_.reset().bind(static_cast<std::int64_t>(after)).bind(count);
    while (scan_.step()) places.push_back({static_cast<Position>(scan_.integer(0)), scan_.text(1)});
  } catch (const store::DatabaseError& error) {
    if (!is_damage(error)) throw;
    if (!places.empty()) return places;  // the damage is met again, and passed, by the next call
    ++damaged_;
    const auto next = next_readable(after);
    wick::log::error("a page of the event log is damaged: its events are lost to triggers that had not seen them",
                     {{"after", after}, {"before", next.value_or(newest())}, {"error", error.what()}});
    if (next) return {{*next, read(*next) ? read(*next)->broker : std::string()}};
    return {};
  }
  scan_.reset();
  return places;
}

/// Doubling steps past the damage: the first position that can be read again.
std::optional<Position> Log::next_readable(Position after) {
  for (Position step = 1; step < probe_max && after + step <= newest(); step *= 2) {
    try {
      scan_.reset().bind(static_cast<std::int64_t>(after + step)).bind(1);
      if (!scan_.step()) return std::nullopt;
      const auto found = static_cast<Position>(scan_.integer(0));
      scan_.reset();
      return found;
    } catch (const store::DatabaseError& error) {
      if (!is_damage(error)) throw;
    }
  }
  return std::nullopt;
}

EventPointer Log::read(Position position) {
  if (const auto found = recent_.find(position); found != recent_.end()) return found->second;
  auto& reread = reread_[position % reread_events];
  if (reread && reread->position == position) return reread;
  try {
    read_.reset().bind(static_cast<std::int64_t>(position));
    EventPointer event = read_.step() ? decode(position) : nullptr;
    read_.reset();
    if (event && size_of(*event) <= reread_bytes_max) reread = event;
    return event;
  } catch (const store::DatabaseError& error) {
    if (!is_damage(error)) throw;
    ++damaged_;
    wick::log::error("event in the log is on a damaged page", {{"position", position}, {"error", error.what()}});
    return nullptr;
  }
}

EventPointer Log::decode(Position position) {
  const std::string attributes_text = read_.text(1);
  const std::string fields = read_.text(2);
  std::string body = read_.text(3);
  auto attributes = attributes_from_json(attributes_text);
  const auto sum = read_.integer(4);
  const bool sound = sum == checksum(position, read_.text(0), read_.integer(5), static_cast<Position>(read_.integer(6)),
                                     attributes_text, fields, body) ||
                     sum == first_checksum(attributes_text, fields, body);
  if (!sound || !attributes) {
    ++damaged_;
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
  stored->parent = static_cast<Position>(read_.integer(6));
  return stored;
}

void Log::note_gap(Position after, Position before) {
  ++damaged_;
  wick::log::warn("positions of the event log are missing: a failed commit, or damage",
                  {{"after", after}, {"before", before}});
}

std::vector<DeliveryRow> Log::due(const std::string& trigger, int count) {
  due_.reset().bind(trigger).bind(count);
  return rows_in(due_);
}

}  // namespace wick::eventing
