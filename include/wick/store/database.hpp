// SQLite behind RAII: a connection that reads, and one writer thread that owns every write and commits what has
// gathered in one transaction (group commit). WAL, synchronous=FULL; only the writer checkpoints (SQLite 3.40 has the
// WAL-reset bug otherwise).
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/os/loop.hpp"

struct sqlite3;
struct sqlite3_stmt;

namespace wick::store {

/// A prepared statement. Bind in order, then step. Belongs to one connection and one thread.
class Statement {
 public:
  Statement(sqlite3* connection,
            std::string_view sql);  // throws DatabaseError: SQL is ours, so an error in it is a bug
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&&) = delete;
  ~Statement();

  Statement& reset();
  Statement& bind(std::int64_t value);
  Statement& bind(std::string_view value);  // TEXT
  Statement& bind_blob(std::string_view value);
  Statement& bind_null();
  /// True while there is a row. Throws DatabaseError (disk full, I/O error, constraint).
  bool step();
  /// reset, for statements without rows: step to the end.
  void run();
  std::int64_t integer(int column) const;
  std::string text(int column) const;  // also for blobs
  bool is_null(int column) const;

 private:
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
};

class DatabaseError : public std::exception {
 public:
  DatabaseError(int code, std::string message) : code_(code), message_(std::move(message)) {}
  int code() const { return code_; }  // SQLite's extended result code
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  int code_;
  std::string message_;
};

/// What SQLite said, as an Error: disk full is too_large with a hint, damage is corrupt, a file in use conflict, the
/// rest io.
Error to_error(const DatabaseError& error);

struct DatabaseOptions {
  std::size_t queue_max = 10'000;  // writes waiting; past it Errc::overloaded
  std::size_t group_max = 512;     // writes a commit
  // The WAL file is made so long while there is nothing to do: a commit that overwrites costs the disk one sync, a
  // commit that appends two.
  std::size_t log_bytes = 0;
};

class Database {
 public:
  /// Opens or makes the file, applies `migrations` in order past PRAGMA user_version (each in one transaction), starts
  /// the writer.
  /// ":memory:" has one connection and no thread: writes run on the loop at once, so tests with a fake clock are
  /// deterministic. Errors: unsupported (the file is of a newer version than we know), conflict (another process has it
  /// open), corrupt, io.
  static Result<std::unique_ptr<Database>> open(std::string path, std::vector<std::string_view> migrations,
                                                DatabaseOptions options = {});
  virtual ~Database() = default;

  /// For reads, on the thread that opened the database.
  virtual sqlite3* reader() = 0;
  /// Runs `work` on the writer thread inside the group's transaction (a savepoint of its own) and resumes on the
  /// caller's executor after the commit is durable. An exception of `work` rolls back its own changes only and comes
  /// out here; a failing commit fails the group. Errors: overloaded; io, corrupt and too_large (disk full) from SQLite.
  /// After a failed fsync nobody knows what is on disk, so every later write fails with io until the database is opened
  /// again. Cancelling does not withdraw a queued write: the caller still gets its outcome.
  virtual awaitable<Result<void>> write(std::function<void(sqlite3*)> work) = 0;
  /// Writes whose callers have not been resumed yet.
  virtual std::size_t waiting() const = 0;
};

}  // namespace wick::store
