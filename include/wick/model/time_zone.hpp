// Time zones of the IANA database, from the files that every Linux has (TZif, RFC 8536). The standard library here has
// none.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"

namespace wick::model {

class TimeZone {
 public:
  /// UTC.
  TimeZone() = default;
  /// A TZif file of version 1 to 4. Errors: corrupt.
  static Result<TimeZone> parse(std::string_view bytes);
  /// By its IANA name; "" is UTC, "Local" the machine's own. Errors: not_found, corrupt.
  static Result<TimeZone> find(std::string_view name);

  /// East of Greenwich, at this instant.
  std::chrono::seconds offset_at(std::chrono::sys_seconds time) const;

 private:
  struct Footer;

  /// The day and time of a year when the clock changes (POSIX TZ: "M3.2.0/2", "J60", "59").
  struct ChangeRule {
    enum class Day { month_week_day, julian, zero_based } day = Day::month_week_day;
    int month = 1, week = 1, number = 0;  // number: day of the week, or of the year
    std::chrono::seconds time{7200};
    /// As the clock on the wall has it.
    std::chrono::sys_seconds in(std::chrono::year year) const;
  };
  /// What holds after the last transition of the table (RFC 8536 3.3).
  struct Rule {
    std::chrono::seconds standard{0};
    std::chrono::seconds daylight{0};
    std::optional<std::array<ChangeRule, 2>> changes;  // to daylight saving time, and back
    std::chrono::seconds offset_at(std::chrono::sys_seconds time) const;
  };

  std::vector<std::int64_t> transitions_;  // ascending
  std::vector<std::int32_t> offsets_;      // from each transition on
  std::int32_t first_offset_ = 0;          // before the first
  std::optional<Rule> rule_;
};

}  // namespace wick::model
