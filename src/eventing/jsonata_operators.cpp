// Operators, and what values are to one another.
#include <algorithm>
#include <cmath>

#include "eventing/jsonata_evaluate.hpp"
#include "eventing/jsonata_unicode.hpp"

namespace wick::eventing::jsonata {

namespace {

constexpr double range_max = 1e7;

Value calculate(char operation, const Value& left, const Value& right) {
  if (!left.missing() && !is_number(left)) throw Fault{.code = "T2001", .value = left};
  if (!right.missing() && !is_number(right)) throw Fault{.code = "T2002", .value = right};
  if (left.missing() || right.missing()) return {};
  const double a = left.number(), b = right.number();
  switch (operation) {
    case '+':
      return a + b;
    case '-':
      return a - b;
    case '*':
      return a * b;
    case '/':
      return a / b;
    default:
      return std::fmod(a, b);
  }
}

Value compare(std::string_view operation, const Value& left, const Value& right) {
  const auto comparable = [](const Value& value) {
    return value.missing() || value.is(Type::text) || value.is(Type::number);
  };
  if (!comparable(left) || !comparable(right)) throw Fault{.code = "T2010", .value = comparable(left) ? right : left};
  if (left.missing() || right.missing()) return {};
  if (left.type() != right.type()) throw Fault{.code = "T2009", .value = left, .value2 = right};
  if (left.is(Type::number)) {
    const double a = left.number(), b = right.number();
    if (operation == "<") return a < b;
    if (operation == "<=") return a <= b;
    return operation == ">" ? a > b : a >= b;
  }
  const auto &a = left.text(), &b = right.text();
  if (operation == "<") return comes_before(a, b);
  if (operation == "<=") return !comes_before(b, a);
  return operation == ">" ? comes_before(b, a) : !comes_before(a, b);
}

}  // namespace

Value Evaluation::evaluate_binary(const Node& node, const Value& input, Frames frame) {
  const auto& operation = node.value;
  const auto left = evaluate(*node.first, input, frame);
  const auto in_place = [&](auto&& work) -> Value {
    try {
      return work();
    } catch (Fault& fault) {
      if (fault.position == Fault::no_position) fault.position = node.position;
      if (fault.token.empty()) fault.token = operation;
      throw;
    }
  };
  if (operation == "and") return is_true(left) && is_true(evaluate(*node.second, input, frame));
  if (operation == "or") return is_true(left) || is_true(evaluate(*node.second, input, frame));
  const auto right = evaluate(*node.second, input, frame);
  return in_place([&]() -> Value {
    if (operation == "&") {
      auto joined = left.missing() ? std::string() : to_string_text(left, Style::compact);
      if (!right.missing()) joined += to_string_text(right, Style::compact);
      return text(std::move(joined));
    }
    if (operation == "=" || operation == "!=") {
      if (left.missing() || right.missing()) return false;
      return equal(left, right) == (operation == "=");
    }
    if (operation == "in") {
      if (left.missing() || right.missing()) return false;
      if (!right.is(Type::array)) return equal(left, right) && left.type() < Type::array;
      spend(right.array().items.size());
      return std::ranges::any_of(right.array().items, [&](const Value& one) {
        if (one.type() != left.type()) return false;
        return left.is(Type::text) ? one.text() == left.text() : one.same_as(left);
      });
    }
    if (operation == "..") return evaluate_range(left, right);
    if (operation.front() == '<' || operation.front() == '>') return compare(operation, left, right);
    return calculate(operation.front(), left, right);
  });
}

Value Evaluation::evaluate_range(const Value& left, const Value& right) {
  const auto whole = [](const Value& value) {
    return value.is(Type::number) && std::isfinite(value.number()) && value.number() == std::floor(value.number());
  };
  if (!left.missing() && !whole(left)) throw Fault{.code = "T2003", .value = left};
  if (!right.missing() && !whole(right)) throw Fault{.code = "T2004", .value = right};
  if (left.missing() || right.missing() || left.number() > right.number()) return {};
  const double count = right.number() - left.number() + 1;
  if (count > range_max) throw Fault{.code = "D2014", .value = count};
  spend(static_cast<std::uint64_t>(count));
  allocate(static_cast<std::size_t>(count) * sizeof(Value));
  auto range = new_sequence();
  range->items.reserve(static_cast<std::size_t>(count));
  for (double i = 0; i < count; ++i) range->items.emplace_back(left.number() + i);
  return range;
}

bool Evaluation::equal(const Value& left, const Value& right) {
  spend(1);
  if (left.type() != right.type()) return false;
  switch (left.type()) {
    case Type::text:
      return left.text() == right.text();
    case Type::array: {
      const auto &a = left.array().items, &b = right.array().items;
      if (a.size() != b.size()) return false;
      for (std::size_t i = 0; i < a.size(); ++i)
        if (!equal(a[i], b[i])) return false;
      return true;
    }
    case Type::object: {
      const auto &a = left.object(), &b = right.object();
      if (a.size() != b.size()) return false;
      for (const auto& [key, value] : a.members) {
        const auto* other = b.find(key);
        if (!other || !equal(value, *other)) return false;
      }
      return true;
    }
    default:
      return left.same_as(right);
  }
}

Value Evaluation::clone(const Value& value, int depth) {
  spend(1);
  if (depth > bounds_.value_depth_max) throw Fault{.code = "D2015", .detail = "a value is nested too deep"};
  switch (value.type()) {
    case Type::number:
      if (is_number(value)) return to_15_digits(value.number());
      return Null();
    case Type::function:
      return "";
    case Type::array: {
      auto made = new_array();
      for (const auto& item : value.array().items) push(*made, item.missing() ? Value(Null()) : clone(item, depth + 1));
      return made;
    }
    case Type::object: {
      Ref<Object> made(new Object);
      for (const auto& [key, member] : value.object().members)
        if (!member.missing()) put(*made, key, clone(member, depth + 1));
      return made;
    }
    default:
      return value;
  }
}

bool is_number(const Value& value) {
  if (!value.is(Type::number) || std::isnan(value.number())) return false;
  if (std::isinf(value.number())) throw Fault{.code = "D1001", .value = value};
  return true;
}

bool is_numbers(const Value& value) {
  return value.is(Type::array) && std::ranges::all_of(value.array().items, is_number);
}

bool is_texts(const Value& value) {
  return value.is(Type::array) &&
         std::ranges::all_of(value.array().items, [](const Value& item) { return item.is(Type::text); });
}

bool is_true(const Value& value) {
  switch (value.type()) {
    case Type::missing:
    case Type::null:
    case Type::function:
      return false;
    case Type::boolean:
      return value.truth();
    case Type::number:
      return is_number(value) && value.number() != 0;
    case Type::text:
      return !value.text().empty();
    case Type::array:
      return std::ranges::any_of(value.array().items, is_true);
    case Type::object:
      return value.object().size() > 0;
  }
  return false;
}

bool is_truthy(const Value& value) {
  switch (value.type()) {
    case Type::missing:
    case Type::null:
      return false;
    case Type::boolean:
      return value.truth();
    case Type::number:
      return value.number() != 0 && !std::isnan(value.number());
    case Type::text:
      return !value.text().empty();
    default:
      return true;
  }
}

bool comes_before(std::string_view left, std::string_view right) {
  const auto [a, b] = std::ranges::mismatch(left, right);
  if (a == left.end() || b == right.end()) return a == left.end() && b != right.end();
  // Code points above U+FFFF are pairs from U+D800 on to JavaScript: before U+E000 to U+FFFF.
  const auto x = static_cast<unsigned char>(*a), y = static_cast<unsigned char>(*b);
  if ((x >= 0xF0) != (y >= 0xF0) && x >= 0xEE && y >= 0xEE) return x >= 0xF0;
  return x < y;
}

}  // namespace wick::eventing::jsonata
