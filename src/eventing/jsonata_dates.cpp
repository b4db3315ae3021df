// $now, $millis, $fromMillis and $toMillis: ISO 8601 and pictures (XPath F&O 9.8.4). A time without a zone is UTC.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>

#include "eventing/jsonata_functions.hpp"
#include "eventing/jsonata_unicode.hpp"

namespace wick::eventing::jsonata {

namespace {

using Days = std::chrono::sys_days;
constexpr double day_millis = 86'400'000, week_millis = 7 * day_millis;
constexpr double millis_max = 8.64e15;  // what a Date of JavaScript holds
constexpr std::string_view day_names[] = {"",         "Monday", "Tuesday",  "Wednesday",
                                          "Thursday", "Friday", "Saturday", "Sunday"};
constexpr std::string_view month_names[] = {"January", "February", "March",     "April",   "May",      "June",
                                            "July",    "August",   "September", "October", "November", "December"};
constexpr std::string_view iso_picture = "[Y0001]-[M01]-[D01]T[H01]:[m01]:[s01].[f001][Z01:01t]";
constexpr std::string_view numbered = "YMDdFWwXxHhmsf";

/// Date.UTC: months and days past their end run on.
double utc(double year, double month, double day) {
  const double months = year * 12 + month;
  const double whole_year = std::floor(months / 12);
  if (std::isnan(months) || std::abs(whole_year) > 300'000) return std::nan("");
  const auto first = std::chrono::year_month_day(
      std::chrono::year(static_cast<int>(whole_year) % 32'000),
      std::chrono::month(static_cast<unsigned>(months - whole_year * 12) + 1), std::chrono::day(1));
  // std::chrono::year ends at 32767: cycles of 400 years are 146097 days.
  const double cycles = std::trunc(whole_year / 32'000) * 32'000 / 400;
  return (static_cast<double>(Days(first).time_since_epoch().count()) + cycles * 146'097 + day - 1) * day_millis;
}

struct Civil {
  double year, month, day;  // month 0..11
  double millis;            // since the epoch
  double in_day;            // milliseconds

  explicit Civil(double at) : millis(at) {
    const double days = std::floor(at / day_millis);
    in_day = at - days * day_millis;
    const double cycles = std::floor(days / 146'097);
    const std::chrono::year_month_day date(Days(std::chrono::days(static_cast<int>(days - cycles * 146'097))));
    year = static_cast<int>(date.year()) + cycles * 400;
    month = static_cast<unsigned>(date.month()) - 1;
    day = static_cast<unsigned>(date.day());
  }
  double midnight() const { return millis - in_day; }
  int weekday() const {  // Monday is 1
    return static_cast<int>(std::fmod(std::fmod(std::floor(millis / day_millis) + 3, 7) + 7, 7)) + 1;
  }
};

/// Of the week that has the first Thursday of a year (or month, ISO 8601 for both).
double first_week(double year, double month) {
  const double first = utc(year, month, 1);
  const int weekday = Civil(first).weekday();
  return weekday > 4 ? first + (8 - weekday) * day_millis : first - (weekday - 1) * day_millis;
}

double weeks_between(double start, double end) { return (end - start) / week_millis + 1; }

double week_in(const Civil& date, bool of_year) {
  const double step = of_year ? 12 : 1, month = of_year ? 0 : date.month;
  double week = weeks_between(first_week(date.year, month), date.midnight());
  if (week > (of_year ? 52 : 4)) {
    if (date.midnight() >= first_week(date.year, month + step)) week = 1;
  } else if (week < 1) {
    week = weeks_between(first_week(date.year, month - step), date.midnight());
  }
  return std::floor(week);
}

double fragment(const Civil& date, char component) {
  switch (component) {
    case 'Y':
      return date.year;
    case 'M':
      return date.month + 1;
    case 'D':
      return date.day;
    case 'd':
      return (date.midnight() - utc(date.year, 0, 1)) / day_millis + 1;
    case 'F':
      return date.weekday();
    case 'W':
    case 'w':
      return week_in(date, component == 'W');
    case 'X':
      if (date.millis < first_week(date.year, 0)) return date.year - 1;
      return date.millis >= first_week(date.year + 1, 0) ? date.year + 1 : date.year;
    case 'x':
      if (date.millis < first_week(date.year, date.month)) return date.month == 0 ? 12 : date.month;
      if (date.millis >= first_week(date.year, date.month + 1)) return date.month == 11 ? 1 : date.month + 2;
      return date.month + 1;
    case 'H':
      return std::floor(date.in_day / 3'600'000);
    case 'h': {
      const double hour = std::fmod(std::floor(date.in_day / 3'600'000), 12);
      return hour == 0 ? 12 : hour;
    }
    case 'P':
      return date.in_day >= 12 * 3'600'000.0 ? 1 : 0;
    case 'm':
      return std::fmod(std::floor(date.in_day / 60'000), 60);
    case 's':
      return std::fmod(std::floor(date.in_day / 1000), 60);
    case 'f':
      return std::fmod(date.in_day, 1000);
    default:
      return 0;
  }
}

struct Part {
  std::string literal;
  char component = 0;  // 0: a literal
  std::string presentation;
  char modifier = 0;
  enum class Names { none, lower, upper, title } names = Names::none;
  std::optional<IntegerPicture> number;
  std::optional<int> width_min, width_max;
  int year_digits = -1;
};

std::optional<int> width_of(std::string_view text) {
  if (text.empty() || text == "*") return std::nullopt;
  int width = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), width).ec != std::errc()) return std::nullopt;
  return std::clamp(width, 0, 1000);
}

std::string default_presentation(char component) {
  switch (component) {
    case 'F':
    case 'P':
    case 'C':
    case 'E':
      return "n";
    case 'm':
    case 's':
      return "01";
    case 'Z':
    case 'z':
      return "01:01";
    default:
      if (numbered.find(component) != numbered.npos && component != '\0') return "1";
      throw Fault{.code = "D3132", .value = std::string(1, component)};
  }
}

void read_number(Part& part) {
  auto picture = part.presentation;
  if (part.modifier) picture += std::string(";") + part.modifier;
  part.number = IntegerPicture::read(picture);
  if (part.width_min) part.number->mandatory_digits = std::max(part.number->mandatory_digits, *part.width_min);
  if (part.component != 'Y') return;
  if (part.width_max) {
    part.year_digits = part.number->mandatory_digits = *part.width_max;
  } else if (const int digits = part.number->mandatory_digits + part.number->optional_digits; digits >= 2) {
    part.year_digits = digits;
  }
}

Part read_marker(std::string_view text) {
  std::string marker;
  for (const char c : text)
    if (std::string_view(" \t\n\r\v\f").find(c) == std::string_view::npos) marker += c;
  Part part;
  if (marker.empty()) throw Fault{.code = "D3132", .value = ""};
  part.component = marker.front();
  auto presentation = marker.substr(1);
  if (const auto comma = marker.rfind(','); comma != marker.npos) {
    const auto width = std::string_view(marker).substr(comma + 1);
    const auto dash = width.find('-');
    part.width_min = width_of(width.substr(0, dash));
    if (dash != width.npos) part.width_max = width_of(width.substr(dash + 1));
    presentation = comma > 1 ? marker.substr(1, comma - 1) : std::string();
  }
  if (presentation.size() > 1 && std::string_view("atco").find(presentation.back()) != std::string_view::npos) {
    part.modifier = presentation.back();
    presentation.pop_back();
  }
  part.presentation = presentation.empty() ? default_presentation(part.component) : presentation;
  if (part.presentation.front() == 'n')
    part.names = Part::Names::lower;
  else if (part.presentation.front() == 'N')
    part.names = part.presentation.starts_with("Nn") ? Part::Names::title : Part::Names::upper;
  else if (numbered.find(part.component) != numbered.npos)
    read_number(part);
  if (part.component == 'Z' || part.component == 'z') part.number = IntegerPicture::read(part.presentation);
  return part;
}

std::vector<Part> read_picture(std::string_view picture) {
  std::vector<Part> parts;
  const auto add_literal = [&](std::string_view text) {
    if (text.empty()) return;
    std::string literal;
    for (std::size_t i = 0; i < text.size(); ++i) {
      literal += text[i];
      if (text.substr(i, 2) == "]]") ++i;
    }
    parts.push_back({.literal = std::move(literal), .presentation = {}});
  };
  std::size_t start = 0;
  for (auto open = picture.find('['); open != picture.npos; open = picture.find('[', start)) {
    add_literal(picture.substr(start, open - start));
    if (picture.substr(open, 2) == "[[") {
      parts.push_back({.literal = "[", .presentation = {}});
      start = open + 2;
      continue;
    }
    const auto close = picture.find(']', open);
    if (close == picture.npos) throw Fault{.code = "D3135"};
    auto part = read_marker(picture.substr(open + 1, close - open - 1));
    // Two numbers with nothing between them: how wide the first is must be known to read it.
    const bool plain = part.number && part.component != 'Z' && part.component != 'z';
    if (plain && !parts.empty() && parts.back().number)
      parts.back().number->parse_width = parts.back().number->mandatory_digits;
    parts.push_back(std::move(part));
    start = close + 1;
  }
  add_literal(picture.substr(std::min(start, picture.size())));
  return parts;
}

std::string zone_text(const Part& part, double hours, double minutes) {
  const double offset = hours * 100 + minutes;
  std::string text;
  if (part.number->every > 0) {
    text = part.number->format(offset);
  } else if (const int digits = part.number->mandatory_digits; digits == 1 || digits == 2) {
    text = part.number->format(hours);
    if (minutes != 0) text += ":" + IntegerPicture::read("00").format(minutes);
  } else if (digits == 3 || digits == 4) {
    text = part.number->format(offset);
  } else {
    throw Fault{.code = "D3134", .value = digits};
  }
  if (offset >= 0) text = "+" + text;
  if (part.component == 'z') text = "GMT" + text;
  return offset == 0 && part.modifier == 't' ? "Z" : text;
}

std::string part_text(const Part& part, const Civil& date, double hours, double minutes) {
  if (part.component == 'Z' || part.component == 'z') return zone_text(part, hours, minutes);
  if (part.component == 'C' || part.component == 'E') return "ISO";
  double value = fragment(date, part.component);
  if (part.component == 'P') {
    const bool upper = part.names == Part::Names::upper;
    return value == 1 ? (upper ? "PM" : "pm") : (upper ? "AM" : "am");
  }
  if (numbered.find(part.component) == numbered.npos) return {};
  if (part.component == 'Y' && part.year_digits >= 0) value = std::fmod(value, std::pow(10, part.year_digits));
  if (part.names == Part::Names::none || part.component == 'f')
    return part.number ? part.number->format(value)
                       : throw Fault{.code = "D3133", .value = std::string(1, part.component)};
  std::string name;
  if (part.component == 'M' || part.component == 'x')
    name = month_names[static_cast<std::size_t>(value) - 1];
  else if (part.component == 'F')
    name = day_names[static_cast<std::size_t>(value)];
  else
    throw Fault{.code = "D3133", .value = std::string(1, part.component)};
  if (part.names == Part::Names::upper) name = to_upper_text(name);
  if (part.names == Part::Names::lower) name = to_lower_text(name);
  return part.width_max ? name.substr(0, static_cast<std::size_t>(*part.width_max)) : name;
}

Value formatted(Call& call, double millis, const Value& picture, const Value& zone) {
  double hours = 0, minutes = 0;
  if (zone.is(Type::text)) {
    const auto& text = zone.text();
    int offset = 0;
    const auto from = text.starts_with('+') ? text.data() + 1 : text.data();
    if (std::from_chars(from, text.data() + text.size(), offset).ec != std::errc()) offset = 0;
    hours = std::floor(offset / 100.0);
    minutes = offset % 100;
  }
  const auto parts = read_picture(picture.is(Type::text) ? std::string_view(picture.text()) : iso_picture);
  const double at = std::trunc(millis + (60 * hours + minutes) * 60'000);
  if (!(std::abs(at) <= millis_max)) throw Fault{.code = "D3110", .value = millis};
  const Civil date(at);
  std::string out;
  for (const auto& part : parts) out += part.component ? part_text(part, date, hours, minutes) : part.literal;
  return call.evaluation.text(std::move(out));
}

double now_millis(const Call& call) {
  return static_cast<double>(
      std::chrono::floor<std::chrono::milliseconds>(call.evaluation.now().time_since_epoch()).count());
}

Value now_function(Call& call) { return formatted(call, now_millis(call), call.at(0), call.at(1)); }
Value millis_function(Call& call) { return now_millis(call); }

Value from_millis(Call& call) {
  if (call.at(0).missing()) return {};
  return formatted(call, call.number(0), call.at(1), call.at(2));
}

/// yyyy[-mm[-dd]][Thh:mm:ss][.fff][zone]; NaN for a date that is none.
Value parse_iso(const Value& value) {
  static const Regex form(
      R"(^(\d{4})(?:-([01]\d))?(?:-([0-3]\d))?(?:T([0-2]\d):([0-5]\d):([0-5]\d))?(\.\d+)?([+-][0-2]\d:?[0-5]\d|Z)?$)",
      "");
  const auto& text = value.text();
  const auto match = form.find(text, 0);
  if (!match) throw Fault{.code = "D3110", .value = value};
  const auto group = [&](std::size_t index) -> std::string_view {
    const auto& place = match->groups[index - 1];
    return place ? std::string_view(text).substr(place->first, place->second - place->first) : std::string_view();
  };
  const auto number = [&](std::size_t index, double otherwise) {
    double out = otherwise;
    const auto digits = group(index);
    std::from_chars(digits.data(), digits.data() + digits.size(), out);
    return out;
  };
  const double month = number(2, 1), day = number(3, 1), hour = number(4, 0);
  const double midnight = utc(number(1, 0), month - 1, day);
  if (month < 1 || month > 12 || day < 1 || day > 31 || hour > 24) return std::nan("");
  if (hour == 24 && (number(5, 0) > 0 || number(6, 0) > 0)) return std::nan("");
  double millis =
      midnight + ((hour * 60 + number(5, 0)) * 60 + number(6, 0)) * 1000 + std::floor(number(7, 0) * 1000 + 1e-6);
  if (const auto zone = group(8); zone.size() > 1) {
    const auto two = [&](std::size_t place) { return (zone[place] - '0') * 10 + (zone[place + 1] - '0'); };
    const int minutes = two(1) * 60 + two(zone.size() - 2);
    millis -= (zone[0] == '-' ? -minutes : minutes) * 60'000.0;
  }
  return millis;
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::string_view(".*+?^${}()|[]\\").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

std::string expression_of(const Part& part) {
  if (!part.component) return escaped(part.literal);
  if (part.component == 'Z' || part.component == 'z') {
    std::string out = part.component == 'z' ? "GMT[-+][0-9]+" : "[-+][0-9]+";
    if (part.number->every > 0) {
      std::string separator;
      out += escaped(to_utf8(std::u32string(1, part.number->separators.front().character))) + "[0-9]+";
    }
    return out;
  }
  if (part.component == 'f') return "[0-9]+";
  if (part.number) return part.number->expression();
  if (std::string_view("MxFP").find(part.component) == std::string_view::npos)
    throw Fault{.code = "D3133", .value = std::string(1, part.component)};
  return "[a-zA-Z]+";
}

double zone_of(const Part& part, std::string_view text) {
  if (part.component == 'z') text.remove_prefix(3);
  const auto number = [](std::string_view digits) {
    if (digits.starts_with('+')) digits.remove_prefix(1);
    int out = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), out);
    return static_cast<double>(out);
  };
  if (part.number->every > 0) {
    const auto separator = to_utf8(std::u32string(1, part.number->separators.front().character));
    const auto place = text.find(separator);
    return number(text.substr(0, place)) * 60 + number(text.substr(place + separator.size()));
  }
  if (text.size() <= 3) return number(text) * 60;
  return number(text.substr(0, 3)) * 60 + number(text.substr(3));
}

std::optional<double> name_value(const Part& part, std::string_view text) {
  if (part.component == 'P') {
    if (text == "am" || text == "AM") return 0;
    if (text == "pm" || text == "PM") return 1;
    return std::nullopt;
  }
  const auto cut = [&](std::string_view name) {
    return part.width_max && *part.width_max > 0 ? name.substr(0, static_cast<std::size_t>(*part.width_max)) : name;
  };
  std::optional<double> found;
  if (part.component == 'F') {
    for (std::size_t i = 1; i < std::size(day_names); ++i)
      if (cut(day_names[i]) == text) found = static_cast<double>(i);
  } else {
    for (std::size_t i = 0; i < std::size(month_names); ++i)
      if (cut(month_names[i]) == text) found = static_cast<double>(i + 1);
  }
  return found;
}

std::optional<double> part_value(const Part& part, std::string_view text) {
  if (part.component == 'Z' || part.component == 'z') return zone_of(part, text);
  if (part.component == 'f') {
    double out = 0;
    const auto digits = "0." + std::string(text.substr(0, 3));
    std::from_chars(digits.data(), digits.data() + digits.size(), out);
    return out * 1000;
  }
  if (part.number) return part.number->parse(text);
  return name_value(part, text);
}

/// Which of the alternatives the given parts belong to: `mask` of them, all within `wanted`.
bool belongs(unsigned mask, unsigned wanted) { return !(~wanted & mask) && (wanted & mask); }

Value time_of(std::map<char, double> given, const Civil& now) {
  if (given.empty()) return {};
  const auto mask_of = [&](std::string_view components) {
    unsigned mask = 0;
    for (const char c : components) {
      const auto found = given.find(c);
      mask = mask << 1 | (found != given.end() && found->second != 0 && !std::isnan(found->second) ? 1u : 0u);
    }
    return mask;
  };
  const auto date = mask_of("YXMxWwdD"), time = mask_of("PHhmsf");
  const bool month_day = belongs(date, 0b10100001), year_day = !month_day && belongs(date, 0b10000010);
  const bool month_week = belongs(date, 0b01010100), year_week = !month_week && belongs(date, 0b01001000);
  const bool half_day = !belongs(time, 0b010111) && belongs(time, 0b101111);
  const std::string order = std::string(year_day     ? "YD"
                                        : month_week ? "XxwF"
                                        : year_week  ? "XWF"
                                                     : "YMD") +
                            (half_day ? "Phmsf" : "Hmsf");
  bool started = false, ended = false;
  for (const char c : order) {
    if (given.contains(c)) {
      started = true;
      if (ended) throw Fault{.code = "D3136"};
    } else if (started) {
      given[c] = std::string_view("MDd").find(c) != std::string_view::npos ? 1 : 0;
      ended = true;
    } else {
      given[c] = fragment(now, c);
    }
  }
  if (month_week || year_week) throw Fault{.code = "D3136"};
  double year = given['Y'];
  if (year >= 0 && year <= 99) year += 1900;  // as Date.UTC
  double month = given.contains('M') && given['M'] > 0 ? given['M'] - 1 : 0, day = given['D'];
  if (year_day) {
    month = 0;
    day = given['d'];
  }
  double hour = given['H'];
  if (half_day) hour = (given['h'] == 12 ? 0 : given['h']) + (given['P'] == 1 ? 12 : 0);
  double millis = utc(year, month, day) + ((hour * 60 + given['m']) * 60 + given['s']) * 1000 + given['f'];
  const double zone = given.contains('Z') && given['Z'] != 0 ? given['Z'] : given.contains('z') ? given['z'] : 0;
  millis -= zone * 60'000;
  return std::trunc(millis);
}

Value to_millis(Call& call) {
  if (call.at(0).missing()) return {};
  const auto& text = call.text(0);
  if (call.at(1).missing()) return parse_iso(call.at(0));
  const auto parts = read_picture(call.text(1));
  std::string all = "^";
  for (const auto& part : parts) all += "(" + expression_of(part) + ")";
  const Regex expression(all + "$", "i");
  const auto match = expression.find(text, 0);
  if (!match) return {};
  std::map<char, double> given;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto& place = match->groups[i];
    if (!parts[i].component || !place) continue;
    const auto value = part_value(parts[i], std::string_view(text).substr(place->first, place->second - place->first));
    if (value) given[parts[i].component] = *value;
  }
  return time_of(std::move(given), Civil(now_millis(call)));
}

}  // namespace

std::vector<Builtin> date_functions() {
  return {{"now", "<s?s?:s>", 2, 2, now_function},
          {"millis", "<:n>", 0, 0, millis_function},
          {"fromMillis", "<n-s?s?:s>", 3, 3, from_millis},
          {"toMillis", "<s-s?:n>", 2, 2, to_millis}};
}

}  // namespace wick::eventing::jsonata
