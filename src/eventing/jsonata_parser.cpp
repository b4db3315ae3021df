// Pratt's parser: what a token means at the start of an expression (begin) and behind one (extend), and how strongly
// it binds. The tree is as written; shape() makes paths of it.
#include <algorithm>

#include "eventing/jsonata_lexer.hpp"
#include "eventing/jsonata_node.hpp"

namespace wick::eventing::jsonata {

namespace {

struct Binding {
  std::string_view symbol;
  int power;
};
constexpr Binding bindings[] = {{".", 75},  {"[", 80},  {"{", 70},   {"(", 80},  {"@", 80},  {"#", 80},  {"?", 20},
                                {"+", 50},  {"-", 50},  {"*", 60},   {"/", 60},  {"%", 60},  {"=", 40},  {"<", 40},
                                {">", 40},  {"^", 40},  {":=", 10},  {"!=", 40}, {"<=", 40}, {">=", 40}, {"~>", 40},
                                {"?:", 40}, {"??", 40}, {"and", 30}, {"or", 25}, {"in", 40}, {"&", 50}};

/// Of a token behind an expression; 0 ends it.
int power_of(const Token& token) {
  if (token.kind != Token::Kind::symbol) return 0;
  for (const auto& one : bindings)
    if (one.symbol == token.value) return one.power;
  return 0;
}

/// A copy to be changed apart from the other one.
NodePtr copy_of(const NodePtr& node) {
  if (!node) return nullptr;
  auto copy = std::make_shared<Node>(*node);
  for (auto* child : {&copy->first, &copy->second, &copy->third}) *child = copy_of(*child);
  for (auto& child : copy->list) child = copy_of(child);
  for (auto& [key, value] : copy->pairs) {
    key = copy_of(key);
    value = copy_of(value);
  }
  for (auto& term : copy->terms) term.expression = copy_of(term.expression);
  return copy;
}

class Parser {
 public:
  Parser(std::string_view text, const ParseLimits& limits) : lexer_(text), limits_(limits) {}

  NodePtr parse() {
    advance(false);
    auto node = expression(0);
    if (token_.kind != Token::Kind::end)
      throw Fault{.code = "S0201", .position = token_.position, .token = token_.value};
    return node;
  }

 private:
  bool at(std::string_view symbol) const { return token_.kind == Token::Kind::symbol && token_.value == symbol; }

  void advance(bool after_operand) { token_ = lexer_.next(after_operand); }

  void expect(std::string_view symbol, bool after_operand = false) {
    if (!at(symbol))
      throw Fault{.code = token_.kind == Token::Kind::end ? "S0203" : "S0202",
                  .position = token_.position,
                  .token = token_.value,
                  .value = symbol};
    advance(after_operand);
  }

  bool take(std::string_view symbol) {
    if (!at(symbol)) return false;
    advance(false);
    return true;
  }

  void check_depth(int depth, std::size_t position) const {
    if (depth > limits_.depth_max)
      throw Fault{.code = "D1011",
                  .position = position,
                  .detail = "the expression is nested more than " + std::to_string(limits_.depth_max) + " deep"};
  }

  /// The tree is walked by recursion later: its depth is bounded here, also where a chain made it.
  NodePtr done(NodePtr node) {
    int depth = 0;
    const auto look = [&](const NodePtr& child) {
      if (!child) return;
      const auto found = depths_.find(child.get());
      depth = std::max(depth, found == depths_.end() ? 1 : found->second);
    };
    for (const auto* child : {&node->first, &node->second, &node->third}) look(*child);
    for (const auto& child : node->list) look(child);
    for (const auto& [key, value] : node->pairs) {
      look(key);
      look(value);
    }
    for (const auto& term : node->terms) look(term.expression);
    check_depth(depth + 1, node->position);
    if (depth > 0) depths_[node.get()] = depth + 1;
    kept_.push_back(node);
    return node;
  }

  NodePtr make(Node::Kind kind, const Token& token) {
    auto node = std::make_shared<Node>();
    node->kind = kind;
    node->position = token.position;
    node->value = token.value;
    return node;
  }

  NodePtr expression(int power) {
    check_depth(++depth_, token_.position);
    const Token token = token_;
    advance(true);
    auto left = begin(token);
    while (power < power_of(token_)) {
      const Token symbol = token_;
      advance(false);
      left = extend(symbol, std::move(left));
    }
    --depth_;
    return left;
  }

  NodePtr begin(const Token& token) {
    switch (token.kind) {
      case Token::Kind::name:
        return make(Node::Kind::name, token);
      case Token::Kind::variable:
        return make(Node::Kind::variable, token);
      case Token::Kind::text:
      case Token::Kind::number:
      case Token::Kind::constant: {
        auto node = make(token.kind == Token::Kind::text     ? Node::Kind::text
                         : token.kind == Token::Kind::number ? Node::Kind::number
                                                             : Node::Kind::constant,
                         token);
        node->literal = token.literal;
        return node;
      }
      case Token::Kind::regex: {
        auto node = make(Node::Kind::regex, token);
        node->regex = token.regex;
        return node;
      }
      case Token::Kind::end:
        return make(Node::Kind::end, token);
      case Token::Kind::symbol:
        return begin_symbol(token);
    }
    return nullptr;
  }

  NodePtr begin_symbol(const Token& token) {
    const auto& symbol = token.value;
    if (symbol == "and" || symbol == "or" || symbol == "in") return make(Node::Kind::word, token);
    if (symbol == "*") return make(Node::Kind::wildcard, token);
    if (symbol == "**") return make(Node::Kind::descendant, token);
    if (symbol == "%") return make(Node::Kind::parent, token);
    if (symbol == "-") {
      auto node = make(Node::Kind::unary_minus, token);
      node->first = expression(70);
      return done(std::move(node));
    }
    if (symbol == "(") return block(token);
    if (symbol == "[") return array(token);
    if (symbol == "{") {
      auto node = make(Node::Kind::object, token);
      node->pairs = pairs();
      return done(std::move(node));
    }
    if (symbol == "|") return transform(token);
    if (symbol == "!" || symbol == "~") throw Fault{.code = "S0204", .position = token.position, .token = symbol};
    throw Fault{.code = "S0211", .position = token.position, .token = symbol};
  }

  Pairs pairs() {
    Pairs out;
    if (!at("}")) do {
        auto key = expression(0);
        expect(":");
        auto value = expression(0);
        out.emplace_back(std::move(key), std::move(value));
      } while (take(","));
    expect("}", true);
    return out;
  }

  NodePtr block(const Token& token) {
    auto node = make(Node::Kind::block, token);
    while (!at(")")) {
      node->list.push_back(expression(0));
      if (!take(";")) break;
    }
    expect(")", true);
    return done(std::move(node));
  }

  NodePtr array(const Token& token) {
    auto node = make(Node::Kind::array, token);
    if (!at("]")) do {
        auto item = expression(0);
        if (at("..")) {
          auto range = make(Node::Kind::binary, token_);
          advance(false);
          range->first = std::move(item);
          range->second = expression(0);
          item = done(std::move(range));
        }
        node->list.push_back(std::move(item));
      } while (take(","));
    expect("]", true);
    return done(std::move(node));
  }

  NodePtr transform(const Token& token) {
    auto node = make(Node::Kind::transform, token);
    node->first = expression(0);
    expect("|");
    node->second = expression(0);
    if (take(",")) node->third = expression(0);
    expect("|", true);
    return done(std::move(node));
  }

  NodePtr extend(const Token& token, NodePtr left) {
    const auto& symbol = token.value;
    if (symbol == "(") return call(token, std::move(left));
    if (symbol == "[") return predicate(token, std::move(left));
    if (symbol == "^") return order(token, std::move(left));
    if (symbol == "?" || symbol == "?:" || symbol == "??") return condition(token, std::move(left));
    auto node = make(Node::Kind::binary, token);
    node->first = std::move(left);
    if (symbol == "{") {
      node->pairs = pairs();
    } else if (symbol == ":=") {
      if (node->first->kind != Node::Kind::variable)
        throw Fault{.code = "S0212", .position = node->first->position, .token = node->first->value};
      node->second = expression(power_of(token) - 1);
    } else {
      node->second = expression(power_of(token));
      if ((symbol == "@" || symbol == "#") && node->second->kind != Node::Kind::variable)
        throw Fault{.code = "S0214", .position = node->second->position, .token = symbol};
    }
    return done(std::move(node));
  }

  NodePtr predicate(const Token& token, NodePtr left) {
    if (at("]")) {  // nothing in it: arrays of one stay arrays
      Node* step = left.get();
      while (step->is_operator("[")) step = step->first.get();
      step->keep_array = true;
      expect("]", true);
      return left;
    }
    auto node = make(Node::Kind::binary, token);
    node->first = std::move(left);
    node->second = expression(0);
    expect("]", true);
    return done(std::move(node));
  }

  NodePtr order(const Token& token, NodePtr left) {
    auto node = make(Node::Kind::binary, token);
    node->first = std::move(left);
    expect("(");
    do {
      SortTerm term{.expression = nullptr, .descending = at(">")};
      if (at("<") || at(">")) advance(false);
      term.expression = expression(0);
      node->terms.push_back(std::move(term));
    } while (take(","));
    expect(")", true);
    return done(std::move(node));
  }

  NodePtr condition(const Token& token, NodePtr left) {
    auto node = make(Node::Kind::condition, token);
    if (token.value == "?") {
      node->first = std::move(left);
      node->second = expression(0);
      if (take(":")) node->third = expression(0);
      return done(std::move(node));
    }
    copied_ += nodes_in(left);
    if (copied_ > copies_max)
      throw Fault{.code = "D1011",
                  .position = token.position,
                  .detail = "too many ?: and ?? behind one another: bind the left side to a variable"};
    auto asked = copy_of(left);
    if (token.value == "??") {
      auto exists = std::make_shared<Node>();
      exists->kind = Node::Kind::call;
      exists->position = token.position;
      exists->first = std::make_shared<Node>();
      exists->first->kind = Node::Kind::variable;
      exists->first->value = "exists";
      exists->first->position = token.position;
      exists->list.push_back(std::move(asked));
      asked = std::move(exists);
    }
    node->first = std::move(asked);
    node->second = std::move(left);
    node->third = expression(0);
    return done(std::move(node));
  }

  NodePtr call(const Token& token, NodePtr left) {
    auto node = make(Node::Kind::call, token);
    if (!at(")")) do {
        if (at("?")) {
          node->kind = Node::Kind::partial;
          node->list.push_back(make(Node::Kind::placeholder, token_));
          advance(true);
        } else {
          node->list.push_back(expression(0));
        }
      } while (take(","));
    expect(")", true);
    if (left->kind == Node::Kind::name && (left->value == "function" || left->value == "\u03BB")) return lambda(node);
    node->first = std::move(left);
    return done(std::move(node));
  }

  NodePtr lambda(NodePtr node) {
    for (std::size_t i = 0; i < node->list.size(); ++i)
      if (const auto& argument = *node->list[i]; argument.kind != Node::Kind::variable)
        throw Fault{.code = "S0208",
                    .position = argument.position,
                    .token = argument.value,
                    .value = static_cast<double>(i + 1)};
    node->kind = Node::Kind::lambda;
    if (at("<")) read_signature(*node);
    expect("{");
    node->first = expression(0);
    expect("}", true);
    return done(std::move(node));
  }

  void read_signature(Node& node) {
    const auto start = token_.position;
    std::string text = "<";
    for (int depth = 1; depth > 0;) {
      advance(false);
      if (at("{") || token_.kind == Token::Kind::end) break;
      if (at(">")) --depth;
      if (at("<")) ++depth;
      text += token_.value;
      if (text.size() > signature_bytes_max)
        throw Fault{.code = "S0201", .position = start, .token = "<", .detail = "the signature is too long"};
    }
    expect(">");
    try {
      node.signature = std::make_shared<const Signature>(text);
    } catch (Fault& fault) {
      fault.position += start;
      throw;
    }
  }

  std::size_t nodes_in(const NodePtr& node) const {
    std::size_t nodes = 1;
    for (const auto* child : {&node->first, &node->second, &node->third})
      if (*child) nodes += nodes_in(*child);
    for (const auto& child : node->list) nodes += nodes_in(child);
    for (const auto& [key, value] : node->pairs) nodes += nodes_in(key) + nodes_in(value);
    for (const auto& term : node->terms) nodes += nodes_in(term.expression);
    return nodes;
  }

  static constexpr std::size_t signature_bytes_max = 200;
  static constexpr std::size_t copies_max = 50'000;  // nodes; each copies what is left of it

  Lexer lexer_;
  const ParseLimits& limits_;
  Token token_;
  int depth_ = 0;
  std::size_t copied_ = 0;
  std::unordered_map<const Node*, int> depths_;
  std::vector<NodePtr> kept_;  // so that no address comes twice
};

}  // namespace

NodePtr parse(std::string_view text, const ParseLimits& limits) {
  if (text.size() > limits.bytes_max)
    throw Fault{.code = "D1011",
                .position = 0,
                .detail = "the expression is longer than " + std::to_string(limits.bytes_max) + " bytes"};
  return shape(Parser(text, limits).parse());
}

}  // namespace wick::eventing::jsonata
