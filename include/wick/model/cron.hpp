// Schedules as robfig/cron's standard parser takes them (what Knative's PingSource uses): five fields, or six with
// seconds first, or a descriptor ("@hourly").
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "wick/base/time.hpp"
#include "wick/model/time_zone.hpp"

namespace wick::model {

/// Why `text` is no schedule; "" when it is one.
std::string cron_complaint(std::string_view text);

/// A name of the IANA database that this machine has.
bool is_time_zone(std::string_view name);

class CronSchedule {
 public:
  /// Errors: invalid, with cron_complaint().
  static Result<CronSchedule> parse(std::string_view text);

  /// The first tick after this instant, by the clock on the wall of `zone`: what falls into an hour that the clock
  /// leaves out does not come, what falls into one that comes twice comes twice (as robfig/cron has it). nullopt when
  /// there is none within five years (30 February).
  std::optional<WallTime> next(WallTime after, const TimeZone& zone) const;

 private:
  std::array<std::uint64_t, 6> bits_{};  // second, minute, hour, day of month, month, day of week
  // "*" there: the other of the two decides alone. With neither, either is enough.
  bool any_day_of_month_ = false;
  bool any_day_of_week_ = false;
};

}  // namespace wick::model
