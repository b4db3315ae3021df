// What the check of schedules takes, parses; its ticks come after the time they are asked for.
#include <cstdint>
#include <cstdlib>

#include "wick/model/cron.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto schedule = wick::model::CronSchedule::parse(text);
  if (schedule.has_value() != wick::model::cron_complaint(text).empty()) std::abort();
  if (!schedule) return 0;
  const wick::WallTime now{std::chrono::seconds(1'790'000'000)};
  const auto next = schedule->next(now, {});
  if (next && *next <= now) std::abort();
  return 0;
}
