#include "wick/model/time_zone.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "wick/base/text.hpp"
#include "wick/model/cron.hpp"

namespace wick::model {

namespace {

namespace chrono = std::chrono;
constexpr std::size_t file_bytes_max = 1 << 20;  // the largest of the database has 4 KB
constexpr std::size_t head_bytes = 44;
constexpr std::size_t transitions_max = 10'000;
constexpr chrono::hours offset_max{26};  // RFC 8536 3.2: more SHOULD NOT be

std::unexpected<Error> corrupt(std::string_view what) {
  return fail(Errc::corrupt, fmt::format("not a time zone file: {}", what));
}

/// Big-endian, two's complement.
std::int64_t number_at(std::string_view bytes, std::size_t at, std::size_t size) {
  std::uint64_t value = (static_cast<unsigned char>(bytes[at]) & 0x80) != 0 ? ~0ull : 0;
  for (std::size_t i = 0; i < size; ++i) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return static_cast<std::int64_t>(value);
}

/// The counts of a TZif header, and what the data after it takes.
struct TzifHead {
  char version = 0;
  std::size_t utc_count, standard_count, leap_count, time_count, type_count, char_count;

  static Result<TzifHead> parse(std::string_view bytes) {
    if (bytes.size() < head_bytes || !bytes.starts_with("TZif")) return corrupt("no TZif header");
    const auto count = [&](std::size_t at) { return static_cast<std::size_t>(number_at(bytes, at, 4) & 0xffffffff); };
    TzifHead head{.version = bytes[4],
                  .utc_count = count(20),
                  .standard_count = count(24),
                  .leap_count = count(28),
                  .time_count = count(32),
                  .type_count = count(36),
                  .char_count = count(40)};
    for (const auto size : {head.utc_count, head.standard_count, head.leap_count, head.time_count, head.char_count})
      if (size > transitions_max) return corrupt("too many entries");
    if (head.type_count == 0 || head.type_count > 256) return corrupt("no types of local time, or too many");
    return head;
  }
  std::size_t data_bytes(std::size_t time_size) const {
    return time_count * time_size + time_count + type_count * 6 + char_count + leap_count * (time_size + 4) +
           standard_count + utc_count;
  }
};

/// Reads a POSIX TZ string from the left (IEEE Std 1003.1 8.3, with the extensions of RFC 8536 3.3.1).
class TzReader {
 public:
  explicit TzReader(std::string_view text) : left_(text) {}
  bool at_end() const { return left_.empty(); }
  bool take(char c) {
    if (left_.empty() || left_.front() != c) return false;
    left_.remove_prefix(1);
    return true;
  }
  /// "EST" or "<+1030>".
  bool name() {
    const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
    if (take('<')) {
      const auto end = left_.find('>');
      if (end == left_.npos) return false;
      left_.remove_prefix(end + 1);
      return true;
    }
    std::size_t size = 0;
    while (size < left_.size() && is_letter(left_[size])) ++size;
    left_.remove_prefix(size);
    return size >= 3;
  }
  std::optional<int> number(int low, int high) {
    std::size_t size = 0;
    while (size < left_.size() && size < 4 && left_[size] >= '0' && left_[size] <= '9') ++size;
    const auto value = parse_unsigned(left_.substr(0, size));
    if (!value || static_cast<int>(*value) < low || static_cast<int>(*value) > high) return std::nullopt;
    left_.remove_prefix(size);
    return static_cast<int>(*value);
  }
  /// "5", "-10:30", "2:00:00".
  std::optional<chrono::seconds> time() {
    const bool negative = take('-');
    if (!negative) take('+');
    const auto hours = number(0, 167);
    if (!hours) return std::nullopt;
    chrono::seconds value = chrono::hours(*hours);
    for (const auto unit : {chrono::seconds(60), chrono::seconds(1)}) {
      if (!take(':')) break;
      const auto part = number(0, 59);
      if (!part) return std::nullopt;
      value += *part * unit;
    }
    return negative ? -value : value;
  }

 private:
  std::string_view left_;
};

}  // namespace

struct TimeZone::Footer {
  static std::optional<ChangeRule> change(TzReader& reader) {
    ChangeRule rule;
    if (!reader.take(',')) return std::nullopt;
    std::optional<int> number;
    if (reader.take('M')) {
      const auto month = reader.number(1, 12);
      const auto week = month && reader.take('.') ? reader.number(1, 5) : std::nullopt;
      number = week && reader.take('.') ? reader.number(0, 6) : std::nullopt;
      if (!number) return std::nullopt;
      rule.month = *month;
      rule.week = *week;
    } else if (reader.take('J')) {
      rule.day = ChangeRule::Day::julian;
      number = reader.number(1, 365);
    } else {
      rule.day = ChangeRule::Day::zero_based;
      number = reader.number(0, 365);
    }
    if (!number) return std::nullopt;
    rule.number = *number;
    if (!reader.take('/')) return rule;
    const auto time = reader.time();
    if (!time) return std::nullopt;
    rule.time = *time;
    return rule;
  }

  static std::optional<Rule> parse(std::string_view text) {
    TzReader reader(text);
    Rule rule;
    if (!reader.name()) return std::nullopt;
    const auto standard = reader.time();
    if (!standard) return std::nullopt;
    rule.standard = rule.daylight = -*standard;  // POSIX counts to the west
    if (reader.at_end()) return chrono::abs(rule.standard) > offset_max ? std::nullopt : std::optional(rule);
    if (!reader.name()) return std::nullopt;
    rule.daylight = rule.standard + chrono::hours(1);
    TzReader before = reader;
    if (const auto daylight = reader.time())
      rule.daylight = -*daylight;
    else
      reader = before;
    if (chrono::abs(rule.standard) > offset_max || chrono::abs(rule.daylight) > offset_max) return std::nullopt;
    const auto first = change(reader);
    const auto second = first ? change(reader) : std::nullopt;
    if (!second || !reader.at_end()) return std::nullopt;
    rule.changes = {*first, *second};
    return rule;
  }
};

chrono::sys_seconds TimeZone::ChangeRule::in(chrono::year year) const {
  using namespace chrono;
  if (day == Day::month_week_day) {
    const weekday wanted(static_cast<unsigned>(number));
    const year_month first = year / static_cast<unsigned>(month);
    const sys_days date =
        week == 5 ? sys_days(first / wanted[last]) : sys_days(first / wanted[static_cast<unsigned>(week)]);
    return date + time;
  }
  const sys_days january(year / 1 / 1);
  if (day == Day::zero_based) return january + days(number) + time;
  // Julian days never count 29 February.
  return january + days(number - 1 + (year.is_leap() && number >= 60 ? 1 : 0)) + time;
}

chrono::seconds TimeZone::Rule::offset_at(chrono::sys_seconds time) const {
  if (!changes) return standard;
  const auto year = chrono::year_month_day(chrono::floor<chrono::days>(time + standard)).year();
  const auto begin = (*changes)[0].in(year)-standard;
  const auto end = (*changes)[1].in(year)-daylight;
  const bool saving = begin < end ? time >= begin && time < end : time >= begin || time < end;
  return saving ? daylight : standard;
}

Result<TimeZone> TimeZone::parse(std::string_view bytes) {
  auto head = TzifHead::parse(bytes);
  if (!head) return fail(std::move(head.error()));
  std::size_t time_size = 4;
  if (head->version >= '2') {  // the same again after it, with eight bytes a time
    const auto skipped = head_bytes + head->data_bytes(4);
    if (skipped > bytes.size()) return corrupt("cut short");
    bytes.remove_prefix(skipped);
    head = TzifHead::parse(bytes);
    if (!head) return fail(std::move(head.error()));
    time_size = 8;
  }
  bytes.remove_prefix(head_bytes);
  const auto data_bytes = head->data_bytes(time_size);
  if (bytes.size() < data_bytes) return corrupt("cut short");
  const auto indices = head->time_count * time_size;
  const auto types = indices + head->time_count;
  const auto offset_of = [&](std::size_t type) {
    return static_cast<std::int32_t>(number_at(bytes, types + type * 6, 4));
  };
  TimeZone zone;
  zone.first_offset_ = offset_of(0);
  for (std::size_t i = 0; i < head->time_count; ++i) {
    const auto time = number_at(bytes, i * time_size, time_size);
    const auto type = static_cast<unsigned char>(bytes[indices + i]);
    if (type >= head->type_count) return corrupt("a transition to a type that is not there");
    if (!zone.transitions_.empty() && time <= zone.transitions_.back()) return corrupt("transitions out of order");
    zone.transitions_.push_back(time);
    zone.offsets_.push_back(offset_of(type));
  }
  for (std::size_t type = 0; type < head->type_count; ++type)
    if (chrono::abs(chrono::seconds(offset_of(type))) > offset_max) return corrupt("an offset of more than 26 hours");
  auto footer = bytes.substr(data_bytes);
  if (time_size == 4 || !footer.starts_with('\n')) return zone;
  footer.remove_prefix(1);
  footer = footer.substr(0, footer.find('\n'));
  if (footer.empty()) return zone;
  zone.rule_ = Footer::parse(footer);
  if (!zone.rule_) return corrupt("the rule '" + printable(footer) + "' is none");
  return zone;
}

Result<TimeZone> TimeZone::find(std::string_view name) {
  if (name.empty() || name == "UTC") return TimeZone();
  if (!is_time_zone(name)) return fail(Errc::not_found, "unknown time zone " + printable(name));
  const std::filesystem::path path =
      name == "Local" ? std::filesystem::path("/etc/localtime") : std::filesystem::path("/usr/share/zoneinfo") / name;
  std::ifstream file(path, std::ios::binary);
  if (!file && name == "Local") return TimeZone();  // no such file means UTC (localtime(5))
  std::string bytes;
  bytes.resize(file_bytes_max);
  file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<std::size_t>(file.gcount()));
  auto zone = parse(bytes);
  if (!zone) return fail(std::move(zone.error()).within(path.string()));
  return zone;
}

chrono::seconds TimeZone::offset_at(chrono::sys_seconds time) const {
  const auto instant = time.time_since_epoch().count();
  const auto next = std::ranges::upper_bound(transitions_, instant);
  if (next == transitions_.begin())
    return transitions_.empty() && rule_ ? rule_->offset_at(time) : chrono::seconds(first_offset_);
  if (next == transitions_.end() && rule_) return rule_->offset_at(time);
  return chrono::seconds(offsets_[static_cast<std::size_t>(next - transitions_.begin()) - 1]);
}

}  // namespace wick::model
