// Prepared statements and the translation of SQLite's codes.
#include <fmt/format.h>
#include <sqlite3.h>

#include <cerrno>
#include <string>

#include "wick/store/database.hpp"

namespace wick::store {

namespace {

[[noreturn]] void raise(sqlite3* connection, int code) {
  // A file of shared memory that cannot grow is reported as an I/O error; the cause is the same as SQLITE_FULL.
  if ((code & 0xff) == SQLITE_IOERR && sqlite3_system_errno(connection) == ENOSPC) code = SQLITE_FULL;
  throw DatabaseError(code, sqlite3_errmsg(connection));
}

}  // namespace

Error to_error(const DatabaseError& error) {
  switch (error.code() & 0xff) {
    case SQLITE_FULL:
      return Error(Errc::too_large, fmt::format("disk full: {}", error.what()))
          .hint("free space on the file system of the state folder; nothing that was acknowledged is lost");
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Error(Errc::corrupt, fmt::format("damaged database: {}", error.what())).hint("restore the last backup");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Error(Errc::conflict, fmt::format("database in use: {}", error.what()));
    default:
      return Error(Errc::io, fmt::format("SQLite error {}: {}", error.code(), error.what()));
  }
}

Statement::Statement(sqlite3* connection, std::string_view sql) {
  const int code = sqlite3_prepare_v3(connection, sql.data(), static_cast<int>(sql.size()), 0, &statement_, nullptr);
  if (code != SQLITE_OK) raise(connection, sqlite3_extended_errcode(connection));
}

Statement::Statement(Statement&& other) noexcept
    : statement_(std::exchange(other.statement_, nullptr)), bound_(other.bound_) {}

Statement::~Statement() { sqlite3_finalize(statement_); }

Statement& Statement::reset() {
  sqlite3_reset(statement_);  // repeats the code of the last step, which threw already
  bound_ = 0;
  return *this;
}

Statement& Statement::bind(std::int64_t value) {
  const int code = sqlite3_bind_int64(statement_, ++bound_, value);
  if (code != SQLITE_OK) raise(sqlite3_db_handle(statement_), code);
  return *this;
}

Statement& Statement::bind(std::string_view value) {
  const int code = sqlite3_bind_text64(statement_, ++bound_, value.data() ? value.data() : "", value.size(),
                                       SQLITE_TRANSIENT, SQLITE_UTF8);
  if (code != SQLITE_OK) raise(sqlite3_db_handle(statement_), code);
  return *this;
}

Statement& Statement::bind_blob(std::string_view value) {
  const int code =
      sqlite3_bind_blob64(statement_, ++bound_, value.data() ? value.data() : "", value.size(), SQLITE_TRANSIENT);
  if (code != SQLITE_OK) raise(sqlite3_db_handle(statement_), code);
  return *this;
}

Statement& Statement::bind_null() {
  const int code = sqlite3_bind_null(statement_, ++bound_);
  if (code != SQLITE_OK) raise(sqlite3_db_handle(statement_), code);
  return *this;
}

bool Statement::step() {
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  sqlite3* connection = sqlite3_db_handle(statement_);
  const int extended = sqlite3_extended_errcode(connection);
  const std::string message = sqlite3_errmsg(connection);
  const bool full = (extended & 0xff) == SQLITE_IOERR && sqlite3_system_errno(connection) == ENOSPC;
  sqlite3_reset(statement_);  // or it would hold its lock until the next reset
  throw DatabaseError(full ? SQLITE_FULL : extended, message);
}

void Statement::run() {
  while (step()) {
  }
  reset();
}

std::int64_t Statement::integer(int column) const { return sqlite3_column_int64(statement_, column); }

std::string Statement::text(int column) const {
  const void* bytes = sqlite3_column_type(statement_, column) == SQLITE_BLOB ? sqlite3_column_blob(statement_, column)
                                                                             : sqlite3_column_text(statement_, column);
  if (bytes == nullptr) return {};
  return std::string(static_cast<const char*>(bytes),
                     static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)));
}

bool Statement::is_null(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }

}  // namespace wick::store
