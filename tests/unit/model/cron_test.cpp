// When schedules tick: robfig/cron's rules, and the clocks of the IANA database.
#include <catch2/catch.hpp>

#include "wick/model/cron.hpp"

namespace wick::model {

namespace {

/// The `count`-th tick after `after`; "never" when there is none.
std::string tick(std::string_view schedule, std::string_view after, std::string_view zone = "UTC", int count = 1) {
  const auto parsed = CronSchedule::parse(schedule).value();
  const auto clock = TimeZone::find(zone).value();
  auto time = std::optional(parse_rfc3339(after).value());
  for (int i = 0; i < count && time; ++i) time = parsed.next(*time, clock);
  return time ? to_rfc3339(*time) : "never";
}

std::string tzif(std::string_view footer) {
  std::string file("TZif2", 5);
  file.append(15, '\0');
  const std::string counts("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\4", 24);
  const std::string type("\0\0\0\0\0\0UTC\0", 10);
  const std::string half = file + counts + type;
  return half + half + "\n" + std::string(footer) + "\n";
}

std::int64_t offset(std::string_view footer, std::string_view when) {
  const auto time = std::chrono::floor<seconds>(parse_rfc3339(when).value());
  return TimeZone::parse(tzif(footer)).value().offset_at(time).count();
}

}  // namespace

TEST_CASE("a schedule ticks when all its fields say so") {
  CHECK(tick("* * * * *", "2026-11-27T10:00:00Z") == "2026-11-27T10:01:00Z");
  CHECK(tick("* * * * *", "2026-11-27T10:00:59.5Z") == "2026-11-27T10:01:00Z");
  CHECK(tick("*/15 * * * *", "2026-11-27T10:50:00Z") == "2026-11-27T11:00:00Z");
  CHECK(tick("5/20 * * * *", "2026-11-27T10:00:00Z", "UTC", 3) == "2026-11-27T10:45:00Z");
  CHECK(tick("0 9-17/4 * * mon-fri", "2026-11-27T13:00:00Z") == "2026-11-27T17:00:00Z");
  CHECK(tick("0 9-17/4 * * mon-fri", "2026-11-27T17:00:00Z") == "2026-11-30T09:00:00Z");
  CHECK(tick("0 0 29 2 *", "2026-11-27T10:00:00Z") == "2028-02-29T00:00:00Z");
  CHECK(tick("0 0 30 2 *", "2026-11-27T10:00:00Z") == "never");
  CHECK(tick("0 0 1 jan ?", "2026-11-27T10:00:00Z") == "2027-01-01T00:00:00Z");
}

TEST_CASE("six fields begin with seconds") {
  CHECK(tick("*/10 * * * * *", "2026-11-27T10:00:01Z") == "2026-11-27T10:00:10Z");
  CHECK(tick("30 59 23 31 12 *", "2026-11-27T10:00:00Z") == "2026-12-31T23:59:30Z");
}

TEST_CASE("descriptors are the schedules they name") {
  CHECK(tick("@hourly", "2026-11-27T10:00:00Z") == "2026-11-27T11:00:00Z");
  CHECK(tick("@daily", "2026-11-27T10:00:00Z") == "2026-11-28T00:00:00Z");
  CHECK(tick("@weekly", "2026-11-27T10:00:00Z") == "2026-11-29T00:00:00Z");
  CHECK(tick("@monthly", "2026-11-27T10:00:00Z") == "2026-12-01T00:00:00Z");
  CHECK(tick("@yearly", "2026-11-27T10:00:00Z") == "2027-01-01T00:00:00Z");
}

TEST_CASE("a day of the month and a day of the week: either is enough when both are given") {
  CHECK(tick("0 0 13 * fri", "2026-11-27T10:00:00Z") == "2026-12-04T00:00:00Z");
  CHECK(tick("0 0 13 * fri", "2026-12-11T00:00:00Z") == "2026-12-13T00:00:00Z");
  CHECK(tick("0 0 13 * *", "2026-11-27T10:00:00Z") == "2026-12-13T00:00:00Z");
  CHECK(tick("0 0 * * fri", "2026-11-27T10:00:00Z") == "2026-12-04T00:00:00Z");
}

TEST_CASE("what falls into the hour that is left out does not come, what falls into the one that comes twice does so") {
  CHECK(tick("30 2 * * *", "2026-03-07T12:00:00Z", "America/New_York") == "2026-03-09T06:30:00Z");
  CHECK(tick("30 1 * * *", "2026-11-01T04:00:00Z", "America/New_York") == "2026-11-01T05:30:00Z");
  CHECK(tick("30 1 * * *", "2026-11-01T05:30:00Z", "America/New_York") == "2026-11-01T06:30:00Z");
  CHECK(tick("0 9 * * *", "2026-07-01T00:00:00Z", "Europe/Berlin") == "2026-07-01T07:00:00Z");
  CHECK(tick("0 9 * * *", "2026-12-01T00:00:00Z", "Europe/Berlin") == "2026-12-01T08:00:00Z");
  CHECK(tick("0 9 * * *", "2060-07-01T00:00:00Z", "Europe/Berlin") == "2060-07-01T07:00:00Z");
  CHECK(tick("0 0 * * *", "2026-11-27T10:00:00Z", "Asia/Kolkata") == "2026-11-27T18:30:00Z");
  CHECK(tick("0 0 * * *", "2026-10-03T15:00:00Z", "Australia/Lord_Howe") == "2026-10-04T13:00:00Z");
}

TEST_CASE("the rule at the end of a time zone file says what holds after its last transition") {
  CHECK(offset("JST-9", "2026-07-01T00:00:00Z") == 9 * 3600);
  CHECK(offset("EST5EDT,M3.2.0,M11.1.0", "2026-03-08T06:59:59Z") == -5 * 3600);
  CHECK(offset("EST5EDT,M3.2.0,M11.1.0", "2026-03-08T07:00:00Z") == -4 * 3600);
  CHECK(offset("EST5EDT,M3.2.0,M11.1.0", "2026-11-01T05:59:59Z") == -4 * 3600);
  CHECK(offset("EST5EDT,M3.2.0,M11.1.0", "2026-11-01T06:00:00Z") == -5 * 3600);
  CHECK(offset("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", "2026-01-01T00:00:00Z") == 11 * 3600);
  CHECK(offset("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", "2026-07-01T00:00:00Z") == 37800);
  CHECK(offset("IST-1GMT0,M10.5.0,M3.5.0/1", "2026-12-24T00:00:00Z") == 0);
  CHECK(offset("AAA+3BBB,J60,J300", "2028-02-29T12:00:00Z") == -3 * 3600);
  CHECK(offset("AAA3BBB,59,299/-1", "2026-03-01T06:00:00Z") == -2 * 3600);
}

TEST_CASE("what is no time zone file is refused, however it is cut") {
  const auto whole = tzif("EST5EDT,M3.2.0,M11.1.0");
  for (std::size_t size = 0; size + 25 < whole.size(); ++size) CHECK_FALSE(TimeZone::parse(whole.substr(0, size)));
  for (const auto* wrong :
       {"5", "E5", "EST", "EST5EDT", "EST5EDT,M13.1.0,M11.1.0", "EST5EDT,M3.2.0", "EST5EDT,M3.2.0,x"})
    CHECK_FALSE(TimeZone::parse(tzif(wrong)));
  CHECK_FALSE(TimeZone::find("Mars/Olympus_Mons"));
  CHECK_FALSE(TimeZone::find("../../etc/passwd"));
}

}  // namespace wick::model
