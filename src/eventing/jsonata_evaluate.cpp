#include "eventing/jsonata_evaluate.hpp"

#include <algorithm>
#include <cmath>

namespace wick::eventing::jsonata {

namespace {

using Kind = Node::Kind;

void flatten(const Value& value, Array& out) {
  if (!value.is(Type::array)) {
    out.add(value);
    return;
  }
  for (const auto& item : value.array().items) flatten(item, out);
}

}  // namespace

namespace {

/// Grows downwards.
std::uintptr_t stack_now() { return reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)); }

}  // namespace

struct Evaluation::Deeper {
  explicit Deeper(Evaluation& evaluation) : of(evaluation) {
    const auto now = stack_now();
    const bool is_deep = of.stack_ > now && of.stack_ - now > of.bounds_.stack_max;
    if (++of.depth_ > of.bounds_.depth_max || is_deep) {
      --of.depth_;
      throw Fault{.code = "D1011"};
    }
  }
  ~Deeper() { --of.depth_; }
  Evaluation& of;
};

Evaluation::Evaluation(const Bounds& bounds)
    : bounds_(bounds),
      deadline_(std::chrono::steady_clock::now() + bounds.time_max),
      now_(std::chrono::system_clock::now()) {}

Evaluation::~Evaluation() {
  // Nothing is destroyed before everything was taken apart: no destructor goes deep.
  std::vector<Value> values;
  for (auto& frame : frames_) {
    frame->enclosing.reset();
    for (auto& binding : frame->bindings) values.push_back(std::move(binding.second));
  }
  for (auto& function : functions_) {
    function->frame.reset();
    function->native.reset();
    values.push_back(std::move(function->input));
  }
}

Value Evaluation::run(const Node& root, Value input) {
  stack_ = stack_now();
  const auto frame = new_frame(nullptr);
  frame->bind("$", input);
  if (input.is(Type::array)) {
    auto wrapped = new_sequence(std::move(input));
    wrapped->outer_wrapper = true;
    input = wrapped;
  }
  return evaluate(root, input, frame);
}

void Evaluation::spend(std::uint64_t steps) {
  steps_ += steps;
  if (steps_ > bounds_.steps_max)
    throw Fault{.code = "D1012",
                .detail = "the evaluation takes more than " + std::to_string(bounds_.steps_max) + " steps"};
  if (steps_ < next_look_) return;
  next_look_ = steps_ + 1000;
  if (std::chrono::steady_clock::now() > deadline_)
    throw Fault{
        .code = "D1012",
        .detail = "the evaluation takes longer than " + std::to_string(bounds_.time_max.count()) + " milliseconds"};
}

void Evaluation::allocate(std::size_t bytes) {
  if (bytes > bounds_.bytes_max - bytes_)
    throw Fault{.code = "D2015",
                .detail = "the evaluation makes more than " + std::to_string(bounds_.bytes_max) +
                          " bytes of strings, arrays and objects"};
  bytes_ += bytes;
}

void Evaluation::push(Array& array, Value value) {
  allocate(sizeof(Value));
  array.add(std::move(value));
  if (array.depth > bounds_.value_depth_max) throw Fault{.code = "D2015", .detail = "an array is nested too deep"};
}

void Evaluation::put(Object& object, std::string_view key, Value value) {
  allocate(sizeof(Value) + sizeof(std::string) + key.size());
  object.set(key, std::move(value));
  if (object.depth > bounds_.value_depth_max) throw Fault{.code = "D2015", .detail = "an object is nested too deep"};
}

Value Evaluation::evaluate(const Node& node, const Value& input, const Ref<Frame>& frame) {
  const Deeper deeper(*this);
  spend(1);
  auto result = evaluate_kind(node, input, frame);
  for (const auto& predicate : node.predicates) result = filter(*predicate.expression, result, frame);
  if (node.kind != Kind::path && node.group)
    result = evaluate_group(*node.group, node.group_position, std::move(result), frame);
  if (!result.is_sequence() || result.is_tuple_stream()) return result;
  auto& sequence = result.array();
  if (node.keep_array) sequence.keep_singleton = true;
  if (sequence.items.empty()) return {};
  if (sequence.items.size() == 1 && !sequence.keep_singleton) return Value(sequence.items.front());
  return result;
}

Value Evaluation::evaluate_kind(const Node& node, const Value& input, Frames frame) {
  switch (node.kind) {
    case Kind::path:
      return evaluate_path(node, input, frame);
    case Kind::binary:
      return evaluate_binary(node, input, frame);
    case Kind::unary_minus:
      return evaluate_minus(node, input, frame);
    case Kind::array:
      return evaluate_array(node, input, frame);
    case Kind::object:
      return evaluate_group(node.pairs, node.position, input, frame);
    case Kind::name:
      return evaluate_name(node.value, input);
    case Kind::text:
    case Kind::number:
    case Kind::constant:
      return node.literal;
    case Kind::wildcard:
      return evaluate_wildcard(input);
    case Kind::descendant:
      return evaluate_descendants(input);
    case Kind::parent: {
      const auto* found = frame->find(node.slot->label);
      return found ? *found : Value();
    }
    case Kind::condition:
      return evaluate_condition(node, input, frame);
    case Kind::block: {
      const auto inner = new_frame(frame);
      Value result;
      for (const auto& one : node.list) result = evaluate(*one, input, inner);
      return result;
    }
    case Kind::bind: {
      auto value = evaluate(*node.second, input, frame);
      frame->bind(node.first->value, value);
      return value;
    }
    case Kind::regex: {
      auto function = new_function(Function::Kind::regex);
      function->regex = node.regex;
      function->position = node.position;
      return function;
    }
    case Kind::call:
      return evaluate_call(node, input, frame, nullptr);
    case Kind::variable:
      return evaluate_variable(node, input, frame);
    case Kind::lambda:
      return evaluate_lambda(node, input, frame);
    case Kind::partial:
      return evaluate_partial(node, input, frame);
    case Kind::apply:
      return evaluate_apply(node, input, frame);
    case Kind::transform:
      return evaluate_transform(node, frame);
    case Kind::sort:
    case Kind::word:
    case Kind::placeholder:
    case Kind::end:
      break;
  }
  return {};
}

Ref<Frame> Evaluation::frame_of(Frames enclosing, const Value& tuple) {
  auto frame = new_frame(enclosing);
  if (tuple.is(Type::object)) {
    spend(tuple.object().size());
    frame->bindings = tuple.object().members;
  }
  return frame;
}

Value Evaluation::evaluate_path(const Node& node, const Value& input, Frames frame) {
  // A path that begins with a variable is absolute.
  Value sequence =
      input.is(Type::array) && node.list.front()->kind != Kind::variable ? input : Value(new_sequence(input));
  Value result;
  Ref<Array> tuples;
  bool in_tuples = false;
  for (std::size_t i = 0; i < node.list.size(); ++i) {
    const auto& step = *node.list[i];
    in_tuples = in_tuples || step.tuple;
    if (i == 0 && step.constructs_array)
      result = evaluate(step, sequence, frame);
    else if (in_tuples)
      tuples = evaluate_tuple_step(step, sequence, tuples, frame);
    else
      result = evaluate_step(step, sequence, frame, i + 1 == node.list.size());
    const bool constructed = i == 0 && step.constructs_array;
    if (!in_tuples || constructed) {
      if (result.missing() || (result.is(Type::array) && result.array().items.empty())) break;
      if (!result.is(Type::array)) result = Value(new_sequence(result));
    }
    if (step.focus.empty() && (!in_tuples || constructed)) sequence = result;
  }
  if (in_tuples && !tuples) tuples = new_sequence();
  if (in_tuples) {
    if (node.tuple) {
      result = tuples;
    } else {
      auto plain = new_sequence();
      for (const auto& tuple : tuples->items)
        if (const auto* context = tuple.object().find("@")) push(*plain, *context);
      result = plain;
    }
  }
  if (node.keep_singleton_array && result.is(Type::array)) {
    if (result.array().constructed && !result.array().sequence) result = Value(new_sequence(result));
    result.array().keep_singleton = true;
  }
  if (node.group) result = evaluate_group(*node.group, node.group_position, in_tuples ? Value(tuples) : result, frame);
  return result;
}

Value Evaluation::evaluate_step(const Node& step, const Value& input, Frames frame, bool last) {
  if (step.kind == Kind::sort) {
    auto sorted = evaluate_sort(step, input, frame);
    return evaluate_stages(step.stages, std::move(sorted), frame);
  }
  std::vector<Value> results;
  for (const auto& item : input.array().items) {
    auto result = evaluate(step, item, frame);
    for (const auto& stage : step.stages) result = filter(*stage.expression, result, frame);
    if (!result.missing()) results.push_back(std::move(result));
  }
  if (last && results.size() == 1 && results.front().is(Type::array) && !results.front().is_sequence())
    return results.front();
  auto sequence = new_sequence();
  for (auto& result : results) {
    if (!result.is(Type::array) || result.array().constructed)
      push(*sequence, std::move(result));
    else
      for (const auto& item : result.array().items) push(*sequence, item);
  }
  return sequence;
}

Value Evaluation::evaluate_stages(const std::vector<Stage>& stages, Value input, Frames frame) {
  for (const auto& stage : stages) {
    if (stage.kind == Stage::Kind::filter) {
      input = filter(*stage.expression, input, frame);
    } else if (input.is(Type::array)) {
      auto numbered = new_sequence();
      numbered->tuple_stream = true;
      for (std::size_t i = 0; i < input.array().items.size(); ++i) {
        if (!input.array().items[i].is(Type::object)) continue;
        Ref<Object> tuple(new Object(input.array().items[i].object()));
        put(*tuple, stage.variable, static_cast<double>(i));
        push(*numbered, tuple);
      }
      input = numbered;
    }
  }
  return input;
}

Ref<Array> Evaluation::evaluate_tuple_step(const Node& step, const Value& input, const Ref<Array>& tuples,
                                           Frames frame) {
  const auto as_stream = [&](Value value) {
    if (value.is_tuple_stream()) return value.array_ref();
    auto stream = new_sequence();
    stream->tuple_stream = true;
    if (value.is(Type::array)) stream->items = value.array().items;
    stream->depth = depth_of(value) + 1;
    return stream;
  };
  if (step.kind == Kind::sort) {
    Value sorted;
    if (tuples) {
      sorted = as_stream(evaluate_sort(step, tuples, frame));
    } else {
      const auto plain = evaluate_sort(step, input, frame);
      auto stream = new_sequence();
      stream->tuple_stream = true;
      for (std::size_t i = 0; i < plain.array().items.size(); ++i) {
        Ref<Object> tuple(new Object);
        put(*tuple, "@", plain.array().items[i]);
        if (!step.index.empty()) put(*tuple, step.index, static_cast<double>(i));
        push(*stream, tuple);
      }
      sorted = stream;
    }
    return as_stream(evaluate_stages(step.stages, std::move(sorted), frame));
  }
  auto result = new_sequence();
  result->tuple_stream = true;
  auto from = tuples;
  if (!from) {
    from = new_sequence();
    for (const auto& item : input.array().items) {
      Ref<Object> tuple(new Object);
      put(*tuple, "@", item);
      push(*from, tuple);
    }
  }
  for (const auto& binding : from->items) {
    const auto* found = binding.object().find("@");
    const Value context = found ? *found : Value();
    const auto inner = frame_of(frame, binding);
    auto value = evaluate(step, context, inner);
    if (value.missing()) continue;
    const auto values = value.is(Type::array) ? value.array_ref() : new_array({value});
    for (std::size_t i = 0; i < values->items.size(); ++i) {
      Ref<Object> tuple(new Object(binding.object()));
      allocate(tuple->size() * sizeof(Value));
      if (values->tuple_stream) {
        for (const auto& [key, bound] : values->items[i].object().members) put(*tuple, key, bound);
      } else {
        if (!step.focus.empty()) {
          put(*tuple, step.focus, values->items[i]);
          put(*tuple, "@", context);
        } else {
          put(*tuple, "@", values->items[i]);
        }
        if (!step.index.empty()) put(*tuple, step.index, static_cast<double>(i));
        if (step.ancestor) put(*tuple, step.ancestor->label, context);
      }
      push(*result, tuple);
    }
  }
  return as_stream(evaluate_stages(step.stages, result, frame));
}

Value Evaluation::filter(const Node& predicate, const Value& input, const Ref<Frame>& frame) {
  auto results = new_sequence();
  results->tuple_stream = input.is_tuple_stream();
  const auto from = input.is(Type::array) ? input.array_ref() : new_sequence(input);
  const auto count = static_cast<double>(from->items.size());
  if (predicate.kind == Kind::number) {
    double index = std::floor(predicate.literal.number());
    if (index < 0) index += count;
    if (!(index >= 0 && index < count)) return results;
    const auto& item = from->items[static_cast<std::size_t>(index)];
    if (item.is(Type::array)) return item;
    if (!item.missing()) push(*results, item);
    return results;
  }
  for (std::size_t i = 0; i < from->items.size(); ++i) {
    const Value item = from->items[i];
    Value context = item;
    Ref<Frame> inner = frame;
    if (from->tuple_stream) {
      const auto* found = item.object().find("@");
      context = found ? *found : Value();
      inner = frame_of(frame, item);
    }
    auto result = evaluate(predicate, context, inner);
    if (is_number(result)) result = new_array({result});
    if (is_numbers(result)) {
      spend(result.array().items.size());
      for (const auto& wanted : result.array().items) {
        double index = std::floor(wanted.number());
        if (index < 0) index += count;
        if (index == static_cast<double>(i)) push(*results, item);
      }
    } else if (is_true(result)) {
      push(*results, item);
    }
  }
  return results;
}

Value Evaluation::evaluate_minus(const Node& node, const Value& input, Frames frame) {
  const auto value = evaluate(*node.first, input, frame);
  if (value.missing()) return {};
  if (!is_number(value)) throw Fault{.code = "D1002", .position = node.position, .token = "-", .value = value};
  return -value.number();
}

Value Evaluation::evaluate_array(const Node& node, const Value& input, Frames frame) {
  auto result = new_array();
  for (const auto& item : node.list) {
    auto value = evaluate(*item, input, frame);
    if (value.missing()) continue;
    if (item->kind == Kind::array || !value.is(Type::array))
      push(*result, std::move(value));
    else
      for (const auto& one : value.array().items) push(*result, one);
  }
  result->constructed = node.constructs_array;
  return result;
}

Value Evaluation::evaluate_name(const std::string& name, const Value& input) {
  if (input.is(Type::object)) {
    const auto* found = input.object().find(name);
    return found ? *found : Value();
  }
  if (!input.is(Type::array)) return {};
  auto result = new_sequence();
  for (const auto& item : input.array().items) {
    spend(1);
    const Deeper deeper(*this);
    const auto found = evaluate_name(name, item);
    if (found.missing()) continue;
    if (found.is(Type::array))
      for (const auto& one : found.array().items) push(*result, one);
    else
      push(*result, found);
  }
  return result;
}

Value Evaluation::evaluate_wildcard(const Value& input) {
  auto results = new_sequence();
  const auto add = [&](const Value& value) {
    if (!value.is(Type::array)) {
      push(*results, value);
      return;
    }
    flatten(value, *results);
    spend(results->items.size());
    results->sequence = false;  // as $append makes it
  };
  const bool wrapped = input.is(Type::array) && input.array().outer_wrapper && !input.array().items.empty();
  const Value from = wrapped ? input.array().items.front() : input;
  if (from.is(Type::object))
    for (const auto& [key, value] : from.object().members) add(value);
  else if (from.is(Type::array))
    for (const auto& value : from.array().items) add(value);
  allocate(results->items.size() * sizeof(Value));
  return results;
}

void Evaluation::add_descendants(const Value& input, Array& out) {
  spend(1);
  if (input.is(Type::array)) {
    for (const auto& item : input.array().items) add_descendants(item, out);
    return;
  }
  push(out, input);
  if (input.is(Type::object))
    for (const auto& [key, value] : input.object().members) add_descendants(value, out);
}

Value Evaluation::evaluate_descendants(const Value& input) {
  if (input.missing()) return {};
  auto results = new_sequence();
  add_descendants(input, *results);
  if (results->items.size() == 1) return Value(results->items.front());
  return results;
}

Value Evaluation::evaluate_condition(const Node& node, const Value& input, Frames frame) {
  if (is_true(evaluate(*node.first, input, frame))) return evaluate(*node.second, input, frame);
  return node.third ? evaluate(*node.third, input, frame) : Value();
}

Value Evaluation::evaluate_variable(const Node& node, const Value& input, Frames frame) {
  if (node.value.empty())
    return input.is(Type::array) && input.array().outer_wrapper ? Value(input.array().items.front()) : input;
  const auto* found = frame->find(node.value);
  return found ? *found : Value();
}

Value Evaluation::append(Value left, Value right) {
  if (left.missing()) return right;
  if (right.missing()) return left;
  auto result = new_array();
  const auto add = [&](const Value& value) {
    if (value.is(Type::array))
      for (const auto& item : value.array().items) push(*result, item);
    else
      push(*result, value);
  };
  add(left);
  add(right);
  return result;
}

const Node& Evaluation::keep(NodePtr tree) {
  trees_.push_back(std::move(tree));
  return *trees_.back();
}

Ref<Frame> Evaluation::new_frame(const Ref<Frame>& enclosing) {
  allocate(sizeof(Frame));
  frames_.emplace_back(new Frame);
  frames_.back()->enclosing = enclosing;
  return frames_.back();
}

Ref<Function> Evaluation::new_function(Function::Kind kind) {
  allocate(sizeof(Function));
  functions_.emplace_back(new Function);
  functions_.back()->kind = kind;
  return functions_.back();
}

}  // namespace wick::eventing::jsonata
