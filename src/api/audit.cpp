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

awaitable<void> Audit::record(AuditEntry entry) {
  auto insert = [entry](sqlite3* connection) {
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
    std::string before;
    for (std::int64_t row = 1; query.step(); ++row) {
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
