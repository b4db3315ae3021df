// Evaluation. A missing attribute beats every other fault, and gives the zero value of the operation it is in; other
// faults go on with the zero value of the operand (spec 4).
#include <fmt/format.h>

#include <cstdlib>
#include <limits>

#include "cesql_node.hpp"
#include "text_rules.hpp"
#include "wick/base/text.hpp"

namespace wick::eventing::cesql {

namespace {

Outcome evaluate(const Node& node, const CloudEvent& event);

bool is_missing(const Outcome& outcome) { return outcome.fault == Fault::missing_attribute; }

/// The first fault of an operation stays; a missing attribute replaces any.
void note(Outcome& result, const Outcome& operand) {
  if (operand.fault == Fault::none) return;
  if (result.fault != Fault::none && !is_missing(operand)) return;
  result.fault = operand.fault;
  result.detail = operand.detail;
}

template <class T>
struct Cast {
  T value{};
  Outcome faults;  // of the operand and of its cast
};

template <class T>
Cast<T> evaluate_as(const Node& node, const CloudEvent& event, Outcome (*cast)(const AttributeValue&)) {
  Cast<T> result;
  const Outcome operand = evaluate(node, event);
  note(result.faults, operand);
  if (is_missing(operand)) return result;
  const Outcome converted = cast(operand.value);
  note(result.faults, converted);
  result.value = std::get<T>(converted.value);
  return result;
}
auto as_integer(const Node& node, const CloudEvent& event) {
  return evaluate_as<std::int32_t>(node, event, to_integer);
}
auto as_boolean(const Node& node, const CloudEvent& event) { return evaluate_as<bool>(node, event, to_boolean); }

/// `value` as the type that `wanted` has.
Outcome cast_like(const AttributeValue& value, const AttributeValue& wanted) {
  if (std::holds_alternative<bool>(wanted)) return to_boolean(value);
  if (std::holds_alternative<std::int32_t>(wanted)) return to_integer(value);
  return to_string_value(value);
}

Outcome calculate(Operation operation, std::int64_t left, std::int64_t right) {
  std::int64_t value = 0;
  if (operation == Operation::multiply) value = left * right;
  if (operation == Operation::add) value = left + right;
  if (operation == Operation::subtract) value = left - right;
  if (operation == Operation::divide || operation == Operation::remainder) {
    if (right == 0) return {.value = std::int32_t{0}, .fault = Fault::math, .detail = "division by zero"};
    value = operation == Operation::divide ? left / right : left % right;
  }
  if (value < std::numeric_limits<std::int32_t>::min() || value > std::numeric_limits<std::int32_t>::max())
    return {.value = std::int32_t{0}, .fault = Fault::math, .detail = fmt::format("{} has more than 32 bits", value)};
  return {.value = static_cast<std::int32_t>(value)};
}

Outcome arithmetic(const Node& node, const CloudEvent& event) {
  const auto left = as_integer(*node.operands[0], event);
  const auto right = as_integer(*node.operands[1], event);
  Outcome faults = left.faults;
  note(faults, right.faults);
  Outcome result{.value = std::int32_t{0}};
  if (!is_missing(faults)) result = calculate(node.operation, left.value, right.value);
  if (faults.fault != Fault::none) {
    result.fault = faults.fault;
    result.detail = faults.detail;
  }
  return result;
}

Outcome compare(const Node& node, const CloudEvent& event) {
  const auto left = as_integer(*node.operands[0], event);
  const auto right = as_integer(*node.operands[1], event);
  Outcome result{.value = false};
  note(result, left.faults);
  note(result, right.faults);
  if (is_missing(result)) return result;
  switch (node.operation) {
    case Operation::less:
      result.value = left.value < right.value;
      break;
    case Operation::less_or_equal:
      result.value = left.value <= right.value;
      break;
    case Operation::greater:
      result.value = left.value > right.value;
      break;
    default:
      result.value = left.value >= right.value;
  }
  return result;
}

/// The left operand takes the type of the right one (spec 3.6).
Outcome equality(const Node& node, const CloudEvent& event) {
  const Outcome left = evaluate(*node.operands[0], event);
  const Outcome right = evaluate(*node.operands[1], event);
  Outcome result{.value = false};
  note(result, left);
  note(result, right);
  if (result.fault != Fault::none) return result;  // a faulty operand equals nothing and differs from nothing
  const Outcome converted = cast_like(left.value, right.value);
  note(result, converted);
  result.value = (converted.value == right.value) == (node.operation == Operation::equal);
  return result;
}

Outcome logic(const Node& node, const CloudEvent& event) {
  const auto left = as_boolean(*node.operands[0], event);
  Outcome result{.value = false};
  note(result, left.faults);
  if (is_missing(result)) return result;
  if (node.operation == Operation::logical_and && !left.value) return result;
  if (node.operation == Operation::logical_or && left.value) {
    result.value = true;
    return result;
  }
  const auto right = as_boolean(*node.operands[1], event);
  note(result, right.faults);
  if (is_missing(result)) return result;
  result.value = node.operation == Operation::logical_xor ? left.value != right.value : right.value;
  return result;
}

/// '%' is any text, '_' any one character, a backslash takes the meaning from either. Iterative, with one place to go
/// back to: linear in practice, never exponential.
bool like(std::string_view text, std::string_view pattern) {
  const auto next = [](std::string_view of, std::size_t at) {  // start of the next character
    do ++at;
    while (at < of.size() && (static_cast<unsigned char>(of[at]) & 0xc0) == 0x80);
    return at;
  };
  std::size_t t = 0, p = 0;
  std::size_t star = std::string_view::npos, star_text = 0;
  while (t < text.size()) {
    const bool escaped =
        p + 1 < pattern.size() && pattern[p] == '\\' && (pattern[p + 1] == '%' || pattern[p + 1] == '_');
    if (p < pattern.size() && !escaped && pattern[p] == '%') {
      star = ++p;
      star_text = t;
    } else if (p < pattern.size() && !escaped && pattern[p] == '_') {
      ++p;
      t = next(text, t);
    } else if (p < pattern.size() && pattern[p + escaped] == text[t]) {
      p += 1 + escaped;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star;
      t = star_text = next(text, star_text);
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '%') ++p;
  return p == pattern.size();
}

Outcome match_like(const Node& node, const CloudEvent& event) {
  const auto text = evaluate_as<std::string>(*node.operands[0], event, to_string_value);
  Outcome result{.value = false};
  note(result, text.faults);
  if (!is_missing(result)) result.value = like(text.value, node.text) != node.negated;
  return result;
}

Outcome in_set(const Node& node, const CloudEvent& event) {
  const Outcome left = evaluate(*node.operands[0], event);
  Outcome result{.value = false};
  note(result, left);
  if (is_missing(result)) return result;
  bool found = false;
  for (std::size_t i = 1; i < node.operands.size() && !found; ++i) {
    const Outcome element = evaluate(*node.operands[i], event);
    note(result, element);
    if (is_missing(result)) return result;
    const Outcome converted = cast_like(element.value, left.value);
    note(result, converted);
    found = converted.fault == Fault::none && converted.value == left.value;
  }
  result.value = found != node.negated;
  return result;
}

Outcome call(const Node& node, const CloudEvent& event) {
  Outcome faults;
  std::vector<AttributeValue> arguments;
  for (const auto& operand : node.operands) {
    Outcome argument = evaluate(*operand, event);
    note(faults, argument);
    arguments.push_back(std::move(argument.value));
  }
  if (is_missing(faults)) {
    // The zero of what the function returns: told by a call of it on zeros.
    for (auto& argument : arguments) argument = std::string();
    Outcome zero = call_function(node.text, std::move(arguments));
    if (zero.fault == Fault::missing_function) return zero;
    if (std::holds_alternative<std::string>(zero.value)) zero.value = std::string();
    if (std::holds_alternative<std::int32_t>(zero.value)) zero.value = std::int32_t{0};
    if (std::holds_alternative<bool>(zero.value)) zero.value = false;
    zero.fault = faults.fault;
    zero.detail = faults.detail;
    return zero;
  }
  Outcome result = call_function(node.text, std::move(arguments));
  if (faults.fault == Fault::none) return result;
  result.fault = faults.fault;
  result.detail = faults.detail;
  return result;
}

Outcome evaluate(const Node& node, const CloudEvent& event) {
  switch (node.operation) {
    case Operation::literal:
      return {.value = node.value};
    case Operation::attribute: {
      const auto found = event.attributes.find(node.text);
      if (found != event.attributes.end()) return {.value = found->second};
      return {.value = false,
              .fault = Fault::missing_attribute,
              .detail = fmt::format("there is no attribute '{}'", node.text)};
    }
    case Operation::exists:
      return {.value = event.has(node.text)};
    case Operation::call:
      return call(node, event);
    case Operation::negate: {
      const auto operand = as_integer(*node.operands[0], event);
      Outcome result{.value = std::int32_t{0}};
      if (!is_missing(operand.faults)) result = calculate(Operation::subtract, 0, operand.value);
      note(result, operand.faults);
      return result;
    }
    case Operation::logical_not: {
      const auto operand = as_boolean(*node.operands[0], event);
      Outcome result{.value = false};
      note(result, operand.faults);
      if (!is_missing(result)) result.value = !operand.value;
      return result;
    }
    case Operation::like:
      return match_like(node, event);
    case Operation::in:
      return in_set(node, event);
    case Operation::multiply:
    case Operation::divide:
    case Operation::remainder:
    case Operation::add:
    case Operation::subtract:
      return arithmetic(node, event);
    case Operation::equal:
    case Operation::not_equal:
      return equality(node, event);
    case Operation::less:
    case Operation::less_or_equal:
    case Operation::greater:
    case Operation::greater_or_equal:
      return compare(node, event);
    case Operation::logical_and:
    case Operation::logical_or:
    case Operation::logical_xor:
      break;
  }
  return logic(node, event);
}

}  // namespace

Outcome Expression::evaluate(const CloudEvent& event) const { return cesql::evaluate(*root_, event); }

}  // namespace wick::eventing::cesql
