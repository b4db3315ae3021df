#include "model/cron.hpp"

#include <fmt/format.h>

#include <array>
#include <filesystem>
#include <span>
#include <vector>

#include "wick/base/text.hpp"

namespace wick::model {

namespace {

constexpr std::string_view months[]{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"};
constexpr std::string_view days[]{"sun", "mon", "tue", "wed", "thu", "fri", "sat"};
constexpr std::string_view descriptors[]{"@yearly", "@annually", "@monthly", "@weekly",
                                         "@daily",  "@midnight", "@hourly"};

struct Field {
  std::string_view name;
  unsigned low;
  unsigned high;
  std::span<const std::string_view> words;  // the first is `low`
};
constexpr Field fields[]{{"second", 0, 59, {}},       {"minute", 0, 59, {}},    {"hour", 0, 23, {}},
                         {"day of month", 1, 31, {}}, {"month", 1, 12, months}, {"day of week", 0, 6, days}};

std::optional<unsigned> number_of(std::string_view text, const Field& field) {
  for (std::size_t i = 0; i < field.words.size(); ++i)
    if (iequals(text, field.words[i])) return field.low + static_cast<unsigned>(i);
  const auto number = parse_unsigned(text);
  if (!number || *number > field.high || *number < field.low) return std::nullopt;
  return static_cast<unsigned>(*number);
}

/// "*", "5", "1-5", any of them with "/step".
bool is_part(std::string_view part, const Field& field) {
  const auto slash = part.find('/');
  if (slash != part.npos) {
    const auto step = parse_unsigned(part.substr(slash + 1));
    if (!step || *step == 0) return false;
    part = part.substr(0, slash);
  }
  if (part == "*" || part == "?") return true;
  const auto dash = part.find('-');
  const auto first = number_of(part.substr(0, dash), field);
  if (dash == part.npos) return first.has_value();
  const auto last = number_of(part.substr(dash + 1), field);
  return first && last && *first <= *last;
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
      if (!is_part(part, fields[i + skip]))
        return fmt::format("'{}' is no {}: {} to {}", printable(words[i]), fields[i + skip].name, fields[i + skip].low,
                           fields[i + skip].high);
  return {};
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
