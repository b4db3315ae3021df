#include "wick/base/time.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

#include "wick/base/text.hpp"

namespace wick {

namespace {

using namespace std::chrono;

struct Cursor {
  std::string_view rest;

  bool take(char c) {
    if (rest.empty() || rest.front() != c) return false;
    rest.remove_prefix(1);
    return true;
  }
  /// Exactly `count` digits; -1 if they are not there.
  int digits(std::size_t count) {
    if (rest.size() < count) return -1;
    int value = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (rest[i] < '0' || rest[i] > '9') return -1;
      value = value * 10 + (rest[i] - '0');
    }
    rest.remove_prefix(count);
    return value;
  }
  /// A decimal number with an optional fraction, at most 15 significant digits; -1 if there is none.
  double number() {
    std::size_t length = 0;
    std::size_t digits = 0;
    std::size_t points = 0;
    for (; length < rest.size(); ++length) {
      if (rest[length] == '.') {
        ++points;
      } else if (rest[length] >= '0' && rest[length] <= '9') {
        ++digits;
      } else {
        break;
      }
    }
    if (digits == 0 || digits > 15 || points > 1) return -1;
    double value = -1;
    std::from_chars(rest.data(), rest.data() + length, value);
    rest.remove_prefix(length);
    return value;
  }
};

std::string date_and_time(WallTime time) {
  const auto day = floor<days>(time);
  const year_month_day date{day};
  const hh_mm_ss clock{floor<seconds>(time - day)};
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), clock.hours().count(),
                     clock.minutes().count(), clock.seconds().count());
}

constexpr double milliseconds_max = 1e15;  // 31,000 years; keeps the cast below defined

}  // namespace

WallTime wall_now() { return time_point_cast<nanoseconds>(system_clock::now()); }

std::string to_rfc3339(WallTime time) { return date_and_time(time) + "Z"; }

std::string to_rfc3339_nano(WallTime time) {
  const auto fraction = (time - floor<seconds>(time)).count();
  if (fraction == 0) return to_rfc3339(time);
  std::string digits = fmt::format("{:09}", fraction);
  digits.erase(digits.find_last_not_of('0') + 1);
  return date_and_time(time) + "." + digits + "Z";
}

Result<WallTime> parse_rfc3339(std::string_view text) {
  const auto wrong = [&] {
    return fail(Errc::invalid,
                fmt::format("'{}' is not an RFC 3339 time such as 2026-11-23T08:10:32Z", printable(text, 60)));
  };
  Cursor at{text};
  const int y = at.digits(4);
  if (y < 0 || !at.take('-')) return wrong();
  const int m = at.digits(2);
  if (m < 0 || !at.take('-')) return wrong();
  const int d = at.digits(2);
  if (d < 0 || !(at.take('T') || at.take('t'))) return wrong();
  const int h = at.digits(2);
  if (h < 0 || h > 23 || !at.take(':')) return wrong();
  const int min = at.digits(2);
  if (min < 0 || min > 59 || !at.take(':')) return wrong();
  const int s = at.digits(2);
  if (s < 0 || s > 60) return wrong();
  std::int64_t fraction = 0;
  if (at.take('.')) {
    std::size_t count = 0;
    for (std::int64_t unit = 100'000'000; !at.rest.empty() && at.rest.front() >= '0' && at.rest.front() <= '9';
         unit /= 10) {
      fraction += unit * (at.rest.front() - '0');
      at.rest.remove_prefix(1);
      ++count;
    }
    if (count == 0 || count > 9) return wrong();
  }
  minutes offset{0};
  if (!(at.take('Z') || at.take('z'))) {
    const bool minus = !at.rest.empty() && at.rest.front() == '-';
    if (!at.take('+') && !at.take('-')) return wrong();
    const int oh = at.digits(2);
    if (oh < 0 || oh > 23 || !at.take(':')) return wrong();
    const int om = at.digits(2);
    if (om < 0 || om > 59) return wrong();
    offset = minutes(oh * 60 + om) * (minus ? -1 : 1);
  }
  const year_month_day date{year(y), month(static_cast<unsigned>(m)), day(static_cast<unsigned>(d))};
  // sys_time<nanoseconds> holds 1677 to 2262 only.
  if (!at.rest.empty() || !date.ok() || y < 1678 || y > 2261) return wrong();
  return WallTime(sys_days(date)) + hours(h) + minutes(min) + seconds(s) + nanoseconds(fraction) - offset;
}

Result<milliseconds> parse_go_duration(std::string_view text) {
  const auto wrong = [&] {
    return fail(Errc::invalid, fmt::format("'{}' is not a duration such as 60s, 1m30s or 250ms", printable(text, 60)));
  };
  if (text == "0") return milliseconds(0);
  struct Unit {
    std::string_view name;
    double milliseconds;
  };
  // Longest names first: "ms" must not be read as "m".
  constexpr std::array<Unit, 7> units{
      {{"ns", 1e-6}, {"us", 1e-3}, {"µs", 1e-3}, {"ms", 1}, {"s", 1e3}, {"m", 6e4}, {"h", 3.6e6}}};
  Cursor at{text};
  double total = 0;
  do {
    const double value = at.number();
    if (value < 0) return wrong();
    double unit = 0;
    for (const auto& candidate : units) {
      if (!at.rest.starts_with(candidate.name)) continue;
      unit = candidate.milliseconds;
      at.rest.remove_prefix(candidate.name.size());
      break;
    }
    if (unit == 0) return wrong();
    total += value * unit;
  } while (!at.rest.empty());
  if (total > milliseconds_max) return wrong();
  return milliseconds(std::llround(total));
}

Result<milliseconds> parse_iso8601_duration(std::string_view text) {
  const auto wrong = [&] {
    return fail(Errc::invalid,
                fmt::format("'{}' is not an ISO 8601 duration such as PT0.2S or P1DT2H", printable(text, 60)));
  };
  Cursor at{text};
  if (!at.take('P') || at.rest.empty()) return wrong();
  double total = 0;
  const auto fields = [&](std::initializer_list<std::pair<char, double>> units) {
    for (auto unit = units.begin(); unit != units.end() && !at.rest.empty() && at.rest.front() != 'T';) {
      const double value = at.number();
      if (value < 0) return false;
      while (unit != units.end() && !at.take(unit->first)) ++unit;
      if (unit == units.end()) return false;
      total += value * unit->second;
      ++unit;
    }
    return true;
  };
  if (!fields({{'W', 6.048e8}, {'D', 8.64e7}})) return wrong();
  if (at.take('T') && (at.rest.empty() || !fields({{'H', 3.6e6}, {'M', 6e4}, {'S', 1e3}}))) return wrong();
  if (!at.rest.empty() || total > milliseconds_max) return wrong();
  return milliseconds(std::llround(total));
}

}  // namespace wick
