// The broker log on SQLite: every accepted event once, in the order of acknowledgement; one row a trigger; rows for
// exceptions only.
//
//   event          what was accepted; seq is the position in the log, shared by all brokers
//   trigger_state  how far a trigger has looked, and which positions up to there are neither settled nor in `delivery`
//   delivery       retry: waits for its next (or its delayed first) attempt; sink: on its way to the dead letter sink;
//                  dead: nobody took it, kept until it is redriven or purged
//   attempt        what came of each attempt of deliveries that failed at least once
//   replay         a bounded stretch of the log that a trigger gets again
//   source_mark    how far a source is that knows times rather than positions
//
// A delivery that succeeds writes nothing of its own: its position leaves the trigger's open ones, and the next save
// says so. Losing that save delivers again.
//
// Positions never come back: the newest event is never trimmed, and a new one gets a higher position. Positions of a
// failed commit stay empty.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "wick/base/time.hpp"
#include "wick/eventing/cloud_event.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/task_group.hpp"
#include "wick/store/database.hpp"

namespace wick::eventing {

using Position = std::uint64_t;

struct StoredEvent {
  Position position = 0;
  std::string broker;  // "namespace/name"
  WallTime received{};
  CloudEvent event;
  http::Fields fields;  // request fields that go on to subscribers
  Position parent = 0;  // of the event this one is a reply to
};
using EventPointer = std::shared_ptr<const StoredEvent>;

struct DeliveryRow {
  enum class State { retry = 1, sink = 2, dead = 3 } state = State::retry;
  std::string trigger;
  Position position = 0;
  int attempts = 0;         // failed ones, of the state's destination
  WallTime due{};           // dead: when it died
  int status = 0;           // of the last attempt at the subscriber
  std::string destination;  // who failed
  std::string body;         // what it answered
  std::string detail;       // why it failed
  std::string lane;         // held until the delivery ends; empty: none
  bool replayed = false;
};

struct AttemptRow {
  Position position = 0;
  std::string trigger;
  int number = 0;
  WallTime when{};
  milliseconds elapsed{0};
  int status = 0;
  std::string detail;
  bool to_sink = false;
};

struct TriggerState {
  std::string trigger;
  Position position = 0;       // everything up to it was looked at
  std::vector<Position> open;  // ascending

  /// Everything up to it is done with.
  Position floor() const { return open.empty() ? position : open.front() - 1; }
};

class Log {
 public:
  using Work = std::function<void(sqlite3*)>;
  struct Bounds {
    std::size_t batch_events_max = 4096;
    std::size_t batch_bytes_max = 4 << 20;
    std::size_t waiting_bytes_max = 64 << 20;  // of events that wait for their commit; past it Errc::overloaded
  };

  static std::vector<std::string_view> migrations();
  Log(Executor executor, Clock& clock, store::Database& database, Bounds bounds);

  /// Called with what was stored, in the order of positions, before append() returns to its callers.
  void on_stored(std::function<void(const std::vector<EventPointer>&)> callback) { stored_ = std::move(callback); }
  /// Called once, when two commits in a row failed with an I/O error: the database takes no more then.
  void on_broken(std::function<void()> callback) { broken_ = std::move(callback); }
  /// Stores events, and does `with` in the same transaction. Many callers share a commit. Cancelling does not withdraw
  /// it. Errors: overloaded; io, corrupt and too_large (disk full) from SQLite.
  awaitable<Result<void>> append(std::vector<StoredEvent> events, Work with = {});
  std::size_t waiting_bytes() const { return waiting_bytes_; }
  awaitable<void> stop();

  struct Place {
    Position position;
    std::string broker;
  };
  /// What follows `after`, of all brokers. Places on damaged pages are left out and told once.
  std::vector<Place> scan(Position after, int count);
  /// nullptr when it is gone, or damaged (which is logged and counted).
  EventPointer read(Position position);
  Position newest() const { return next_ - 1; }
  /// Everything up to it was received before `time`.
  Position first_after(WallTime time) { return first_received_at(database_.reader(), time); }
  std::uint64_t damaged() const { return damaged_; }
  /// Counts and logs positions that should be there.
  void note_gap(Position after, Position before);

  /// Rows to attempt, soonest first.
  std::vector<DeliveryRow> due(const std::string& trigger, int count);
  std::vector<DeliveryRow> rows_of(const std::string& trigger);  // that are to be attempted
  std::vector<DeliveryRow> rows_at(Position position);
  std::vector<DeliveryRow> dead_letters(const std::string& name_space, int count);
  std::vector<AttemptRow> attempts_at(Position position);
  std::size_t waiting(const std::string& trigger);
  std::size_t dead(const std::string& trigger);
  std::optional<TriggerState> state_of(const std::string& trigger);
  /// Events of `broker` after `position`; stops counting after 10,000 of all.
  std::size_t unseen(const std::string& broker, Position position);
  std::vector<std::string> triggers();
  /// Lowest floor of all triggers; the newest position when there is none.
  Position floor();
  std::uint64_t used_bytes();
  /// Positions after `after` whose attributes hold `text` literally or whose parent is `parent`, in at most `rows`
  /// rows; `after` moves on, to the newest at the end.
  std::vector<Position> search(Position& after, int rows, const std::string& text, Position parent);
  std::vector<std::pair<std::string, std::pair<Position, Position>>> replays();

  /// Writes, to be given to the database: they are repeatable.
  struct Start {
    TriggerState state;
    bool fresh = false;
  };
  static Work start_trigger(std::string trigger, std::string broker, std::function<Position(sqlite3*)> first,
                            std::shared_ptr<Start> start);
  static Work remove_trigger(std::string trigger);
  Work put(DeliveryRow row) const;
  Work note(AttemptRow row) const;
  Work erase(std::string trigger, Position position) const;
  Work save(std::vector<TriggerState> states) const;
  std::optional<WallTime> mark_of(const std::string& source);
  static Work put_mark(std::string source, WallTime at);
  static Work remove_mark(std::string source);
  static Work put_replay(std::string trigger, Position next, Position last);  // next > last: it is done
  static Work purge(std::string trigger, std::optional<Position> position, std::shared_ptr<int> count);
  static Work redrive(std::string trigger, std::optional<Position> position, WallTime now, std::shared_ptr<int> count);
  /// Deletes at most trim_count settled events that are older than `before`, more than `kept` positions behind the
  /// newest, or the oldest while the log uses more than `bytes`; and dead letters older than `dead_before` or past
  /// the newest `dead_kept`.
  struct Retention {
    std::uint64_t kept;
    WallTime before;
    std::uint64_t bytes;
    WallTime dead_before;
    std::uint64_t dead_kept;
  };
  static Work trim(Retention retention, std::shared_ptr<int> deleted);
  static constexpr int trim_count = 500;

  static Position newest_in(sqlite3* connection);
  static Position first_received_at(sqlite3* connection, WallTime time);

 private:
  struct Prepared;
  struct Batch;
  std::size_t awaited_callers() const;
  awaitable<void> gather(std::shared_ptr<Batch> batch);
  awaitable<void> commit(std::shared_ptr<Batch> batch);
  void remember(EventPointer event);
  EventPointer decode(Position position);
  std::optional<Position> next_readable(Position after);

  Executor executor_;
  Clock& clock_;
  store::Database& database_;
  Bounds bounds_;
  store::Statement scan_, read_, due_;
  std::shared_ptr<Prepared> prepared_;  // the writer thread's
  std::function<void(const std::vector<EventPointer>&)> stored_;
  std::function<void()> broken_;
  int failed_commits_ = 0;
  Position next_;
  std::uint64_t damaged_ = 0;

  std::shared_ptr<Batch> gathering_;
  std::size_t waiting_bytes_ = 0;
  std::size_t callers_ = 0;           // that wait for a commit
  std::size_t expected_callers_ = 1;  // how many published at the same time of late
  Duration last_commit_{0};

  // The newest events, so that what was just accepted is not read back.
  static constexpr std::size_t recent_events_max = 4096;
  static constexpr std::size_t recent_bytes_max = 16 << 20;
  std::map<Position, EventPointer> recent_;
  std::size_t recent_bytes_ = 0;
  /// What was read from the file last, by position modulo its size: triggers that have fallen behind do so together,
  /// and one of them decodes for all. Small events only, which bounds it to 4 MiB.
  static constexpr std::size_t reread_events = 1024;
  static constexpr std::size_t reread_bytes_max = 4096;
  std::vector<EventPointer> reread_ = std::vector<EventPointer>(reread_events);

  TaskGroup tasks_;
};

}  // namespace wick::eventing
