// The audit trail: who changed or was refused what, one row a request, each sealed with a hash over itself and the row
// before, so that a row that was changed or taken out shows. Rows are only added, and the oldest of a full trail go;
// the tables themselves refuse the rest. Where it was cut, the seal of the last row that went is kept: the chain begins
// there.
#pragma once

#include <boost/json/array.hpp>
#include <memory>
#include <string>

#include "wick/base/error.hpp"
#include "wick/base/time.hpp"
#include "wick/store/database.hpp"

namespace wick::api {

struct AuditEntry {
  WallTime when{};
  std::string user;
  std::string peer;
  std::string method;
  std::string path;  // without the query; cut at Audit::path_bytes_max
  int status = 0;
};

class Audit {
 public:
  /// About 10 MB, 60 MB at most: a path's first 512 bytes are kept. A flood of requests pushes the oldest rows out, so
  /// who must keep all of them copies them away (`wick audit --json`).
  static constexpr std::int64_t rows_kept = 50'000;
  static constexpr std::size_t path_bytes_max = 512;

  static std::string_view migration();
  static std::string_view migration_bound();  // after every migration there was before it
  /// `database` was opened with the migrations and outlives it.
  explicit Audit(store::Database& database, std::int64_t rows = rows_kept) : database_(database), rows_(rows) {}

  /// Returns once the row is durable. A failure is logged: the request it is about has been answered.
  awaitable<void> record(AuditEntry entry);
  /// The newest `count` rows, newest first; blocks on disk.
  Result<boost::json::array> newest(std::size_t count) const;
  /// The first row whose seal does not hold; 0 when all do. Blocks on disk.
  Result<std::int64_t> first_broken() const;

 private:
  store::Database& database_;
  std::int64_t rows_;
};

}  // namespace wick::api
