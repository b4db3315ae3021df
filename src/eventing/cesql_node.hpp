// The tree of a CESQL expression: what the parser makes and the evaluation walks.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cesql.hpp"

namespace wick::eventing::cesql {

enum class Operation {
  literal,    // value
  attribute,  // text
  exists,     // text
  call,       // text, operands
  negate,     // -operands[0]
  logical_not,
  like,  // operands[0], text is the pattern
  in,    // operands[0] in the rest
  multiply,
  divide,
  remainder,
  add,
  subtract,
  equal,
  not_equal,
  less,
  less_or_equal,
  greater,
  greater_or_equal,
  logical_and,
  logical_or,
  logical_xor,
};

struct Node {
  Operation operation = Operation::literal;
  AttributeValue value;
  std::string text;
  bool negated = false;  // NOT LIKE, NOT IN
  std::vector<std::unique_ptr<const Node>> operands;
  int depth = 1;
};
using NodePointer = std::unique_ptr<const Node>;

/// The functions of the spec; they work on values that are free of faults.
Outcome call_function(std::string_view name, std::vector<AttributeValue> arguments);

/// Casts (spec 3.3), the zero value with a cast fault where one is impossible.
Outcome to_string_value(const AttributeValue& value);
Outcome to_integer(const AttributeValue& value);
Outcome to_boolean(const AttributeValue& value);

}  // namespace wick::eventing::cesql
