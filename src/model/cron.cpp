#include "wick/model/cron.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <span>
#include <vector>

#include "wick/base/text.hpp"

namespace wick::model {

namespace {

constexpr std::string_view month_names[]{"jan", "feb", "mar", "apr", "may", "jun",
                                         "jul", "aug", "sep", "oct", "nov", "dec"};
constexpr std::string_view day_names[]{"sun", "mon", "tue", "wed", "thu", "fri", "sat"};
constexpr std::string_view descriptors[]{"@yearly", "@annually", "@monthly", "@weekly",
                                         "@daily",  "@midnight", "@hourly"};

struct Field {
  std::string_view name;
  unsigned low;
  unsigned high;
  std::span<const std::string_view> words;  // the first is `low`
};
constexpr Field fields[]{{"second", 0, 59, {}},       {"minute", 0, 59, {}},         {"hour", 0, 23, {}},
                         {"day of month", 1, 31, {}}, {"month", 1, 12, month_names}, {"day of week", 0, 6, day_names}};

std::optional<unsigned> number_of(std::string_view text, const Field& field) {
  for (std::size_t i = 0; i < field.words.size(); ++i)
    if (iequals(text, field.words[i])) return field.low + static_cast<unsigned>(i);
  const auto number = parse_unsigned(text);
  if (!number || *number > field.high || *number < field.low) return std::nullopt;
  return static_cast<unsigned>(*number);
}

/// What a part of a field asks for.
struct Part {
  std::uint64_t bits = 0;
  bool any = false;  // all of it: "*" or "?"
};

/// "*", "5", "1-5", any of them with "/step"; "5/10" goes to the end of the field.
std::optional<Part> parse_part(std::string_view part, const Field& field) {
  std::uint64_t step = 1;
  const auto slash = part.find('/');
  if (slash != part.npos) {
    const auto given = parse_unsigned(part.substr(slash + 1));
    if (!given || *given == 0) return std::nullopt;
    step = *given;
    part = part.substr(0, slash);
  }
  const bool star = part == "*" || part == "?";
  const auto dash = part.find('-');
  const auto first = star ? std::optional(field.low) : number_of(part.substr(0, dash), field);
  auto last = first;
  if (star || (dash == part.npos && slash != part.npos)) last = field.high;
  if (!star && dash != part.npos) last = number_of(part.substr(dash + 1), field);
  if (!first || !last || *first > *last) return std::nullopt;
  Part found{.any = star && step == 1};
  for (std::uint64_t value = *first; value <= *last; value += std::min<std::uint64_t>(step, 64))
    found.bits |= std::uint64_t{1} << value;
  return found;
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  for (const auto word : split(text, ' '))
    if (!word.empty()) words.push_back(word);
  return words;
}

}  // namespace

std::string cron_complaint(std::string_view text) {
  for (const std::string_view prefix : {"TZ=", "CRON_TZ="})
    if (text.starts_with(prefix)) return "the time zone goes in spec.timezone";
  if (text.starts_with("@every")) return "unsupported descriptor @every";
  if (text.starts_with('@')) {
    for (const auto known : descriptors)
      if (text == known) return {};
    return fmt::format("unrecognized descriptor: {}", printable(text));
  }
  const auto words = words_of(text);
  if (words.size() != 5 && words.size() != 6)
    return fmt::format("expected 5 to 6 fields, found {}: [{}]", words.size(), printable(text));
  const auto skip = 6 - words.size();
  for (std::size_t i = 0; i < words.size(); ++i)
    for (const auto part : split(words[i], ','))
      if (!parse_part(part, fields[i + skip]))
        return fmt::format("'{}' is no {}: {} to {}", printable(words[i]), fields[i + skip].name, fields[i + skip].low,
                           fields[i + skip].high);
  return {};
}

namespace {

std::string_view meaning_of(std::string_view descriptor) {
  if (descriptor == "@yearly" || descriptor == "@annually") return "0 0 0 1 1 *";
  if (descriptor == "@monthly") return "0 0 0 1 * *";
  if (descriptor == "@weekly") return "0 0 0 * * 0";
  if (descriptor == "@daily" || descriptor == "@midnight") return "0 0 0 * * *";
  return "0 0 * * * *";  // @hourly
}

}  // namespace

Result<CronSchedule> CronSchedule::parse(std::string_view text) {
  if (auto complaint = cron_complaint(text); !complaint.empty()) return fail(Errc::invalid, std::move(complaint));
  const auto words = words_of(text.starts_with('@') ? meaning_of(text) : text);
  const auto skip = 6 - words.size();
  CronSchedule schedule;
  if (skip > 0) schedule.bits_[0] = 1;  // at second 0
  bool any[6]{};
  for (std::size_t i = 0; i < words.size(); ++i)
    for (const auto word : split(words[i], ',')) {
      const auto part = parse_part(word, fields[i + skip]).value();
      schedule.bits_[i + skip] |= part.bits;
      any[i + skip] = any[i + skip] || part.any;
    }
  schedule.any_day_of_month_ = any[3];
  schedule.any_day_of_week_ = any[5];
  return schedule;
}

std::optional<WallTime> CronSchedule::next(WallTime after, const TimeZone& zone) const {
  using namespace std::chrono;
  const auto has = [&](std::size_t field, std::int64_t value) { return (bits_[field] >> value & 1) != 0; };
  sys_seconds time = floor<seconds>(after) + seconds(1);
  const sys_seconds end = time + days(5 * 366);
  while (time < end) {
    const sys_seconds local = time + zone.offset_at(time);
    const auto day = floor<days>(local);
    const year_month_day date(day);
    const std::int64_t second_of_day = (local - day).count();
    const bool of_month = has(3, static_cast<unsigned>(date.day()));
    const bool of_week = has(5, weekday(day).c_encoding());
    const bool right_day = any_day_of_month_ || any_day_of_week_ ? of_month && of_week : of_month || of_week;
    // Never further than to the next full hour: clocks change there.
    if (!right_day || !has(4, static_cast<unsigned>(date.month())) || !has(2, second_of_day / 3600))
      time += seconds(3600 - second_of_day % 3600);
    else if (!has(1, second_of_day / 60 % 60))
      time += seconds(60 - second_of_day % 60);
    else if (!has(0, second_of_day % 60))
      time += seconds(1);
    else
      return time;
  }
  return std::nullopt;
}

bool is_time_zone(std::string_view name) {
  if (name == "UTC" || name == "Local") return true;
  if (name.empty() || name.size() > 64 || name.starts_with('/') || name.find("..") != name.npos) return false;
  for (const char c : name)
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '/' || c == '_' ||
          c == '-' || c == '+'))
      return false;
  std::error_code error;
  return std::filesystem::is_regular_file(std::filesystem::path("/usr/share/zoneinfo") / name, error);
}

}  // namespace wick::model
