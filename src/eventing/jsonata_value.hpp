// What a JSONata expression works on: JSON's values, "missing", sequences (arrays that the path rules may flatten or
// unwrap) and functions.
//
// Values of one evaluation belong to it and to its thread; only strings are shared with the parsed expression, which
// several threads may evaluate at once: their count is atomic. No array or object is changed once another value may
// refer to it, but for the copy that a transform works on, so no value reaches itself.
#pragma once

#include <boost/json/value.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace wick::eventing::jsonata {

template <class T>
using Ref = boost::intrusive_ptr<T>;
template <class T>
using Counted = boost::intrusive_ref_counter<T, boost::thread_unsafe_counter>;

struct Array;
struct Object;
struct Function;
struct Text : boost::intrusive_ref_counter<Text, boost::thread_safe_counter> {
  explicit Text(std::string text) : bytes(std::move(text)) {}
  const std::string bytes;
};

enum class Type { missing, null, boolean, number, text, array, object, function };

struct Missing {
  bool operator==(const Missing&) const = default;
};
struct Null {
  bool operator==(const Null&) const = default;
};

class Value {
 public:
  Value();
  Value(Null);
  Value(bool truth);
  Value(double number);
  Value(int number);
  Value(std::string text);
  Value(std::string_view text);
  Value(const char* text);
  Value(Ref<Text> text);
  Value(Ref<Array> array);
  Value(Ref<Object> object);
  Value(Ref<Function> function);
  Value(const Value&);
  Value(Value&&) noexcept;
  Value& operator=(const Value&);
  Value& operator=(Value&&) noexcept;
  ~Value();

  Type type() const { return static_cast<Type>(held_.index()); }
  bool missing() const { return type() == Type::missing; }
  bool is(Type wanted) const { return type() == wanted; }

  bool truth() const { return std::get<bool>(held_); }
  double number() const { return std::get<double>(held_); }
  const std::string& text() const { return std::get<Ref<Text>>(held_)->bytes; }
  Array& array() const { return *std::get<Ref<Array>>(held_); }
  Object& object() const { return *std::get<Ref<Object>>(held_); }
  Function& function() const { return *std::get<Ref<Function>>(held_); }
  const Ref<Array>& array_ref() const { return std::get<Ref<Array>>(held_); }
  const Ref<Object>& object_ref() const { return std::get<Ref<Object>>(held_); }
  const Ref<Function>& function_ref() const { return std::get<Ref<Function>>(held_); }
  /// The same value, or for arrays, objects and functions the same one.
  bool same_as(const Value& other) const { return held_ == other.held_; }
  bool is_sequence() const;
  bool is_tuple_stream() const;

 private:
  std::variant<Missing, Null, bool, double, Ref<Text>, Ref<Array>, Ref<Object>, Ref<Function>> held_;
};

struct Array : Counted<Array> {
  std::vector<Value> items;
  bool sequence = false;        // one of one is its value, one of none is missing
  bool keep_singleton = false;  // … but for the first of these, where `[]` was written
  bool constructed = false;     // by [...] in a path: it is not flattened
  bool tuple_stream = false;    // its items are tuples: variable names to values, "@" is the context
  bool outer_wrapper = false;   // around an input that is an array
  int depth = 1;                // of arrays and objects in it

  void add(Value value);
};

/// Members in the order that JavaScript has: those that look like an array's index first and sorted, then as they came.
struct Object : Counted<Object> {
  std::vector<std::pair<std::string, Value>> members;

  const Value* find(std::string_view key) const;
  void set(std::string_view key, Value value);
  void erase(std::string_view key);
  std::size_t size() const { return members.size(); }
  int depth = 1;  // of arrays and objects in it

 private:
  static constexpr std::size_t scanned_max = 12;  // members that are looked through one by one
  std::ptrdiff_t place_of(std::string_view key) const;
  mutable std::unordered_map<std::string, std::size_t> places_;  // empty: not made, or members moved
};

/// Of an array or object; 0 of others.
int depth_of(const Value& value);

Ref<Array> new_sequence();
Ref<Array> new_sequence(Value first);
Ref<Array> new_array(std::vector<Value> items = {});

/// What went wrong, by JSONata's code: S (syntax), T (type), D (dynamic).
struct Fault {
  std::string code;
  std::size_t position = no_position;  // bytes from the start of the expression
  std::string token = {};
  Value value = {};
  Value value2 = {};
  int index = 0;
  std::string detail = {};  // in place of the table's message
  static constexpr std::size_t no_position = static_cast<std::size_t>(-1);
};
/// "T2001: the left side of the "+" operator must evaluate to a number".
std::string message_of(const Fault& fault);

/// A number as JavaScript writes it: "1e+21", "0.1", "100". NaN and infinities have their names.
std::string number_text(double number);
/// Rounded to 15 significant digits, which is what $string shows.
double to_15_digits(double number);

Value from_json(const boost::json::value& json);
/// As JSON.stringify: a member that is missing or a function is left out, an item is null, and so is NaN.
std::string to_json(const Value& value);

enum class Style { compact, pretty };
/// As $string: numbers to 15 digits, functions as "".
std::string to_string_text(const Value& value, Style style);

}  // namespace wick::eventing::jsonata
