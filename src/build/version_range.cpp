#include "version_range.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "wick/base/text.hpp"

namespace wick::build {

namespace {

constexpr std::size_t range_bytes_max = 200;
constexpr std::size_t number_digits_max = 9;
constexpr std::size_t numbers_max = 4;

struct RangeVersion {
  std::vector<int> numbers;  // as many as were given; empty: any
};

bool is_decimal(char c) { return c >= '0' && c <= '9'; }

/// "v18.2.x-slim" is 18.2; "*" and "x" are empty.
std::optional<RangeVersion> version_of(std::string_view text) {
  if (text.starts_with('v') || text.starts_with('V')) text.remove_prefix(1);
  if (text == "*" || text == "x" || text == "X") return RangeVersion{};
  RangeVersion out;
  while (!text.empty() && is_decimal(text.front()) && out.numbers.size() < numbers_max) {
    std::size_t digits = 0;
    while (digits < text.size() && is_decimal(text[digits])) ++digits;
    if (digits > number_digits_max) return std::nullopt;
    out.numbers.push_back(std::stoi(std::string(text.substr(0, digits))));
    text.remove_prefix(digits);
    if (!text.starts_with('.')) break;
    text.remove_prefix(1);
  }
  if (out.numbers.empty()) return std::nullopt;
  return out;
}

int number_at(const RangeVersion& version, std::size_t index) {
  return index < version.numbers.size() ? version.numbers[index] : 0;
}

/// Of as many numbers as `count`.
int compare_versions(const RangeVersion& a, const RangeVersion& b, std::size_t count = numbers_max) {
  for (std::size_t i = 0; i < count; ++i)
    if (number_at(a, i) != number_at(b, i)) return number_at(a, i) < number_at(b, i) ? -1 : 1;
  return 0;
}

/// How many numbers of `wanted` must stay as they are.
std::size_t numbers_held(std::string_view operation, const RangeVersion& wanted) {
  const auto given = wanted.numbers.size();
  if (operation == "~") return std::min<std::size_t>(given, 2);
  if (operation != "^") return given > 1 ? given - 1 : given;  // ~> and ~=
  for (std::size_t i = 0; i < given; ++i)
    if (wanted.numbers[i] != 0) return i + 1;
  return given;
}

bool comparator_holds(std::string_view operation, const RangeVersion& wanted, const RangeVersion& version) {
  if (wanted.numbers.empty()) return operation != "!=" && operation != "<" && operation != ">";
  const auto order = compare_versions(version, wanted);
  const auto given = wanted.numbers.size();
  const bool begins_with = compare_versions(version, wanted, given) == 0;
  if (operation == ">=") return order >= 0;
  if (operation == ">") return order > 0 && !begins_with;
  if (operation == "<") return order < 0;
  if (operation == "<=") return order <= 0 || begins_with;
  if (operation == "!=") return !begins_with;
  if (operation == "^" || operation.starts_with('~'))
    return order >= 0 && compare_versions(version, wanted, numbers_held(operation, wanted)) == 0;
  return begins_with;  // "", "=", "=="
}

std::string_view take_operator(std::string_view& text) {
  for (const std::string_view each : {">=", "<=", "==", "!=", "~=", "~>", ">", "<", "=", "^", "~"})
    if (text.starts_with(each)) {
      const auto found = text.substr(0, each.size());
      text.remove_prefix(each.size());
      return found;
    }
  return {};
}

/// Words that must hold together; "1.2 - 1.4" is one of them.
std::optional<bool> all_hold(std::string_view text, const RangeVersion& version) {
  std::vector<std::string_view> words;
  std::size_t begin = 0;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && text[i] != ' ' && text[i] != ',') continue;
    if (i > begin) words.push_back(text.substr(begin, i - begin));
    begin = i + 1;
  }
  if (words.empty()) return std::nullopt;
  if (words.size() == 3 && words[1] == "-") {
    const auto from = version_of(words[0]), to = version_of(words[2]);
    if (!from || !to) return std::nullopt;
    return comparator_holds(">=", *from, version) && comparator_holds("<=", *to, version);
  }
  bool holds = true;
  for (std::size_t i = 0; i < words.size(); ++i) {
    auto word = words[i];
    const auto operation = take_operator(word);
    if (word.empty() && i + 1 < words.size()) word = words[++i];  // ">= 3.0"
    const auto wanted = version_of(word);
    if (!wanted) return std::nullopt;
    holds = holds && comparator_holds(operation, *wanted, version);
  }
  return holds;
}

}  // namespace

std::optional<bool> range_allows(std::string_view range, std::string_view version) {
  const auto have = version_of(trim(version));
  if (!have || range.size() > range_bytes_max) return std::nullopt;
  std::optional<bool> any;
  for (const auto alternative : split(range, '|')) {
    if (trim(alternative).empty() && range.contains("||")) continue;
    const auto holds = all_hold(trim(alternative), *have);
    if (!holds) return std::nullopt;
    any = any.value_or(false) || *holds;
  }
  return any;
}

}  // namespace wick::build
