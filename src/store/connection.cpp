#include "connection.hpp"

#include <fmt/format.h>

namespace wick::store {

namespace {

// A reader meets a lock only for the instant in which the writer resets the WAL, a writer only a foreign process.
constexpr int busy_limit_ms = 5000;

void set_wal(sqlite3* connection) {
  Statement mode(connection, "PRAGMA journal_mode=WAL");
  mode.step();
  if (mode.text(0) != "wal")
    throw DatabaseError(SQLITE_IOERR,
                        fmt::format("journal mode must be wal, the file system allows '{}'", mode.text(0)));
}

}  // namespace

void execute(sqlite3* connection, const std::string& sql) {
  char* message = nullptr;
  const int code = sqlite3_exec(connection, sql.c_str(), nullptr, nullptr, &message);
  if (code == SQLITE_OK) return;
  const std::string text = message ? message : sqlite3_errstr(code);
  sqlite3_free(message);
  throw DatabaseError(sqlite3_extended_errcode(connection), text);
}

Connection open_connection(const std::string& path, Access access) {
  sqlite3* raw = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX | SQLITE_OPEN_NOFOLLOW;
  const int code =
      sqlite3_open_v2(path.c_str(), &raw, path == ":memory:" ? flags & ~SQLITE_OPEN_NOFOLLOW : flags, nullptr);
  Connection connection(raw);
  if (code != SQLITE_OK)
    throw DatabaseError(code, fmt::format("{}: {}", path, raw ? sqlite3_errmsg(raw) : sqlite3_errstr(code)));
  sqlite3_extended_result_codes(raw, 1);
  sqlite3_busy_timeout(raw, busy_limit_ms);
  if (path != ":memory:") set_wal(raw);
  execute(raw,
          "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA wal_autocheckpoint=0; PRAGMA trusted_schema=OFF;"
          "PRAGMA temp_store=MEMORY; PRAGMA cell_size_check=ON;");
  // The WAL file keeps this much when it is reset: overwriting is half again as fast as appending.
  execute(raw, "PRAGMA journal_size_limit=33554432");
  if (access == Access::read) {
    execute(raw, "PRAGMA query_only=ON");
    sqlite3_db_config(raw, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  }
  return connection;
}

Result<void> migrate(sqlite3* connection, const std::vector<std::string_view>& migrations) {
  std::int64_t version = 0;
  {
    Statement read(connection, "PRAGMA user_version");
    read.step();
    version = read.integer(0);
  }
  if (version < 0 || static_cast<std::size_t>(version) > migrations.size())
    return fail(
        Errc::unsupported,
        fmt::format("the database has schema version {}, this program knows up to {}", version, migrations.size()),
        "run the newer wick that wrote it, or restore a backup made before the upgrade");
  for (auto next = static_cast<std::size_t>(version); next < migrations.size(); ++next) {
    try {
      execute(connection, "BEGIN IMMEDIATE");
      execute(connection, std::string(migrations[next]));
      execute(connection, fmt::format("PRAGMA user_version={}; COMMIT", next + 1));
    } catch (const DatabaseError& error) {
      if (!sqlite3_get_autocommit(connection)) execute(connection, "ROLLBACK");
      return fail(to_error(error).within(fmt::format("migration to schema version {}", next + 1)));
    }
  }
  return {};
}

}  // namespace wick::store
