// The write side of a database: jobs in, one transaction a group, outcomes out.
//
// A job runs in a savepoint of its own, so a failing job takes only its own changes back. What loses the transaction
// itself (disk full, I/O error, a failing commit) fails every job of the group: none of them is on disk.
#pragma once

#include <exception>
#include <functional>
#include <span>

#include "connection.hpp"

namespace wick::store {

struct Job {
  std::function<void(sqlite3*)> work;
  Executor executor;
  std::move_only_function<void(std::exception_ptr, Result<void>)> done;
  std::exception_ptr thrown;  // what `work` ended with, if it is the caller's to see
  Result<void> result;
};

/// Used by one thread at a time.
class Writer {
 public:
  explicit Writer(Connection connection);

  /// Runs and commits a group; every job has its outcome afterwards.
  void commit(std::span<Job> jobs);
  /// Moves what the WAL holds into the database file as far as readers allow. Failure is logged: the WAL stays valid.
  void checkpoint();
  /// Makes the WAL file longer by a step, up to `bytes`; false when it is as long, or cannot be.
  bool lengthen_log(std::int64_t bytes);
  /// Pages in the WAL since the last complete checkpoint.
  int wal_pages() const { return wal_pages_; }
  sqlite3* connection() { return connection_.get(); }

 private:
  void run(Job& job);
  void fail_group(std::span<Job> jobs, const DatabaseError& error);

  Connection connection_;
  Statement begin_, commit_, savepoint_, release_, rollback_to_;
  int wal_pages_ = 0;
  bool broken_ = false;  // an fsync failed
};

}  // namespace wick::store
