// What the parts of the log share: how values stand in rows.
#pragma once

#include <boost/crc.hpp>
#include <chrono>
#include <initializer_list>
#include <string>

#include "log.hpp"

namespace wick::eventing {

inline std::int64_t to_microseconds(WallTime time) {
  return std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
}
inline WallTime from_microseconds(std::int64_t time) { return WallTime(std::chrono::microseconds(time)); }

inline std::int64_t checksum_of(std::initializer_list<std::string_view> parts) {
  boost::crc_32_type crc;
  for (const std::string_view part : parts) crc.process_bytes(part.data(), part.size());
  return crc.checksum();
}
/// Over all that a row says: a flipped bit in its position or broker is as bad as one in its data.
inline std::int64_t checksum(Position position, std::string_view broker, std::int64_t received, Position parent,
                             std::string_view attributes, std::string_view fields, std::string_view body) {
  const std::string numbers = std::to_string(position) + " " + std::to_string(received) + " " + std::to_string(parent);
  return checksum_of({numbers, broker, attributes, fields, body});
}
/// As the first schema had it.
inline std::int64_t first_checksum(std::string_view attributes, std::string_view fields, std::string_view body) {
  return checksum_of({attributes, fields, body});
}

/// The statements of each event and each failed attempt: preparing them takes SQLite longer than running them. Used by
/// the writer thread only, and finalised with the log, after the last write.
struct Log::Prepared {
  std::optional<store::Statement> insert, put, last_attempt, note, erase, save;

  static store::Statement& of(std::optional<store::Statement>& kept, sqlite3* connection, std::string_view sql) {
    if (!kept) kept.emplace(connection, sql);
    return kept->reset();
  }
};

/// A query for rows_in.
std::string select_rows(const std::string& condition);
/// Steps `query` to its end, and resets it.
std::vector<DeliveryRow> rows_in(store::Statement& query);

}  // namespace wick::eventing
