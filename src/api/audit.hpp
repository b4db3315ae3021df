// The audit trail: who changed or was refused what, one row a request, each sealed with a hash over itself and the row
// before, so that a row that was changed or taken out shows. Rows are only ever added; the table itself refuses the
// rest.
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
  std::string path;  // without the query
  int status = 0;
};

class Audit {
 public:
  static std::string_view migration();
  /// `database` was opened with the migration and outlives it.
  explicit Audit(store::Database& database) : database_(database) {}

  /// Returns once the row is durable. A failure is logged: the request it is about has been answered.
  awaitable<void> record(AuditEntry entry);
  /// The newest `count` rows, newest first; blocks on disk.
  Result<boost::json::array> newest(std::size_t count) const;
  /// The first row whose seal does not hold; 0 when all do. Blocks on disk.
  Result<std::int64_t> first_broken() const;

 private:
  store::Database& database_;
};

}  // namespace wick::api
