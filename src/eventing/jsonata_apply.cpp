// Calling functions: the library's, lambdas, regular expressions and transforms; and what groups and sorts.
#include <algorithm>
#include <cmath>

#include "eventing/jsonata_evaluate.hpp"

namespace wick::eventing::jsonata {

namespace {

std::string name_of_procedure(const Node& procedure) {
  return procedure.kind == Node::Kind::path ? procedure.list.front()->value : procedure.value;
}

/// The tuples of one group as one: each variable has all its values.
Value one_tuple(Evaluation& evaluation, const std::vector<Value>& tuples) {
  Ref<Object> merged(new Object);
  if (tuples.front().is(Type::object)) merged->members = tuples.front().object().members;
  for (std::size_t i = 1; i < tuples.size(); ++i)
    for (const auto& [name, value] : tuples[i].object().members) {
      const auto* found = merged->find(name);
      evaluation.put(*merged, name, evaluation.append(found ? *found : Value(), value));
    }
  return merged;
}

}  // namespace

void Frame::bind(std::string_view name, Value value) {
  for (auto& binding : bindings)
    if (binding.first == name) {
      binding.second = std::move(value);
      return;
    }
  bindings.emplace_back(std::string(name), std::move(value));
}

const Value* Frame::find(std::string_view name) const {
  for (const auto* frame = this; frame; frame = frame->enclosing.get())
    for (const auto& binding : frame->bindings)
      if (binding.first == name) return &binding.second;
  return find_builtin(name);
}

std::size_t Function::arity() const {
  switch (kind) {
    case Kind::builtin:
      return builtin->arity;
    case Kind::lambda:
      return parameters.size();
    case Kind::regex:
      return 2;
    case Kind::next_match:
      return 0;
    case Kind::transform:
      return 1;
  }
  return 0;
}

Value Evaluation::evaluate_lambda(const Node& node, const Value& input, Frames frame) {
  auto lambda = new_function(Function::Kind::lambda);
  for (const auto& parameter : node.list) lambda->parameters.push_back(parameter->value);
  lambda->node = node.first.get();
  lambda->frame = frame;
  lambda->input = input;
  lambda->signature = node.signature;
  lambda->thunk = node.thunk;
  return lambda;
}

Value Evaluation::evaluate_transform(const Node& node, Frames frame) {
  auto transform = new_function(Function::Kind::transform);
  transform->node = &node;
  transform->frame = frame;
  return transform;
}

Value Evaluation::evaluate_apply(const Node& node, const Value& input, Frames frame) {
  const auto left = evaluate(*node.first, input, frame);
  if (node.second->kind == Node::Kind::call) return evaluate_call(*node.second, input, frame, &left);
  const auto right = evaluate(*node.second, input, frame);
  if (!right.is(Type::function)) throw Fault{.code = "T2006", .position = node.position, .value = right};
  if (!left.is(Type::function)) return apply(right, {left}, Value(Null()), frame);
  // Two functions: the one after the other.
  static const NodePtr chain = parse("function($f, $g) { function($x) { $g($f($x)) } }", {});
  return apply(evaluate(*chain, Value(Null()), frame), {left, right}, Value(Null()), frame);
}

Value Evaluation::evaluate_call(const Node& node, const Value& input, Frames frame, const Value* first) {
  const auto procedure = evaluate(*node.first, input, frame);
  if (procedure.missing() && node.first->kind == Node::Kind::path)
    if (const auto* meant = frame->find(node.first->list.front()->value); meant && is_truthy(*meant))
      throw Fault{.code = "T1005", .position = node.position, .token = node.first->list.front()->value};
  std::vector<Value> arguments;
  arguments.reserve(node.list.size() + 1);
  if (first) arguments.push_back(*first);
  for (const auto& argument : node.list) arguments.push_back(evaluate(*argument, input, frame));
  try {
    return apply(procedure, std::move(arguments), input, frame);
  } catch (Fault& fault) {
    if (fault.position == Fault::no_position) fault.position = node.position;
    if (fault.token.empty()) fault.token = name_of_procedure(*node.first);
    throw;
  }
}

Value Evaluation::evaluate_partial(const Node& node, const Value& input, Frames frame) {
  std::vector<Value> arguments;
  for (const auto& argument : node.list)
    arguments.push_back(argument->kind == Node::Kind::placeholder ? Value() : evaluate(*argument, input, frame));
  const auto procedure = evaluate(*node.first, input, frame);
  if (!procedure.is(Type::function)) {
    if (procedure.missing() && node.first->kind == Node::Kind::path && frame->find(node.first->list.front()->value))
      throw Fault{.code = "T1007", .position = node.position, .token = node.first->list.front()->value};
    throw Fault{.code = "T1008", .position = node.position, .token = name_of_procedure(*node.first)};
  }
  const auto& whole = procedure.function();
  auto part = new_function(Function::Kind::lambda);
  std::vector<std::string> parameters = whole.parameters;
  if (whole.kind == Function::Kind::lambda) {
    part->node = whole.node;
    part->native = whole.native;
    part->input = whole.input;
    part->frame = new_frame(whole.frame);
  } else {
    part->native = procedure.function_ref();
    part->frame = new_frame(frame);
    const auto count = whole.kind == Function::Kind::builtin ? whole.builtin->parameters : whole.arity();
    // No variable of the expression has a name with a space.
    for (std::size_t i = 0; i < count; ++i) parameters.push_back(" " + std::to_string(i));
  }
  for (std::size_t i = 0; i < parameters.size(); ++i)
    if (i < node.list.size() && node.list[i]->kind == Node::Kind::placeholder)
      part->parameters.push_back(parameters[i]);
    else
      part->frame->bind(parameters[i], i < arguments.size() ? arguments[i] : Value());
  return part;
}

Value Evaluation::apply(const Value& function, std::vector<Value> arguments, const Value& input, Frames frame) {
  auto result = apply_once(function, std::move(arguments), input, frame);
  while (result.is(Type::function) && result.function().thunk) {
    const auto thunk = result.function_ref();
    spend(1);
    const auto& call = *thunk->node;
    const auto next = evaluate(*call.first, thunk->input, thunk->frame);
    std::vector<Value> next_arguments;
    next_arguments.reserve(call.list.size());
    for (const auto& argument : call.list) next_arguments.push_back(evaluate(*argument, thunk->input, thunk->frame));
    try {
      result = apply_once(next, std::move(next_arguments), input, thunk->frame);
    } catch (Fault& fault) {
      if (fault.position == Fault::no_position) fault.position = call.position;
      if (fault.token.empty()) fault.token = name_of_procedure(*call.first);
      throw;
    }
  }
  return result;
}

Value Evaluation::apply_to(const Value& function, const Value& first, const Value& second, const Value& third,
                           const Ref<Frame>& frame) {
  std::vector<Value> arguments{first};
  const auto arity = function.is(Type::function) ? function.function().arity() : 1;
  if (arity >= 2) arguments.push_back(second);
  if (arity >= 3) arguments.push_back(third);
  return apply(function, std::move(arguments), Value(Null()), frame);
}

Value Evaluation::apply_once(const Value& function, std::vector<Value> arguments, const Value& input, Frames frame) {
  if (!function.is(Type::function)) throw Fault{.code = "T1006"};
  auto& callee = function.function();
  const auto& signature = callee.kind == Function::Kind::builtin ? callee.builtin->signature : callee.signature;
  if (signature) arguments = signature->fit(std::move(arguments), input);
  spend(1);
  switch (callee.kind) {
    case Function::Kind::builtin: {
      Call call{*this, arguments, input, frame};
      return callee.builtin->run(call);
    }
    case Function::Kind::lambda:
      return apply_lambda(callee, std::move(arguments));
    case Function::Kind::regex: {
      const auto subject = arguments.empty() ? Value() : arguments.front();
      return apply_regex(callee, subject, 0);
    }
    case Function::Kind::next_match:
      return apply_regex(callee, callee.subject, callee.from);
    case Function::Kind::transform: {
      const auto of = arguments.empty() ? Value() : arguments.front();
      return apply_transform(callee, of);
    }
  }
  return {};
}

Value Evaluation::apply_lambda(Function& lambda, std::vector<Value> arguments) {
  const auto frame = new_frame(lambda.frame);
  frame->bindings.reserve(lambda.parameters.size());
  for (std::size_t i = 0; i < lambda.parameters.size(); ++i)
    frame->bind(lambda.parameters[i], i < arguments.size() ? std::move(arguments[i]) : Value());
  if (!lambda.native) return evaluate(*lambda.node, lambda.input, frame);
  const auto& native = *lambda.native;
  std::vector<Value> all;
  const auto count = native.kind == Function::Kind::builtin ? native.builtin->parameters : native.arity();
  for (std::size_t i = 0; i < count; ++i) {
    const auto* found = frame->find(" " + std::to_string(i));
    all.push_back(found ? *found : Value());
  }
  if (native.kind != Function::Kind::builtin)
    return apply_once(Value(lambda.native), std::move(all), Value(Null()), frame);
  const Value none;
  Call call{*this, all, none, frame};
  return native.builtin->run(call);
}

Value Evaluation::apply_transform(const Function& transform, const Value& input) {
  if (input.missing()) return {};
  const auto& node = *transform.node;
  const auto& frame = transform.frame;
  if (!input.is(Type::object) && !input.is(Type::array))
    throw Fault{.code = "T0410", .position = node.position, .value = input, .index = 1};
  const auto* cloner = frame->find("clone");
  if (!cloner || !cloner->is(Type::function)) throw Fault{.code = "T2013", .position = node.position};
  const Value clone_function = *cloner;
  const auto copy = apply(clone_function, {input}, Value(Null()), frame);
  const auto matches = evaluate(*node.first, copy, frame);
  if (matches.missing()) return copy;
  const std::vector<Value> all = matches.is(Type::array) ? matches.array().items : std::vector<Value>{matches};
  for (const auto& match : all) update(node, match, frame);
  return copy;
}

void Evaluation::update(const Node& node, const Value& match, const Ref<Frame>& frame) {
  const auto changes = evaluate(*node.second, match, frame);
  if (!changes.missing()) {
    if (!changes.is(Type::object)) throw Fault{.code = "T2011", .position = node.second->position, .value = changes};
    // What is put in is copied: nothing may reach itself.
    if (match.is(Type::object)) {
      const Ref<Object> copied = clone(changes).object_ref();
      for (const auto& [key, value] : copied->members) put(match.object(), key, value);
    }
  }
  if (!node.third) return;
  const auto deletions = evaluate(*node.third, match, frame);
  if (deletions.missing()) return;
  const auto names = deletions.is(Type::array) ? deletions : Value(new_array({deletions}));
  if (!is_texts(names)) throw Fault{.code = "T2012", .position = node.third->position, .value = deletions};
  if (!match.is(Type::object)) return;
  spend(names.array().items.size() + match.object().size());
  for (const auto& name : names.array().items) match.object().erase(name.text());
}

Value Evaluation::evaluate_group(const Pairs& pairs, std::size_t position, Value input, Frames frame) {
  struct Group {
    std::vector<Value> items;
    std::size_t pair = 0;
    bool several = false;  // items are what was appended; else the one item as it is
  };
  const bool tuples = input.is_tuple_stream();
  std::vector<Value> items = input.is(Type::array) ? input.array().items : std::vector<Value>{input};
  if (items.empty() && !tuples) items.emplace_back();
  std::vector<Group> groups;
  Object places;  // in the order in which they are evaluated
  for (const auto& item : items) {
    const auto* context = tuples ? item.object().find("@") : &item;
    const auto inner = tuples ? frame_of(frame, item) : frame;
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      const auto key = evaluate(*pairs[i].first, context ? *context : Value(), inner);
      if (key.missing()) continue;
      if (!key.is(Type::text)) throw Fault{.code = "T1003", .position = position, .value = key};
      const auto* place = places.find(key.text());
      if (!place) {
        put(places, key.text(), static_cast<double>(groups.size()));
        groups.push_back({.items = {item}, .pair = i});
        continue;
      }
      auto& group = groups[static_cast<std::size_t>(place->number())];
      if (group.pair != i) throw Fault{.code = "D1009", .position = position, .value = key};
      if (item.missing()) continue;
      if (!group.several && group.items.front().missing()) {
        group.items.front() = item;
        continue;
      }
      if (!group.several && group.items.front().is(Type::array)) {
        const auto flat = group.items.front().array_ref();
        group.items = flat->items;
      }
      group.several = true;
      if (item.is(Type::array))
        group.items.insert(group.items.end(), item.array().items.begin(), item.array().items.end());
      else
        group.items.push_back(item);
      allocate(sizeof(Value));
    }
  }
  Ref<Object> result(new Object);
  for (const auto& [key, place] : places.members) {
    const auto& group = groups[static_cast<std::size_t>(place.number())];
    Value context = group.several ? Value(new_array(group.items)) : group.items.front();
    Ref<Frame> inner = frame;
    if (tuples) {
      const auto merged = one_tuple(*this, group.items);
      inner = frame_of(frame, merged);
      const auto* found = merged.object().find("@");
      context = found ? *found : Value();
    }
    auto value = evaluate(*pairs[group.pair].second, context, inner);
    if (!value.missing()) put(*result, key, std::move(value));
  }
  return result;
}

bool Evaluation::comes_after(const Node& node, const Value& left, const Value& right, bool tuples, Frames frame) {
  const auto look = [&](const Node& term, const Value& item) {
    if (!tuples) return evaluate(term, item, frame);
    const auto* context = item.object().find("@");
    return evaluate(term, context ? *context : Value(), frame_of(frame, item));
  };
  for (const auto& term : node.terms) {
    const auto a = look(*term.expression, left), b = look(*term.expression, right);
    // What is missing comes last.
    if (a.missing() && b.missing()) continue;
    if (a.missing()) return true;
    if (b.missing()) return false;
    const auto sortable = [](const Value& value) { return value.is(Type::text) || value.is(Type::number); };
    if (!sortable(a) || !sortable(b))
      throw Fault{.code = "T2008", .position = node.position, .value = sortable(a) ? b : a};
    if (a.type() != b.type()) throw Fault{.code = "T2007", .position = node.position, .value = a, .value2 = b};
    if (a.is(Type::number) ? a.number() == b.number() : a.text() == b.text()) continue;
    const bool less = a.is(Type::number) ? a.number() < b.number() : comes_before(a.text(), b.text());
    return less == term.descending;
  }
  return false;
}

Value Evaluation::evaluate_sort(const Node& node, const Value& input, Frames frame) {
  if (!input.is(Type::array) || input.array().items.size() <= 1) return input;
  const bool tuples = input.is_tuple_stream();
  auto sorted = new_array(input.array().items);
  allocate(sorted->items.size() * sizeof(Value));
  merge_sort(sorted->items,
             [&](const Value& left, const Value& right) { return comes_after(node, left, right, tuples, frame); });
  return sorted;
}

}  // namespace wick::eventing::jsonata
