// The parsed expression. It is made once and then only read.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eventing/jsonata_regex.hpp"
#include "eventing/jsonata_signature.hpp"
#include "eventing/jsonata_value.hpp"

namespace wick::eventing::jsonata {

struct Node;
using NodePtr = std::shared_ptr<Node>;

/// Where a `%` finds its parent: a name that the step `level` above binds.
struct Slot {
  std::string label;
  int level = 1;
};
using SlotPtr = std::shared_ptr<Slot>;

struct Stage {
  enum class Kind { filter, index } kind = Kind::filter;
  NodePtr expression;    // filter
  std::string variable;  // index
};

using Pairs = std::vector<std::pair<NodePtr, NodePtr>>;

struct SortTerm {
  NodePtr expression;
  bool descending = false;
};

struct Node {
  enum class Kind {
    // Only between parsing and shaping.
    word,  // an operator that may be a name: and, or, in
    end,
    // Both.
    binary,  // of a shaped tree: arithmetic, comparison, and, or, &, in, ..
    unary_minus,
    array,
    object,
    name,
    text,
    number,
    constant,  // true, false, null
    wildcard,
    descendant,
    parent,
    condition,
    block,
    regex,
    call,
    partial,
    placeholder,  // ? in a partial application
    variable,
    lambda,
    transform,
    // Only of a shaped tree.
    path,
    sort,
    bind,
    apply,
  } kind = Kind::end;
  std::size_t position = 0;
  std::string value;             // operator, name
  Value literal;                 // text, number, constant
  std::vector<NodePtr> list;     // steps, expressions, arguments, items
  NodePtr first, second, third;  // lhs rhs; condition then else; pattern update delete; procedure; body
  Pairs pairs;                   // object, and `{` between parsing and shaping
  std::vector<SortTerm> terms;   // sort, and `^` between parsing and shaping
  std::shared_ptr<const Regex> regex;
  std::shared_ptr<const Signature> signature;

  std::vector<Stage> predicates;  // on what was evaluated
  std::vector<Stage> stages;      // of a step
  std::optional<Pairs> group;
  std::size_t group_position = 0;
  bool keep_array = false;
  bool keep_singleton_array = false;
  bool constructs_array = false;
  bool thunk = false;
  bool tuple = false;
  std::string focus, index;  // variables that a step binds
  SlotPtr slot;              // of a parent
  SlotPtr ancestor;          // of a step that a `%` refers to
  std::vector<SlotPtr> seeking_parent;

  bool is_operator(std::string_view name) const { return kind == Kind::binary && value == name; }
};

struct ParseLimits {
  std::size_t bytes_max = 64 * 1024;
  int depth_max = 500;
};

/// Throws Fault.
NodePtr parse(std::string_view text, const ParseLimits& limits);
/// The second half of parsing: paths, predicates, groups, parents, tail calls. Throws Fault.
NodePtr shape(NodePtr node);

}  // namespace wick::eventing::jsonata
