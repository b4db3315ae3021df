// Booleans, arrays, objects, functions of functions, and the table of all functions.
#include <algorithm>
#include <random>
#include <unordered_map>

#include "eventing/jsonata_functions.hpp"

namespace wick::eventing::jsonata {

namespace {

Value index_value(std::size_t index) { return static_cast<double>(index); }

Value boolean_function(Call& call) {
  if (call.at(0).missing()) return {};
  return is_true(call.at(0));
}

Value not_function(Call& call) {
  if (call.at(0).missing()) return {};
  return !is_true(call.at(0));
}

Value exists_function(Call& call) { return !call.at(0).missing(); }

Value type_function(Call& call) {
  switch (call.at(0).type()) {
    case Type::missing:
      return {};
    case Type::null:
      return "null";
    case Type::boolean:
      return "boolean";
    case Type::number:
      return "number";
    case Type::text:
      return "string";
    case Type::array:
      return "array";
    case Type::object:
      return "object";
    case Type::function:
      return "function";
  }
  return {};
}

Value map_function(Call& call) {
  if (call.at(0).missing()) return {};
  auto result = new_sequence();
  const auto items = call.items(0);
  for (std::size_t i = 0; i < items.size(); ++i) {
    auto made = call.evaluation.apply_to(call.at(1), items[i], index_value(i), call.at(0), call.frame);
    if (!made.missing()) call.evaluation.push(*result, std::move(made));
  }
  return result;
}

Value filter_function(Call& call) {
  if (call.at(0).missing()) return {};
  auto result = new_sequence();
  const auto items = call.items(0);
  for (std::size_t i = 0; i < items.size(); ++i)
    if (is_true(call.evaluation.apply_to(call.at(1), items[i], index_value(i), call.at(0), call.frame)))
      call.evaluation.push(*result, items[i]);
  return result;
}

Value single_function(Call& call) {
  if (call.at(0).missing()) return {};
  const auto items = call.items(0);
  const Value* found = nullptr;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (!call.at(1).missing() &&
        !is_true(call.evaluation.apply_to(call.at(1), items[i], index_value(i), call.at(0), call.frame)))
      continue;
    if (found) throw Fault{.code = "D3138", .index = static_cast<int>(i)};
    found = &items[i];
  }
  if (!found) throw Fault{.code = "D3139"};
  return *found;
}

Value zip_function(Call& call) {
  auto result = new_array();
  std::size_t count = call.arguments.empty() ? 0 : static_cast<std::size_t>(-1);
  for (const auto& argument : call.arguments)
    count = std::min(count, argument.is(Type::array) ? argument.array().items.size() : 0);
  for (std::size_t i = 0; i < count; ++i) {
    auto tuple = new_array();
    for (const auto& argument : call.arguments) call.evaluation.push(*tuple, argument.array().items[i]);
    call.evaluation.push(*result, tuple);
  }
  return result;
}

Value reduce_function(Call& call) {
  if (call.at(0).missing()) return {};
  const auto items = call.items(0);
  const auto arity = call.at(1).is(Type::function) ? call.at(1).function().arity() : 0;
  if (arity < 2) throw Fault{.code = "D3050", .index = 1};
  std::size_t i = 0;
  Value result = call.at(2);
  if (result.missing() && !items.empty()) result = items[i++];
  for (; i < items.size(); ++i) {
    std::vector<Value> arguments{result, items[i]};
    if (arity >= 3) arguments.push_back(index_value(i));
    if (arity >= 4) arguments.push_back(call.at(0));
    result = call.evaluation.apply(call.at(1), std::move(arguments), Value(Null()), call.frame);
  }
  return result;
}

void add_keys(Call& call, const Value& value, Object& out) {
  if (value.is(Type::array))
    for (const auto& item : value.array().items) add_keys(call, item, out);
  else if (value.is(Type::object))
    for (const auto& [key, member] : value.object().members) call.evaluation.put(out, key, true);
}

Value keys_function(Call& call) {
  Object keys;
  add_keys(call, call.at(0), keys);
  auto result = new_sequence();
  for (const auto& [key, value] : keys.members) call.evaluation.push(*result, call.evaluation.text(key));
  return result;
}

Value looked_up(Call& call, const Value& input, const std::string& key) {
  if (input.is(Type::object)) {
    const auto* found = input.object().find(key);
    return found ? *found : Value();
  }
  if (!input.is(Type::array)) return {};
  auto result = new_sequence();
  for (const auto& item : input.array().items) {
    const auto found = looked_up(call, item, key);
    if (found.is(Type::array))
      for (const auto& one : found.array().items) call.evaluation.push(*result, one);
    else if (!found.missing())
      call.evaluation.push(*result, found);
  }
  return result;
}

Value lookup_function(Call& call) {
  if (call.at(1).missing()) return {};
  return looked_up(call, call.at(0), call.text(1));
}

Value append_function(Call& call) { return call.evaluation.append(call.at(0), call.at(1)); }

void add_spread(Call& call, const Value& value, Array& out) {
  if (value.is(Type::array)) {
    for (const auto& item : value.array().items) add_spread(call, item, out);
  } else if (value.is(Type::object)) {
    for (const auto& [key, member] : value.object().members) {
      Ref<Object> one(new Object);
      call.evaluation.put(*one, key, member);
      call.evaluation.push(out, one);
    }
  } else if (!value.missing()) {
    call.evaluation.push(out, value);
  }
}

Value spread_function(Call& call) {
  if (!call.at(0).is(Type::array) && !call.at(0).is(Type::object)) return call.at(0);
  auto result = new_sequence();
  add_spread(call, call.at(0), *result);
  if (call.at(0).is(Type::array) && !result->items.empty()) result->sequence = false;
  return result;
}

Value merge_function(Call& call) {
  if (call.at(0).missing()) return {};
  Ref<Object> result(new Object);
  for (const auto& one : call.items(0))
    if (one.is(Type::object))
      for (const auto& [key, value] : one.object().members) call.evaluation.put(*result, key, value);
  return result;
}

Value reverse_function(Call& call) {
  if (call.at(0).missing() || call.items(0).size() <= 1) return call.at(0);
  call.evaluation.allocate(call.items(0).size() * sizeof(Value));
  auto result = new_array(call.items(0));
  std::ranges::reverse(result->items);
  return result;
}

Value each_function(Call& call) {
  auto result = new_sequence();
  if (!call.at(0).is(Type::object)) return result;
  const auto members = call.object(0).members;
  for (const auto& [key, value] : members) {
    auto made = call.evaluation.apply_to(call.at(1), value, key, call.at(0), call.frame);
    if (!made.missing()) call.evaluation.push(*result, std::move(made));
  }
  return result;
}

Value sift_function(Call& call) {
  if (!call.at(0).is(Type::object)) return {};
  Ref<Object> result(new Object);
  const auto members = call.object(0).members;
  for (const auto& [key, value] : members)
    if (is_true(call.evaluation.apply_to(call.at(1), value, key, call.at(0), call.frame)))
      call.evaluation.put(*result, key, value);
  if (result->members.empty()) return {};
  return result;
}

Value error_function(Call& call) {
  const auto given = call.at(0).is(Type::text) ? call.text(0) : std::string();
  throw Fault{.code = "D3137", .detail = given.empty() ? "$error() function evaluated" : given};
}

Value assert_function(Call& call) {
  if (is_truthy(call.at(0))) return {};
  const auto given = call.at(1).is(Type::text) ? call.text(1) : std::string();
  throw Fault{.code = "D3141", .detail = given.empty() ? "$assert() statement failed" : given};
}

Value sort_function(Call& call) {
  if (call.at(0).missing() || call.items(0).size() <= 1) return call.at(0);
  auto sorted = new_array(call.items(0));
  call.evaluation.allocate(sorted->items.size() * sizeof(Value));
  if (!call.at(1).missing()) {
    merge_sort(sorted->items, [&](const Value& left, const Value& right) {
      return is_truthy(call.evaluation.apply(call.at(1), {left, right}, Value(Null()), call.frame));
    });
    return sorted;
  }
  if (!is_numbers(call.at(0)) && !is_texts(call.at(0))) throw Fault{.code = "D3070", .index = 1};
  merge_sort(sorted->items, [&](const Value& left, const Value& right) {
    call.evaluation.spend(1);
    return left.is(Type::number) ? left.number() > right.number() : comes_before(right.text(), left.text());
  });
  return sorted;
}

Value shuffle_function(Call& call) {
  if (call.at(0).missing() || call.items(0).size() <= 1) return call.at(0);
  static thread_local std::mt19937_64 generator{std::random_device{}()};
  call.evaluation.allocate(call.items(0).size() * sizeof(Value));
  auto result = new_array(call.items(0));
  std::ranges::shuffle(result->items, generator);
  return result;
}

Value distinct_function(Call& call) {
  if (!call.at(0).is(Type::array) || call.items(0).size() <= 1) return call.at(0);
  auto result = call.at(0).is_sequence() ? new_sequence() : new_array();
  for (const auto& item : call.items(0)) {
    const bool known =
        std::ranges::any_of(result->items, [&](const Value& one) { return call.evaluation.equal(item, one); });
    if (!known) call.evaluation.push(*result, item);
  }
  return result;
}

Value clone_function(Call& call) {
  if (call.at(0).missing()) return {};
  return call.evaluation.clone(call.at(0));
}

Value eval_function(Call& call) {
  if (call.at(0).missing()) return {};
  Value input = call.input;
  if (!call.at(1).missing()) {
    input = call.at(1);
    if (input.is(Type::array) && !input.is_sequence()) {
      auto wrapped = new_sequence(input);
      wrapped->outer_wrapper = true;
      input = wrapped;
    }
  }
  const Node* tree = nullptr;
  try {
    call.evaluation.spend(call.text(0).size());
    call.evaluation.allocate(call.text(0).size() * sizeof(Node));
    tree = &call.evaluation.keep(parse(call.text(0), {}));
  } catch (const Fault& fault) {
    throw Fault{.code = fault.code == "D1012" || fault.code == "D2015" ? fault.code : "D3120",
                .value = message_of(fault)};
  }
  try {
    return call.evaluation.evaluate(*tree, input, call.frame);
  } catch (const Fault& fault) {
    throw Fault{.code = "D3121", .value = message_of(fault)};
  }
}

/// Made once; read by all threads.
const std::unordered_map<std::string_view, Value>& library() {
  static const auto made = [] {
    static std::vector<Builtin> rows;
    for (auto* group : {text_functions, matching_functions, number_functions, collection_functions, date_functions})
      for (auto& row : group()) rows.push_back(std::move(row));
    std::unordered_map<std::string_view, Value> all;
    for (auto& row : rows) {
      row.signature = std::make_shared<const Signature>(row.signature_text);
      Ref<Function> function(new Function);
      function->builtin = &row;
      all.emplace(row.name, function);
    }
    return all;
  }();
  return made;
}

}  // namespace

const Value* find_builtin(std::string_view name) {
  const auto found = library().find(name);
  return found == library().end() ? nullptr : &found->second;
}

const Value& Call::at(std::size_t index) const {
  static const Value none;
  return index < arguments.size() ? arguments[index] : none;
}

void Call::check(std::size_t index, Type type) const {
  if (!at(index).is(type)) throw Fault{.code = "T0410", .value = at(index), .index = static_cast<int>(index) + 1};
}

const std::string& Call::text(std::size_t index) const {
  check(index, Type::text);
  return at(index).text();
}

double Call::number(std::size_t index) const {
  check(index, Type::number);
  return at(index).number();
}

const std::vector<Value>& Call::items(std::size_t index) const {
  check(index, Type::array);
  return at(index).array().items;
}

const Object& Call::object(std::size_t index) const {
  check(index, Type::object);
  return at(index).object();
}

std::vector<Builtin> collection_functions() {
  return {{"boolean", "<x-:b>", 1, 1, boolean_function},
          {"not", "<x-:b>", 1, 1, not_function},
          {"exists", "<x:b>", 1, 1, exists_function},
          {"type", "<x:s>", 1, 1, type_function},
          {"map", "<af>", 2, 2, map_function},
          {"filter", "<af>", 2, 2, filter_function},
          {"single", "<af?>", 2, 2, single_function},
          {"zip", "<a+>", 0, 1, zip_function},
          {"reduce", "<afj?:j>", 3, 3, reduce_function},
          {"keys", "<x-:a<s>>", 1, 1, keys_function},
          {"lookup", "<x-s:x>", 2, 2, lookup_function},
          {"append", "<xx:a>", 2, 2, append_function},
          {"spread", "<x-:a<o>>", 1, 1, spread_function},
          {"merge", "<a<o>:o>", 1, 1, merge_function},
          {"reverse", "<a:a>", 1, 1, reverse_function},
          {"each", "<o-f:a>", 2, 2, each_function},
          {"sift", "<o-f?:o>", 2, 2, sift_function},
          {"error", "<s?:x>", 1, 1, error_function},
          {"assert", "<bs?:x>", 2, 2, assert_function},
          {"sort", "<af?:a>", 2, 2, sort_function},
          {"shuffle", "<a:a>", 1, 1, shuffle_function},
          {"distinct", "<x:x>", 1, 1, distinct_function},
          {"clone", "<(oa)-:o>", 1, 1, clone_function},
          {"eval", "<sx?:x>", 2, 2, eval_function}};
}

}  // namespace wick::eventing::jsonata
