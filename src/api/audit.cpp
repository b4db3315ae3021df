#include "api/audit.hpp"

#include <fmt/format.h>

#include "wick/base/digest.hpp"
#include "wick/base/log.hpp"

namespace wick::api {

namespace json = boost::json;

namespace {

/// What a row's hash is over. Fields are joined by a byte that none of them can hold.
std::string seal(std::string_view before, std::int64_t row, std::int64_t when, std::string_view user,
                 std::string_view peer, std::string_view method, std::string_view path, std::int64_t status) {
  return Digest::of(fmt::format("{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}", before, row, when, user, peer, method, path, status))
      .hex();
}

}  // namespace

std::string_view Audit::migration() {
  return R"(
CREATE TABLE audit(
  row INTEGER PRIMARY KEY, at INTEGER NOT NULL, user TEXT NOT NULL, peer TEXT NOT NULL, method TEXT NOT NULL,
  path TEXT NOT NULL, status INTEGER NOT NULL, seal TEXT NOT NULL
) STRICT;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit trail only grows'); END;
CREATE TRIGGER audit_is_not_cut BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit trail only grows'); END;
)";
}

std::string_view Audit::migration_bound() {
  return R"(
CREATE TABLE audit_cut(one INTEGER PRIMARY KEY CHECK(one = 1), row INTEGER NOT NULL, seal TEXT NOT NULL) STRICT;
INSERT INTO audit_cut VALUES(1, 0, '');
CREATE TRIGGER audit_cut_only_grows BEFORE UPDATE ON audit_cut WHEN new.row <= old.row
  BEGIN SELECT RAISE(ABORT, 'the audit trail only grows'); END;
CREATE TRIGGER audit_cut_stays BEFORE DELETE ON audit_cut BEGIN SELECT RAISE(ABORT, 'the audit trail only grows'); END;
DROP TRIGGER audit_is_not_cut;
CREATE TRIGGER audit_is_not_cut BEFORE DELETE ON audit WHEN old.row > (SELECT row FROM audit_cut)
  BEGIN SELECT RAISE(ABORT, 'the audit trail only grows'); END;
)";
}

namespace {

/// Lets the oldest rows go, some at a time, so that not every request pays for it.
void cut(sqlite3* connection, std::int64_t newest, std::int64_t kept) {
  store::Statement query(connection, "SELECT row FROM audit_cut");
  const auto before = query.step() ? query.integer(0) : 0;
  query.reset();
  const auto last = newest - kept;
  if (last - before <= kept / 50) return;
  store::Statement(connection, "UPDATE audit_cut SET row = ?1, seal = (SELECT seal FROM audit WHERE row = ?1)")
      .bind(last)
      .run();
  store::Statement(connection, "DELETE FROM audit WHERE row <= ?").bind(last).run();
}

}  // namespace

awaitable<void> Audit::record(AuditEntry entry) {
  if (entry.path.size() > path_bytes_max) entry.path = entry.path.substr(0, path_bytes_max) + "…";
  auto insert = [entry, kept = rows_](sqlite3* connection) {
    store::Statement last(connection, "SELECT row, seal FROM audit ORDER BY row DESC LIMIT 1");
    std::int64_t row = 1;
    std::string before;
    if (last.step()) {
      row = last.integer(0) + 1;
      before = last.text(1);
    }
    last.reset();
    const auto when = entry.when.time_since_epoch().count();
    store::Statement add(connection, "INSERT INTO audit VALUES(?,?,?,?,?,?,?,?)");
    add.bind(row).bind(when).bind(entry.user).bind(entry.peer).bind(entry.method).bind(entry.path);
    add.bind(static_cast<std::int64_t>(entry.status))
        .bind(seal(before, row, when, entry.user, entry.peer, entry.method, entry.path, entry.status))
        .run();
    cut(connection, row, kept);
  };
  auto written = co_await database_.write(std::move(insert));
  if (!written) log::error("audit row lost", {{"path", entry.path}, {"error", written.error().what()}});
}

Result<json::array> Audit::newest(std::size_t count) const {
  json::array rows;
  try {
    store::Statement query(database_.reader(),
                           "SELECT row, at, user, peer, method, path, status FROM audit ORDER BY row DESC LIMIT ?");
    query.bind(static_cast<std::int64_t>(count));
    while (query.step())
      rows.push_back({{"row", query.integer(0)},
                      {"when", to_rfc3339_nano(WallTime(std::chrono::nanoseconds(query.integer(1))))},
                      {"user", query.text(2)},
                      {"peer", query.text(3)},
                      {"method", query.text(4)},
                      {"path", query.text(5)},
                      {"status", query.integer(6)}});
  } catch (const store::DatabaseError& error) {
    return fail(store::to_error(error).within("audit trail"));
  }
  return rows;
}

Result<std::int64_t> Audit::first_broken() const {
  try {
    store::Statement query(database_.reader(),
                           "SELECT row, at, user, peer, method, path, status, seal FROM audit ORDER BY row");
    store::Statement cut(database_.reader(), "SELECT row, seal FROM audit_cut");
    if (!cut.step()) return 1;
    auto before = cut.text(1);
    for (std::int64_t row = cut.integer(0) + 1; query.step(); ++row) {
      const auto wanted = seal(before, row, query.integer(1), query.text(2), query.text(3), query.text(4),
                               query.text(5), query.integer(6));
      if (query.integer(0) != row || query.text(7) != wanted) return row;
      before = wanted;
    }
  } catch (const store::DatabaseError& error) {
    return fail(store::to_error(error).within("audit trail"));
  }
  return 0;
}

}  // namespace wick::api
