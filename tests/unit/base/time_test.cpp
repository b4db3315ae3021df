#include <catch2/catch.hpp>

#include "wick/base/time.hpp"

using namespace wick;

TEST_CASE("RFC 3339 times round-trip with offsets and fractions") {
  CHECK(to_rfc3339_nano(parse_rfc3339("2026-11-23T08:10:32.120Z").value()) == "2026-11-23T08:10:32.12Z");
  CHECK(to_rfc3339(parse_rfc3339("2026-11-23t10:10:32+02:00").value()) == "2026-11-23T08:10:32Z");
  CHECK(to_rfc3339(parse_rfc3339("2016-12-31T23:59:60Z").value()) == "2017-01-01T00:00:00Z");
}

TEST_CASE("what is not an RFC 3339 time is refused") {
  for (std::string_view bad :
       {"", "2026-11-23", "2026-11-23 08:10:32Z", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z",
        "2026-11-23T24:00:00Z", "2026-11-23T08:10:32", "2026-11-23T08:10:32.Z", "2026-11-23T08:10:32Zx",
        "2026-11-23T08:10:32.1234567890Z", "0000-01-01T00:00:00Z", "9999-01-01T00:00:00Z"})
    CHECK_FALSE(parse_rfc3339(bad).has_value());
}

TEST_CASE("Go durations as annotations use them") {
  CHECK(parse_go_duration("60s").value() == 60s);
  CHECK(parse_go_duration("1m30s").value() == 90s);
  CHECK(parse_go_duration("1.5h").value() == 90min);
  CHECK(parse_go_duration("250ms").value() == 250ms);
  CHECK(parse_go_duration("0").value() == 0s);
  for (std::string_view bad : {"", "60", "s", "-1s", "1x", "1s ", "1..5s", "99999999999999h"})
    CHECK_FALSE(parse_go_duration(bad).has_value());
}

TEST_CASE("ISO 8601 durations as delivery specs use them") {
  CHECK(parse_iso8601_duration("PT0.2S").value() == 200ms);
  CHECK(parse_iso8601_duration("P1DT2H3M4S").value() == 24h + 2h + 3min + 4s);
  CHECK(parse_iso8601_duration("P2W").value() == 336h);
  for (std::string_view bad : {"", "P", "PT", "1S", "PT1", "P1Y", "P1M", "PT1S2M", "PT-1S", "P1DT"})
    CHECK_FALSE(parse_iso8601_duration(bad).has_value());
}
