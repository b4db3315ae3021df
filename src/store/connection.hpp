// One SQLite connection with the settings both sides share.
#pragma once

#include <sqlite3.h>

#include <memory>
#include <string>
#include <vector>

#include "wick/store/database.hpp"

namespace wick::store {

struct CloseConnection {
  void operator()(sqlite3* connection) const { sqlite3_close_v2(connection); }
};
using Connection = std::unique_ptr<sqlite3, CloseConnection>;

enum class Access { write, read };

/// WAL, synchronous=FULL, foreign keys, no automatic checkpoint on either side (the writer does it between groups).
/// Throws DatabaseError.
Connection open_connection(const std::string& path, Access access);

/// Runs the migrations past PRAGMA user_version, each in one transaction. Throws DatabaseError.
Result<void> migrate(sqlite3* connection, const std::vector<std::string_view>& migrations);

/// One or more statements without parameters or rows of interest. Throws DatabaseError.
void execute(sqlite3* connection, const std::string& sql);

}  // namespace wick::store
