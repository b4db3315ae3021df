// $match, $contains, $replace and $split, and what a regular expression is when it is called: a function that gives
// the first match, with a function for the next.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "eventing/jsonata_functions.hpp"
#include "eventing/jsonata_unicode.hpp"

namespace wick::eventing::jsonata {

namespace {

constexpr std::uint64_t match_steps = 20;  // what one costs at least

struct Found {
  std::string match;
  std::vector<Value> groups;
  std::size_t start = 0, end = 0;  // bytes
  Value object;
};

/// Goes from match to match, of a regular expression or of a function that behaves like one.
class Matcher {
 public:
  Matcher(Call& call, const Value& function, const Value& subject)
      : call_(call), next_(function), subject_(subject), first_(true) {}

  std::optional<Found> next() {
    if (!next_.is(Type::function)) return std::nullopt;
    std::vector<Value> arguments;
    if (first_) arguments.push_back(subject_);
    first_ = false;
    const auto result = call_.evaluation.apply(next_, std::move(arguments), Value(Null()), call_.frame);
    if (result.missing()) return std::nullopt;
    if (!result.is(Type::object)) throw Fault{.code = "T1010"};
    const auto& object = result.object();
    const auto *match = object.find("match"), *start = object.find("start"), *groups = object.find("groups");
    const auto* next = object.find("next");
    if (!match || !match->is(Type::text) || !start || !start->is(Type::number)) throw Fault{.code = "T1010"};
    Found found{.match = match->text(), .object = result};
    const auto size = subject_.text().size();
    if (next && next->is(Type::function) && next->function().kind == Function::Kind::next_match) {
      found.end = next->function().from;
      found.start = found.end - found.match.size();
    } else {
      const double unit = start->number() > 0 ? std::min(start->number(), 1e9) : 0;
      found.start = byte_of_unit(subject_.text(), static_cast<std::size_t>(unit));
      found.end = std::min(found.start + found.match.size(), size);
    }
    if (groups && groups->is(Type::array)) found.groups = groups->array().items;
    next_ = next ? *next : Value();
    return found;
  }

 private:
  Call& call_;
  Value next_;
  const Value& subject_;
  bool first_;
};

/// nullopt: no limit. Throws the fault of that code for a negative one.
std::optional<double> limit_at(Call& call, std::size_t index, const char* code) {
  if (call.at(index).missing()) return std::nullopt;
  const double limit = call.number(index);
  if (limit < 0) throw Fault{.code = code, .value = limit, .index = static_cast<int>(index) + 1};
  return limit;
}

Value contains_function(Call& call) {
  if (call.at(0).missing() || call.at(1).missing()) return {};
  if (call.at(1).is(Type::text)) return call.text(0).find(call.text(1)) != std::string::npos;
  return Matcher(call, call.at(1), call.at(0)).next().has_value();
}

Value match_function(Call& call) {
  if (call.at(0).missing()) return {};
  const auto limit = limit_at(call, 2, "D3040");
  call.text(0);
  auto result = new_sequence();
  if (limit && *limit <= 0) return result;
  Matcher matcher(call, call.at(1), call.at(0));
  double count = 0;
  for (auto found = matcher.next(); found && (!limit || count < *limit); found = matcher.next(), ++count) {
    Ref<Object> one(new Object);
    call.evaluation.put(*one, "match", found->match);
    call.evaluation.put(*one, "index", *found->object.object().find("start"));
    call.evaluation.put(*one, "groups", new_array(found->groups));
    call.evaluation.push(*result, one);
  }
  return result;
}

/// The replacement text with $0, $1 … filled in.
std::string filled(const std::string& replacement, const Found& found) {
  std::string out;
  std::size_t place = 0;
  for (auto dollar = replacement.find('$'); dollar != replacement.npos; dollar = replacement.find('$', place)) {
    out += replacement.substr(place, dollar - place);
    place = dollar + 1;
    const char c = place < replacement.size() ? replacement[place] : '\0';
    if (c == '$' || c == '0') {
      out += c == '$' ? "$" : found.match;
      ++place;
      continue;
    }
    const auto groups = found.groups.size();
    const auto digits_max = groups == 0 ? 1 : std::to_string(groups).size();
    std::size_t digits = 0;
    while (digits < digits_max && place + digits < replacement.size() && replacement[place + digits] >= '0' &&
           replacement[place + digits] <= '9')
      ++digits;
    if (digits == 0) {
      out += '$';
      continue;
    }
    std::size_t index = 0;
    std::from_chars(replacement.data() + place, replacement.data() + place + digits, index);
    if (index > groups && digits > 1) {
      --digits;
      std::from_chars(replacement.data() + place, replacement.data() + place + digits, index);
    }
    if (index >= 1 && index <= groups && found.groups[index - 1].is(Type::text)) out += found.groups[index - 1].text();
    place += std::to_string(index).size();
  }
  return out + replacement.substr(std::min(place, replacement.size()));
}

std::string replace_text(Call& call, const std::string& text, const std::string& pattern, std::optional<double> limit) {
  if (!call.at(2).is(Type::text)) throw Fault{.code = "D3012", .value = call.at(2)};
  const auto& replacement = call.text(2);
  std::string out;
  std::size_t place = 0;
  double count = 0;
  for (auto found = text.find(pattern); found != text.npos && (!limit || count < *limit);
       found = text.find(pattern, place), ++count) {
    call.evaluation.allocate(found - place + replacement.size());
    call.evaluation.spend(1);
    out += text.substr(place, found - place) + replacement;
    place = found + pattern.size();
  }
  return out + text.substr(place);
}

Value replace_function(Call& call) {
  if (call.at(0).missing()) return {};
  const auto& text = call.text(0);
  const auto& pattern = call.at(1);
  if (pattern.is(Type::text) && pattern.text().empty()) throw Fault{.code = "D3010", .value = pattern, .index = 2};
  const auto limit = limit_at(call, 3, "D3011");
  if (limit && *limit <= 0) return call.at(0);
  if (pattern.is(Type::text)) return Value(replace_text(call, text, pattern.text(), limit));
  std::string out;
  std::size_t place = 0;
  double count = 0;
  Matcher matcher(call, pattern, call.at(0));
  for (auto found = matcher.next(); found && (!limit || count < *limit); found = matcher.next(), ++count) {
    if (found->start >= place) out += text.substr(place, found->start - place);
    std::string by;
    if (call.at(2).is(Type::text)) {
      by = filled(call.text(2), *found);
    } else {
      const auto given = call.evaluation.apply(call.at(2), {found->object}, Value(Null()), call.frame);
      if (!given.is(Type::text)) throw Fault{.code = "D3012", .value = given};
      by = given.text();
    }
    call.evaluation.allocate(by.size() + found->match.size());
    out += by;
    place = found->end;
  }
  return call.evaluation.text(out + text.substr(place));
}

Value split_function(Call& call) {
  if (call.at(0).missing()) return {};
  const auto& text = call.text(0);
  const auto& separator = call.at(1);
  const auto limit = limit_at(call, 2, "D3020");
  auto result = new_array();
  const auto is_full = [&] { return limit && static_cast<double>(result->items.size()) >= *limit; };
  const auto add = [&](std::size_t from, std::size_t to) {
    call.evaluation.push(*result, call.evaluation.text(text.substr(from, to - from)));
  };
  if (limit && *limit < 1) {
    if (*limit <= 0 || separator.is(Type::text)) return result;
  }
  if (!separator.is(Type::text)) {
    std::size_t start = 0;
    Matcher matcher(call, separator, call.at(0));
    for (auto found = matcher.next(); found && !is_full(); found = matcher.next()) {
      add(std::min(start, found->start), found->start);
      start = found->end;
    }
    if (!is_full()) add(start, text.size());
    return result;
  }
  const auto whole_limit = limit ? std::floor(*limit) : HUGE_VAL;
  const auto has_room = [&] { return static_cast<double>(result->items.size()) < whole_limit; };
  if (separator.text().empty()) {
    const auto places = code_point_places(text);
    for (std::size_t i = 0; i + 1 < places.size() && has_room(); ++i) add(places[i], places[i + 1]);
    return result;
  }
  std::size_t start = 0;
  for (auto found = text.find(separator.text()); found != text.npos && has_room();
       found = text.find(separator.text(), start)) {
    add(start, found);
    start = found + separator.text().size();
  }
  if (has_room()) add(start, text.size());
  return result;
}

}  // namespace

Value Evaluation::apply_regex(const Function& function, const Value& subject, std::size_t from) {
  if (!subject.is(Type::text)) return {};
  const auto& text = subject.text();
  const bool is_next = function.kind == Function::Kind::next_match;
  if (is_next && from >= text.size()) return {};
  spend(match_steps + (text.size() - std::min(from, text.size())) / 1024);
  const auto match = function.regex->find(text, from);
  if (!match) return {};
  if (is_next && match->start == match->end)
    throw Fault{.code = "D1004", .position = function.position, .value = function.regex->pattern()};
  // Counted from where the last one ended: many matches in a long text stay linear.
  const double before = is_next ? function.input.number() : 0;
  const auto counted_from = is_next ? from : 0;
  const double start =
      before +
      static_cast<double>(utf16_units(std::string_view(text).substr(counted_from, match->start - counted_from)));
  const auto matched = text.substr(match->start, match->end - match->start);
  const double end = start + static_cast<double>(utf16_units(matched));
  Ref<Object> result(new Object);
  put(*result, "match", this->text(matched));
  put(*result, "start", start);
  put(*result, "end", end);
  auto groups = new_array();
  for (const auto& group : match->groups)
    push(*groups, group ? this->text(text.substr(group->first, group->second - group->first)) : Value());
  put(*result, "groups", groups);
  auto next = new_function(Function::Kind::next_match);
  next->regex = function.regex;
  next->position = function.position;
  next->subject = subject;
  next->from = match->end;
  next->input = end;
  put(*result, "next", next);
  return result;
}

std::vector<Builtin> matching_functions() {
  return {{"match", "<s-f<s:o>n?:a<o>>", 3, 3, match_function},
          {"contains", "<s-(sf):b>", 2, 2, contains_function},
          {"replace", "<s-(sf)(sf)n?:s>", 4, 4, replace_function},
          {"split", "<s-(sf)n?:a<s>>", 3, 3, split_function}};
}

}  // namespace wick::eventing::jsonata
