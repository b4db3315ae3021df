// Wall-clock instants and durations as the outside writes them: RFC 3339, ISO 8601 durations, Go durations.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "wick/base/error.hpp"

namespace wick {

using namespace std::chrono_literals;
using std::chrono::milliseconds;
using std::chrono::seconds;

/// Wall clock: what is stored and shown.
using WallTime = std::chrono::sys_time<std::chrono::nanoseconds>;
/// Monotonic clock: what is waited for.
using TimePoint = std::chrono::steady_clock::time_point;
using Duration = std::chrono::steady_clock::duration;

WallTime wall_now();
/// "2026-11-23T08:10:32Z", as Kubernetes writes metav1.Time.
std::string to_rfc3339(WallTime time);
/// "2026-11-23T08:10:32.123456789Z"; the fraction without trailing zeros, none when zero.
std::string to_rfc3339_nano(WallTime time);
/// RFC 3339 section 5.6, any offset, up to nine digits of fraction; a leap second (":60") counts as the next second.
Result<WallTime> parse_rfc3339(std::string_view text);

/// Go's notation, as Knative's annotations use it: "60s", "1m30s", "1.5h", "250ms". Negative is invalid.
Result<milliseconds> parse_go_duration(std::string_view text);
/// ISO 8601, as Knative's delivery spec uses it: "PT0.2S", "P1DT2H". Years and months are refused (no fixed length).
Result<milliseconds> parse_iso8601_duration(std::string_view text);

}  // namespace wick
