#include "eventing/jsonata_signature.hpp"

#include <algorithm>

namespace wick::eventing::jsonata {

namespace {

constexpr std::string_view any_letters = "asnblfom", json_letters = "asnblom";

char letter_of(const Value& value) {
  switch (value.type()) {
    case Type::missing:
      return 'm';
    case Type::null:
      return 'l';
    case Type::boolean:
      return 'b';
    case Type::number:
      return 'n';
    case Type::text:
      return 's';
    case Type::array:
      return 'a';
    case Type::object:
      return 'o';
    case Type::function:
      return 'f';
  }
  return 'm';
}

std::string plural_of(char letter) {
  switch (letter) {
    case 'a':
      return "arrays";
    case 'b':
      return "booleans";
    case 'f':
      return "functions";
    case 'n':
      return "numbers";
    case 'o':
      return "objects";
    case 's':
      return "strings";
    default:
      return "values";
  }
}

std::size_t closing(std::string_view text, std::size_t start, char open, char close) {
  int depth = 1;
  for (auto i = start + 1; i < text.size(); ++i) {
    if (text[i] == close && --depth == 0) return i;
    if (text[i] == open) ++depth;
  }
  return text.size();
}

}  // namespace

Signature::Signature(std::string_view text) {
  for (std::size_t i = 1; i < text.size() && text[i] != ':'; ++i) {
    const char c = text[i];
    const auto add = [&](std::string_view letters, char kind) {
      parameters_.push_back({.letters = std::string(letters), .kind = kind, .of = {}});
    };
    switch (c) {
      case 's':
      case 'n':
      case 'b':
      case 'l':
      case 'o':
        add(std::string{c, 'm'}, c);
        break;
      case 'a':
      case 'x':
        add(any_letters, c);
        break;
      case 'f':
        add("f", c);
        break;
      case 'j':
        add(json_letters, c);
        break;
      case '(': {
        const auto end = closing(text, i, '(', ')');
        const auto choice = text.substr(i + 1, end - i - 1);
        if (choice.find('<') != choice.npos) throw Fault{.code = "S0402", .position = i, .value = std::string(choice)};
        add(std::string(choice) + "m", '(');
        i = end;
        break;
      }
      case '-':
      case '?':
      case '+':
        if (parameters_.empty()) break;
        if (c == '-') parameters_.back().takes_context = true;
        (c == '+' ? parameters_.back().repeats : parameters_.back().optional) = true;
        break;
      case '<': {
        const char kind = parameters_.empty() ? '\0' : parameters_.back().kind;
        if (kind != 'a' && kind != 'f') throw Fault{.code = "S0401", .position = i, .value = std::string(1, kind)};
        const auto end = closing(text, i, '<', '>');
        parameters_.back().of = text.substr(i + 1, end - i - 1);
        i = end;
        break;
      }
      default:
        break;
    }
  }
}

/// Where each parameter begins to take values, greedily, as a regular expression would.
struct Signature::Search {
  std::string letters;
  std::vector<std::size_t> counts;
  std::vector<bool> failed;  // by letter and parameter: looked at once
};

bool Signature::matches(Search& search, std::size_t letter, std::size_t parameter) const {
  if (parameter == parameters_.size()) return letter == search.letters.size();
  const auto place = letter * parameters_.size() + parameter;
  if (search.failed[place]) return false;
  const auto& one = parameters_[parameter];
  const auto rest = std::string_view(search.letters).substr(letter);
  std::size_t most = 0;
  while (most < rest.size() && (most == 0 || one.repeats) && one.letters.find(rest[most]) != std::string::npos) ++most;
  const std::size_t least = one.optional ? 0 : 1;
  for (auto count = most + 1; count-- > least;) {
    search.counts[parameter] = count;
    if (matches(search, letter + count, parameter + 1)) return true;
  }
  search.failed[place] = true;
  return false;
}

Value Signature::fit_array(const Parameter& parameter, Value value, char letter, std::size_t count,
                           std::size_t index) const {
  if (letter == 'm') return {};
  if (!parameter.of.empty()) {
    bool fits = true;
    if (letter != 'a') {
      fits = count == 1 && parameter.of == std::string_view(&letter, 1);
    } else if (const auto& items = value.array().items; !items.empty()) {
      const char first = letter_of(items.front());
      fits = first == parameter.of.front() &&
             std::ranges::all_of(items, [&](const Value& item) { return letter_of(item) == first; });
    }
    if (!fits)
      throw Fault{.code = "T0412",
                  .value = value,
                  .value2 = plural_of(parameter.of.front()),
                  .index = static_cast<int>(index) + 1};
  }
  if (letter == 'a') return value;
  return new_array({std::move(value)});
}

std::vector<Value> Signature::fit(std::vector<Value> given, const Value& context) const {
  Search search{.letters = {},
                .counts = std::vector<std::size_t>(parameters_.size()),
                .failed = std::vector<bool>((given.size() + 1) * parameters_.size())};
  for (const auto& value : given) search.letters += letter_of(value);
  const auto& [letters, counts, failed] = search;
  if (!matches(search, 0, 0)) {
    // The first argument that no parameter takes.
    std::size_t good = 0;
    for (const auto& one : parameters_) {
      std::size_t taken = 0;
      while (good + taken < letters.size() && (taken == 0 || one.repeats) &&
             one.letters.find(letters[good + taken]) != std::string::npos)
        ++taken;
      if (taken == 0 && !one.optional) break;
      good += taken;
    }
    throw Fault{
        .code = "T0410", .value = good < given.size() ? given[good] : Value(), .index = static_cast<int>(good) + 1};
  }
  std::vector<Value> out;
  std::size_t next = 0;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const auto& one = parameters_[i];
    if (counts[i] == 0) {
      if (one.takes_context) {
        if (one.letters.find(letter_of(context)) == std::string::npos)
          throw Fault{.code = "T0411", .value = context, .index = static_cast<int>(next) + 1};
        out.push_back(context);
      } else {
        out.push_back(next < given.size() ? given[next] : Value());
        ++next;
      }
    }
    for (std::size_t taken = 0; taken < counts[i]; ++taken, ++next)
      out.push_back(one.kind == 'a' ? fit_array(one, given[next], letters[next], counts[i], next) : given[next]);
  }
  return out;
}

}  // namespace wick::eventing::jsonata
