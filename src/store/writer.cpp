#include "writer.hpp"

#include <algorithm>

#include "wick/base/log.hpp"

namespace wick::store {

namespace {

/// Disk full, I/O error and damage are outcomes; the rest of what SQLite says (a constraint, bad SQL) is for whoever
/// wrote the job.
bool is_outcome(const DatabaseError& error) {
  const int code = error.code() & 0xff;
  return code == SQLITE_FULL || code == SQLITE_IOERR || code == SQLITE_CORRUPT || code == SQLITE_NOTADB ||
         code == SQLITE_READONLY || code == SQLITE_CANTOPEN;
}

bool is_failed_sync(const DatabaseError& error) {
  return error.code() == SQLITE_IOERR_FSYNC || error.code() == SQLITE_IOERR_DIR_FSYNC;
}

}  // namespace

Writer::Writer(Connection connection)
    : connection_(std::move(connection)),
      begin_(connection_.get(), "BEGIN IMMEDIATE"),
      commit_(connection_.get(), "COMMIT"),
      savepoint_(connection_.get(), "SAVEPOINT job"),
      release_(connection_.get(), "RELEASE job"),
      rollback_to_(connection_.get(), "ROLLBACK TO job") {
  auto count_pages = [](void* self, sqlite3*, const char*, int pages) {
    static_cast<Writer*>(self)->wal_pages_ = pages;
    return SQLITE_OK;
  };
  sqlite3_wal_hook(connection_.get(), count_pages, this);
}

void Writer::commit(std::span<Job> jobs) {
  if (broken_) {
    for (Job& job : jobs)
      job.result =
          fail(Errc::io, "the database takes no writes after a failed fsync", "check the disk, then restart wick");
    return;
  }
  try {
    begin_.run();
    for (Job& job : jobs) run(job);
    commit_.run();
  } catch (const DatabaseError& error) {
    fail_group(jobs, error);
  }
}

void Writer::run(Job& job) {
  savepoint_.run();
  try {
    job.work(connection_.get());
    release_.run();
    return;
  } catch (const DatabaseError& error) {
    if (sqlite3_get_autocommit(connection_.get())) throw;  // SQLite gave the whole transaction up
    if (is_outcome(error))
      job.result = fail(to_error(error));
    else
      job.thrown = std::current_exception();
  } catch (...) {
    job.thrown = std::current_exception();
  }
  rollback_to_.run();
  release_.run();
}

void Writer::fail_group(std::span<Job> jobs, const DatabaseError& error) {
  if (!sqlite3_get_autocommit(connection_.get()))
    sqlite3_exec(connection_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
  broken_ = is_failed_sync(error);
  log::error("database commit failed", {{"error", error.what()}, {"code", error.code()}, {"writes", jobs.size()}});
  for (Job& job : jobs)
    if (!job.thrown && job.result) job.result = fail(to_error(error));
}

void Writer::checkpoint() {
  int log_pages = 0;
  int moved_pages = 0;
  const int code =
      sqlite3_wal_checkpoint_v2(connection_.get(), nullptr, SQLITE_CHECKPOINT_PASSIVE, &log_pages, &moved_pages);
  if (code != SQLITE_OK && code != SQLITE_BUSY)
    log::warn("checkpoint failed", {{"error", sqlite3_errmsg(connection_.get())}, {"code", code}});
  wal_pages_ = 0;  // counted again by the next commit
}

/// Zeros past the end are no frames to SQLite: each frame, and the header, has a checksum.
bool Writer::lengthen_log(std::int64_t bytes) {
  static constexpr char zeros[64 << 10] = {};  // SQLite's unix VFS writes less than 128 KiB at a time
  constexpr int zeros_a_step = 16;
  sqlite3_file* file = nullptr;
  if (broken_) return false;
  if (sqlite3_file_control(connection_.get(), "main", SQLITE_FCNTL_JOURNAL_POINTER, &file) != SQLITE_OK) return false;
  sqlite3_int64 size = 0;
  if (file == nullptr || file->pMethods == nullptr || file->pMethods->xFileSize(file, &size) != SQLITE_OK) return false;
  if (size >= bytes) return false;
  // No room for this is no error: commits append as far as they can.
  for (int i = 0; i < zeros_a_step && size < bytes; ++i) {
    const auto count = static_cast<int>(std::min<sqlite3_int64>(bytes - size, sizeof zeros));
    if (file->pMethods->xWrite(file, zeros, count, size) != SQLITE_OK) return false;
    size += count;
  }
  return file->pMethods->xSync(file, SQLITE_SYNC_NORMAL) == SQLITE_OK;
}

}  // namespace wick::store
