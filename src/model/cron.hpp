// Schedules as robfig/cron's standard parser takes them (what Knative's PingSource uses): five fields, or six with
// seconds first, or a descriptor; checked here, computed where they fire.
#pragma once

#include <string>
#include <string_view>

namespace wick::model {

/// Why `text` is no schedule; "" when it is one.
std::string cron_complaint(std::string_view text);

/// A name of the IANA database that this machine has.
bool is_time_zone(std::string_view name);

}  // namespace wick::model
