// The second half of parsing: chains of '.' become paths, predicates and groups go to the step they belong to, each
// '%' finds the step whose input it is, and calls at the end of a function become thunks.
#include <algorithm>

#include "eventing/jsonata_node.hpp"

namespace wick::eventing::jsonata {

namespace {

using Kind = Node::Kind;

void call_in_tail_position(NodePtr& node) {
  switch (node->kind) {
    case Kind::call: {
      if (!node->predicates.empty() || node->group) return;
      auto thunk = std::make_shared<Node>();
      thunk->kind = Kind::lambda;
      thunk->thunk = true;
      thunk->position = node->position;
      thunk->first = std::move(node);
      node = std::move(thunk);
      return;
    }
    case Kind::condition:
      if (!node->predicates.empty() || node->group) return;
      call_in_tail_position(node->second);
      if (node->third) call_in_tail_position(node->third);
      return;
    case Kind::block:
      if (!node->predicates.empty() || node->group) return;
      if (!node->list.empty()) call_in_tail_position(node->list.back());
      return;
    default:
      return;
  }
}

class Shaper {
 public:
  NodePtr shape(NodePtr node) {
    auto result = shape_kind(node);
    if (node->keep_array) result->keep_array = true;
    return result;
  }

 private:
  NodePtr path_of(NodePtr step) {
    auto path = std::make_shared<Node>();
    path->kind = Kind::path;
    path->position = step->position;
    path->list.push_back(std::move(step));
    return path;
  }

  NodePtr fresh(const Node& from, Kind kind) {
    auto node = std::make_shared<Node>();
    node->kind = kind;
    node->position = from.position;
    node->value = from.value;
    return node;
  }

  /// What `value` still seeks above it is sought above `result`.
  void pass_up(Node& result, const Node& value) {
    result.seeking_parent.insert(result.seeking_parent.end(), value.seeking_parent.begin(), value.seeking_parent.end());
    if (value.kind == Kind::parent) result.seeking_parent.push_back(value.slot);
  }

  void seek(Node& node, const SlotPtr& slot) {
    switch (node.kind) {
      case Kind::name:
      case Kind::wildcard:
        if (--slot->level == 0) {
          if (node.ancestor) slot->label = node.ancestor->label;
          node.ancestor = slot;
          node.tuple = true;
        }
        return;
      case Kind::parent:
        ++slot->level;
        return;
      case Kind::block:
        if (!node.list.empty()) {
          node.tuple = true;
          seek(*node.list.back(), slot);
        }
        return;
      case Kind::path: {
        node.tuple = true;
        auto index = node.list.size();
        seek(*node.list[--index], slot);
        while (slot->level > 0 && index > 0) seek(*node.list[--index], slot);
        return;
      }
      default:
        throw Fault{.code = "S0217", .position = node.position, .token = node.value};
    }
  }

  void find_parents(Node& path) {
    const auto& last = *path.list.back();
    auto slots = last.seeking_parent;
    if (last.kind == Kind::parent) slots.push_back(last.slot);
    for (const auto& slot : slots) {
      auto index = static_cast<std::ptrdiff_t>(path.list.size()) - 2;
      while (slot->level > 0) {
        if (index < 0) {
          path.seeking_parent.push_back(slot);
          break;
        }
        auto* step = path.list[static_cast<std::size_t>(index--)].get();
        // Steps that follow one another and bind their focus have one input.
        while (index >= 0 && !step->focus.empty() && !path.list[static_cast<std::size_t>(index)]->focus.empty())
          step = path.list[static_cast<std::size_t>(index--)].get();
        seek(*step, slot);
      }
    }
  }

  NodePtr shape_kind(const NodePtr& node) {
    switch (node->kind) {
      case Kind::binary:
        return shape_binary(*node);
      case Kind::unary_minus:
        return shape_minus(*node);
      case Kind::array:
      case Kind::block:
        return shape_list(*node);
      case Kind::object: {
        auto result = fresh(*node, Kind::object);
        result->pairs = shape_pairs(node->pairs, result.get());
        return result;
      }
      case Kind::call:
      case Kind::partial: {
        auto result = fresh(*node, node->kind);
        for (const auto& argument : node->list) {
          result->list.push_back(shape(argument));
          pass_up(*result, *result->list.back());
        }
        result->first = shape(node->first);
        return result;
      }
      case Kind::lambda: {
        auto result = fresh(*node, Kind::lambda);
        result->list = node->list;
        result->signature = node->signature;
        result->first = shape(node->first);
        call_in_tail_position(result->first);
        return result;
      }
      case Kind::condition:
      case Kind::transform: {
        auto result = fresh(*node, node->kind);
        const std::pair<const NodePtr*, NodePtr*> parts[] = {
            {&node->first, &result->first}, {&node->second, &result->second}, {&node->third, &result->third}};
        for (const auto& [from, to] : parts) {
          if (!*from) continue;
          *to = shape(*from);
          if (node->kind == Kind::condition) pass_up(*result, **to);
        }
        return result;
      }
      case Kind::word:
        node->kind = Kind::name;
        return shape_kind(node);
      case Kind::name: {
        auto result = path_of(node);
        if (node->keep_array) result->keep_singleton_array = true;
        return result;
      }
      case Kind::parent: {
        auto result = fresh(*node, Kind::parent);
        result->slot = std::make_shared<Slot>(Slot{.label = "!" + std::to_string(labels_++)});
        return result;
      }
      case Kind::end:
        throw Fault{.code = "S0207", .position = node->position};
      default:
        return node;
    }
  }

  Pairs shape_pairs(const Pairs& pairs, Node* seeker) {
    Pairs out;
    for (const auto& [key, value] : pairs) {
      auto shaped_key = shape(key), shaped_value = shape(value);
      if (seeker) {
        pass_up(*seeker, *shaped_key);
        pass_up(*seeker, *shaped_value);
      }
      out.emplace_back(std::move(shaped_key), std::move(shaped_value));
    }
    return out;
  }

  NodePtr shape_minus(const Node& node) {
    auto inner = shape(node.first);
    if (inner->kind == Kind::number) {
      inner->literal = -inner->literal.number();
      return inner;
    }
    auto result = fresh(node, Kind::unary_minus);
    pass_up(*result, *inner);
    result->first = std::move(inner);
    return result;
  }

  NodePtr shape_list(const Node& node) {
    auto result = fresh(node, node.kind);
    for (const auto& item : node.list) {
      auto part = shape(item);
      pass_up(*result, *part);
      if (node.kind == Kind::block &&
          (part->constructs_array || (part->kind == Kind::path && part->list.front()->constructs_array)))
        result->constructs_array = true;
      result->list.push_back(std::move(part));
    }
    return result;
  }

  NodePtr shape_binary(const Node& node) {
    const auto& symbol = node.value;
    if (symbol == ".") return shape_step(node);
    if (symbol == "[") return shape_predicate(node);
    if (symbol == "{") return shape_group(node);
    if (symbol == "^") return shape_order(node);
    if (symbol == "@" || symbol == "#") return shape_binding(node);
    auto result = fresh(node, symbol == ":=" ? Kind::bind : symbol == "~>" ? Kind::apply : Kind::binary);
    result->first = shape(node.first);
    result->second = shape(node.second);
    if (result->kind == Kind::apply) {
      result->keep_array = result->first->keep_array || result->second->keep_array;
      return result;
    }
    if (result->kind == Kind::binary) pass_up(*result, *result->first);
    pass_up(*result, *result->second);
    return result;
  }

  NodePtr shape_step(const Node& node) {
    auto left = shape(node.first);
    const bool from_parent = left->kind == Kind::parent;
    const auto parent_slot = left->slot;
    auto path = left->kind == Kind::path ? std::move(left) : path_of(std::move(left));
    if (from_parent) path->seeking_parent = {parent_slot};
    auto rest = shape(node.second);
    if (rest->kind == Kind::path) {
      path->list.insert(path->list.end(), rest->list.begin(), rest->list.end());
    } else {
      if (!rest->predicates.empty()) {
        rest->stages = std::move(rest->predicates);
        rest->predicates.clear();
      }
      path->list.push_back(std::move(rest));
    }
    for (const auto& step : path->list) {
      if (step->kind == Kind::number || step->kind == Kind::constant)
        throw Fault{.code = "S0213", .position = step->position, .value = step->literal};
      if (step->kind == Kind::text) step->kind = Kind::name;  // "a b".c
      if (step->keep_array) path->keep_singleton_array = true;
    }
    for (const auto* step : {&path->list.front(), &path->list.back()})
      if ((*step)->kind == Kind::array) (*step)->constructs_array = true;
    find_parents(*path);
    return path;
  }

  NodePtr shape_predicate(const Node& node) {
    auto result = shape(node.first);
    Node* step = result->kind == Kind::path ? result->list.back().get() : result.get();
    if (step->group) throw Fault{.code = "S0209", .position = node.position};
    auto predicate = shape(node.second);
    if (!predicate->seeking_parent.empty()) {
      for (const auto& slot : predicate->seeking_parent) {
        if (slot->level == 1)
          seek(*step, slot);
        else
          --slot->level;
      }
      pass_up(*step, *predicate);
    }
    auto& stages = result->kind == Kind::path ? step->stages : step->predicates;
    stages.push_back({.kind = Stage::Kind::filter, .expression = std::move(predicate), .variable = {}});
    return result;
  }

  NodePtr shape_group(const Node& node) {
    auto result = shape(node.first);
    if (result->group) throw Fault{.code = "S0210", .position = node.position};
    result->group = shape_pairs(node.pairs, nullptr);
    result->group_position = node.position;
    return result;
  }

  NodePtr shape_order(const Node& node) {
    auto result = shape(node.first);
    if (result->kind != Kind::path) result = path_of(std::move(result));
    auto sort = fresh(node, Kind::sort);
    for (const auto& term : node.terms) {
      auto expression = shape(term.expression);
      pass_up(*sort, *expression);
      sort->terms.push_back({.expression = std::move(expression), .descending = term.descending});
    }
    result->list.push_back(std::move(sort));
    find_parents(*result);
    return result;
  }

  NodePtr shape_binding(const Node& node) {
    auto result = shape(node.first);
    Node* step = result->kind == Kind::path ? result->list.back().get() : result.get();
    if (node.value == "@") {
      if (!step->stages.empty() || !step->predicates.empty()) throw Fault{.code = "S0215", .position = node.position};
      if (step->kind == Kind::sort) throw Fault{.code = "S0216", .position = node.position};
      if (node.keep_array) step->keep_array = true;
      step->focus = node.second->value;
      step->tuple = true;
      return result;
    }
    if (result->kind != Kind::path) {
      result = path_of(std::move(result));
      if (!step->predicates.empty()) {
        step->stages = std::move(step->predicates);
        step->predicates.clear();
      }
    }
    if (step->stages.empty())
      step->index = node.second->value;
    else
      step->stages.push_back({.kind = Stage::Kind::index, .expression = nullptr, .variable = node.second->value});
    step->tuple = true;
    return result;
  }

  int labels_ = 0;
};

}  // namespace

NodePtr shape(NodePtr node) {
  auto shaped = Shaper().shape(std::move(node));
  if (shaped->kind == Node::Kind::parent || !shaped->seeking_parent.empty())
    throw Fault{.code = "S0217", .position = shaped->position, .token = "%"};
  return shaped;
}

}  // namespace wick::eventing::jsonata
