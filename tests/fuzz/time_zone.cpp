// A time zone file is no file, or has an offset at every time.
#include <cstdint>
#include <cstdlib>

#include "wick/model/time_zone.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto zone = wick::model::TimeZone::parse({reinterpret_cast<const char*>(data), size});
  if (!zone) return 0;
  for (const std::int64_t time : {-4'000'000'000ll, 0ll, 1'500ll, 1'700'000'000ll, 1'720'000'000ll, 4'102'444'800ll}) {
    const auto offset = zone->offset_at(std::chrono::sys_seconds(std::chrono::seconds(time)));
    if (offset < std::chrono::hours(-26) || offset > std::chrono::hours(26)) std::abort();
  }
  return 0;
}
