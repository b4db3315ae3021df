// The broker log on SQLite: every accepted event once, in the order of acknowledgement; a cursor a trigger; rows for
// exceptions only.
//
//   event          what was accepted; seq is the position in the log, shared by all brokers
//   trigger_cursor every position up to it is looked at, and delivered or in `delivery`
//   delivery       retry: waits for its next attempt; dead: on its way to the dead letter sink; settled: done although
//   the cursor has not
//                  passed it yet (written in one transaction with a reply, so that a restart does not ask for the reply
//                  again)
//
// Positions never come back: the newest event is never trimmed, and a new one gets the newest position plus one.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "wick/base/time.hpp"
#include "wick/eventing/cloud_event.hpp"
#include "wick/store/database.hpp"

namespace wick::eventing {

using Position = std::uint64_t;

struct StoredEvent {
  Position position = 0;
  std::string broker;  // "namespace/name"
  WallTime received{};
  CloudEvent event;
  http::Fields fields;  // request fields that go on to subscribers
};
using EventPointer = std::shared_ptr<const StoredEvent>;

struct DeliveryRow {
  enum class State { retry = 1, dead = 2, settled = 3 } state = State::retry;
  std::string trigger;
  Position position = 0;
  int attempts = 0;  // failed ones, of the state's destination
  WallTime due{};
  int status = 0;           // dead: of the last attempt at the subscriber
  std::string destination;  // dead: who failed
  std::string body;         // dead: what it answered
};

struct Cursor {
  std::string trigger;
  Position position = 0;
};

class Log {
 public:
  using Work = std::function<void(sqlite3*)>;

  static std::string_view schema();
  explicit Log(store::Database& database);

  /// Stores events, and settles a delivery with them where they are its reply, in one transaction. They have their
  /// positions afterwards.
  awaitable<Result<std::vector<EventPointer>>> append(std::vector<StoredEvent> events, Work settle = {});

  struct Place {
    Position position;
    std::string broker;
  };
  /// What follows `after`, of all brokers.
  std::vector<Place> scan(Position after, int count);
  /// nullptr when it is gone, or damaged (which is logged).
  EventPointer read(Position position);
  Position newest();

  /// Rows to attempt, soonest first.
  std::vector<DeliveryRow> due(const std::string& trigger, int count);
  std::vector<Position> rows_after(const std::string& trigger, Position position);
  std::size_t waiting(const std::string& trigger);
  /// Events of `broker` after `position`; stops counting after 10,000 of all.
  std::size_t unseen(const std::string& broker, Position position);
  std::vector<std::string> triggers();
  /// Where the slowest trigger is; the newest position when there is none.
  Position floor();

  /// Writes, to be given to the database: they are repeatable.
  static Work start_trigger(std::string trigger, std::string broker, std::shared_ptr<Position> cursor);
  static Work remove_trigger(std::string trigger);
  static Work put(DeliveryRow row);
  /// Ends a delivery: its row goes, or stays as `settled` until the cursor has passed it.
  static Work settle(std::string trigger, Position position);
  static Work save(std::vector<Cursor> cursors);
  /// Deletes at most trim_count settled events that are older than `before` or more than `kept` positions behind the
  /// newest.
  static Work trim(std::uint64_t kept, WallTime before, std::shared_ptr<int> deleted);
  static constexpr int trim_count = 500;

 private:
  struct Insert;
  void remember(EventPointer event);
  EventPointer decode(Position position);

  store::Database& database_;
  store::Statement scan_, read_, due_;
  std::shared_ptr<Insert> insert_;  // the writer thread's

  // The newest events, so that what was just accepted is not read back.
  static constexpr std::size_t recent_events_max = 4096;
  static constexpr std::size_t recent_bytes_max = 16 << 20;
  std::map<Position, EventPointer> recent_;
  std::size_t recent_bytes_ = 0;
};

}  // namespace wick::eventing
