// One evaluation of a parsed expression over one input, within bounds.
//
// Every node visited and every item handled by a function is a step. Steps, time, recursion and the bytes of all
// strings, arrays and objects that were made are counted; at a bound the evaluation ends with a Fault (D1011, D1012,
// D2015). Frames (variables) and functions may refer to one another in a circle, or in a long chain: the evaluation
// keeps all of them, and empties them one by one when it ends.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eventing/jsonata_node.hpp"
#include "eventing/jsonata_value.hpp"

namespace wick::eventing::jsonata {

class Evaluation;
struct Frame;

/// Variables.
struct Frame : Counted<Frame> {
  void bind(std::string_view name, Value value);
  const Value* find(std::string_view name) const;  // here or further out, functions of the library last

  Ref<Frame> enclosing;
  std::vector<std::pair<std::string, Value>> bindings;
};

struct Call {
  Evaluation& evaluation;
  std::vector<Value>& arguments;
  const Value& input;
  const Ref<Frame>& frame;

  const Value& at(std::size_t index) const;  // missing where none was given
  /// Throws Fault T0410 where it is of another type: a partial application passes what it likes.
  const std::string& text(std::size_t index) const;
  double number(std::size_t index) const;
  const std::vector<Value>& items(std::size_t index) const;
  const Object& object(std::size_t index) const;

 private:
  void check(std::size_t index, Type type) const;
};

/// A function of the library.
struct Builtin {
  std::string_view name;
  std::string_view signature_text;
  std::size_t arity;       // how many arguments one that takes functions gives it
  std::size_t parameters;  // how many it has
  Value (*run)(Call& call);
  std::shared_ptr<const Signature> signature = nullptr;
};
const Value* find_builtin(std::string_view name);

struct Function : boost::intrusive_ref_counter<Function, boost::thread_safe_counter> {  // the library is shared
  enum class Kind { builtin, lambda, regex, next_match, transform } kind = Kind::builtin;
  std::size_t arity() const;

  const Builtin* builtin = nullptr;
  // Of a lambda:
  std::vector<std::string> parameters;
  const Node* node = nullptr;  // body; of a transform, all
  Ref<Function> native;        // in place of a body: partly applied
  Ref<Frame> frame;
  Value input;
  std::shared_ptr<const Signature> signature;
  bool thunk = false;
  // Of a regular expression, and of what gives its next match:
  std::shared_ptr<const Regex> regex;
  std::size_t position = 0;
  Value subject;
  std::size_t from = 0;
};

struct Bounds {
  std::uint64_t steps_max = 5'000'000;
  std::chrono::milliseconds time_max{1'000};
  int depth_max = 1'500;
  std::size_t stack_max = 4u << 20;  // bytes: half of what a thread usually has, whatever a frame takes
  std::size_t bytes_max = 64u << 20;
  int value_depth_max = 1'000;
};

class Evaluation {
 public:
  explicit Evaluation(const Bounds& bounds);
  ~Evaluation();
  Evaluation(const Evaluation&) = delete;

  /// The result of the whole expression. Throws Fault.
  Value run(const Node& root, Value input);

  Value evaluate(const Node& node, const Value& input, const Ref<Frame>& frame);
  /// Calls a function; a call in tail position of what it calls is done here, without recursion.
  Value apply(const Value& function, std::vector<Value> arguments, const Value& input, const Ref<Frame>& frame);
  /// With as many of the three arguments as the function takes.
  Value apply_to(const Value& function, const Value& first, const Value& second, const Value& third,
                 const Ref<Frame>& frame);
  /// Both as one array; a missing one does not count.
  Value append(Value left, Value right);
  Value filter(const Node& predicate, const Value& input, const Ref<Frame>& frame);
  /// $eval: the tree lives as long as the evaluation.
  const Node& keep(NodePtr tree);

  void spend(std::uint64_t steps);
  void allocate(std::size_t bytes);
  /// The same values, copied all the way down; functions are "" as in $clone's JSON.
  Value clone(const Value& value, int depth = 0);
  /// Counts its work.
  bool equal(const Value& left, const Value& right);
  Value text(std::string made) {
    allocate(made.size());
    return Value(std::move(made));
  }
  Ref<Frame> new_frame(const Ref<Frame>& enclosing);
  Ref<Function> new_function(Function::Kind kind);
  /// An array's depth is bounded, so that what walks it by recursion is.
  void push(Array& array, Value value);
  void put(Object& object, std::string_view key, Value value);

  std::chrono::system_clock::time_point now() const { return now_; }

 private:
  struct Deeper;
  using Frames = const Ref<Frame>&;
  Value evaluate_kind(const Node& node, const Value& input, Frames frame);
  Value evaluate_path(const Node& node, const Value& input, Frames frame);
  Value evaluate_step(const Node& step, const Value& input, Frames frame, bool last);
  Ref<Array> evaluate_tuple_step(const Node& step, const Value& input, const Ref<Array>& tuples, Frames frame);
  Value evaluate_stages(const std::vector<Stage>& stages, Value input, Frames frame);
  Value evaluate_binary(const Node& node, const Value& input, Frames frame);
  Value evaluate_range(const Value& left, const Value& right);
  Value evaluate_minus(const Node& node, const Value& input, Frames frame);
  Value evaluate_array(const Node& node, const Value& input, Frames frame);
  Value evaluate_name(const std::string& name, const Value& input);
  Value evaluate_wildcard(const Value& input);
  Value evaluate_descendants(const Value& input);
  Value evaluate_condition(const Node& node, const Value& input, Frames frame);
  Value evaluate_variable(const Node& node, const Value& input, Frames frame);
  Value evaluate_group(const Pairs& pairs, std::size_t position, Value input, Frames frame);
  Value evaluate_sort(const Node& node, const Value& input, Frames frame);
  bool comes_after(const Node& node, const Value& left, const Value& right, bool tuples, Frames frame);
  Value evaluate_apply(const Node& node, const Value& input, Frames frame);
  Value evaluate_call(const Node& node, const Value& input, Frames frame, const Value* first);
  Value evaluate_partial(const Node& node, const Value& input, Frames frame);
  Value evaluate_lambda(const Node& node, const Value& input, Frames frame);
  Value evaluate_transform(const Node& node, Frames frame);
  Value apply_once(const Value& function, std::vector<Value> arguments, const Value& input, Frames frame);
  Value apply_lambda(Function& lambda, std::vector<Value> arguments);
  Value apply_transform(const Function& transform, const Value& input);
  Value apply_regex(const Function& function, const Value& subject, std::size_t from);
  void update(const Node& node, const Value& match, const Ref<Frame>& frame);
  Ref<Frame> frame_of(Frames enclosing, const Value& tuple);
  void add_descendants(const Value& input, Array& out);

  Bounds bounds_;
  std::uint64_t steps_ = 0, next_look_ = 0;
  std::size_t bytes_ = 0;
  int depth_ = 0;
  std::uintptr_t stack_ = 0;  // where it was when the evaluation began
  std::chrono::steady_clock::time_point deadline_;
  std::chrono::system_clock::time_point now_;
  std::vector<Ref<Frame>> frames_;
  std::vector<Ref<Function>> functions_;
  std::vector<NodePtr> trees_;
};

/// Stable, and sound whatever `after` says: it may be an expression's.
template <class After>
void merge_sort(std::vector<Value>& items, After after) {
  std::vector<Value> merged(items.size());
  for (std::size_t width = 1; width < items.size(); width *= 2) {
    for (std::size_t start = 0; start < items.size(); start += 2 * width) {
      const auto middle = std::min(start + width, items.size()), end = std::min(start + 2 * width, items.size());
      auto left = start, right = middle;
      for (auto out = start; out < end; ++out) {
        const bool from_right = left == middle || (right < end && after(items[left], items[right]));
        merged[out] = from_right ? items[right++] : items[left++];
      }
    }
    items.swap(merged);
  }
}

bool is_number(const Value& value);  // throws D1001 for an infinite one
bool is_numbers(const Value& value);
bool is_texts(const Value& value);
/// $boolean; missing is false.
bool is_true(const Value& value);
/// What JavaScript takes for true.
bool is_truthy(const Value& value);
/// As JavaScript compares strings: by UTF-16 units.
bool comes_before(std::string_view left, std::string_view right);
}  // namespace wick::eventing::jsonata
