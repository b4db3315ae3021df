// CESQLLexer.g4 and CESQLParser.g4 by hand: a lexer, and precedence climbing.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "cesql_node.hpp"
#include "wick/base/text.hpp"

namespace wick::eventing::cesql {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

struct Token {
  enum class Kind { end, word, integer, string, symbol } kind = Kind::end;
  std::string text;  // a word in lower case; a string without quotes and escapes
  std::size_t at = 0;
};

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  Result<std::vector<Token>> run() {
    std::vector<Token> tokens;
    while (true) {
      while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) ++at_;
      auto token = next();
      if (!token) return fail(std::move(token.error()));
      const bool last = token->kind == Token::Kind::end;
      tokens.push_back(std::move(*token));
      if (last) return tokens;
    }
  }

 private:
  Result<Token> next() {
    Token token{.at = at_};
    if (at_ >= text_.size()) return token;
    const char c = text_[at_];
    if (c == '\'' || c == '"') return string(c);
    if (is_digit(c) || ((c == '+' || c == '-') && at_ + 1 < text_.size() && is_digit(text_[at_ + 1]))) return number();
    if (is_letter(c)) return word();
    for (const std::string_view symbol :
         {"!=", "<>", "<=", ">=", "(", ")", ",", "*", "/", "%", "+", "-", "=", "<", ">"})
      if (text_.substr(at_).starts_with(symbol)) {
        at_ += symbol.size();
        token.kind = Token::Kind::symbol;
        token.text = symbol;
        return token;
      }
    return fail(Errc::invalid, fmt::format("'{}' at {} begins nothing", printable(text_.substr(at_, 1)), at_ + 1));
  }

  Token word() {
    Token token{.kind = Token::Kind::word, .at = at_};
    while (at_ < text_.size() && (is_letter(text_[at_]) || is_digit(text_[at_]) || text_[at_] == '_')) ++at_;
    token.text = to_lower(text_.substr(token.at, at_ - token.at));
    return token;
  }

  /// The lexer takes a sign greedily, so "4 -1" is two numbers. Digits with letters after them are a name.
  Token number() {
    Token token{.kind = Token::Kind::integer, .at = at_};
    const bool has_sign = !is_digit(text_[at_]);
    ++at_;
    while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
    if (!has_sign && at_ < text_.size() && is_letter(text_[at_])) {
      at_ = token.at;
      return word();
    }
    token.text = text_.substr(token.at, at_ - token.at);
    return token;
  }

  /// The delimiter is escaped by a backslash or by itself; another backslash stays, it may belong to a LIKE pattern.
  Result<Token> string(char delimiter) {
    Token token{.kind = Token::Kind::string, .at = at_};
    for (++at_; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      const char following = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
      if (c == '\\' && following == delimiter) {
        token.text += delimiter;
        ++at_;
      } else if (c == '\\' && following != '\0') {
        token.text += c;
        token.text += following;
        ++at_;
      } else if (c == delimiter && following == delimiter) {
        token.text += delimiter;
        ++at_;
      } else if (c == delimiter) {
        ++at_;
        return token;
      } else {
        token.text += c;
      }
    }
    return fail(Errc::invalid, fmt::format("the string that begins at {} does not end", token.at + 1));
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

struct Binary {
  std::string_view text;
  Operation operation;
  int level;
};

constexpr int logic_level = 1;
constexpr int in_level = 5;
constexpr int like_level = 6;
constexpr int unary_level = 7;
constexpr Binary binaries[] = {
    {"and", Operation::logical_and, logic_level},
    {"or", Operation::logical_or, logic_level},
    {"xor", Operation::logical_xor, logic_level},
    {"=", Operation::equal, 2},
    {"!=", Operation::not_equal, 2},
    {"<>", Operation::not_equal, 2},
    {"<", Operation::less, 2},
    {"<=", Operation::less_or_equal, 2},
    {">", Operation::greater, 2},
    {">=", Operation::greater_or_equal, 2},
    {"+", Operation::add, 3},
    {"-", Operation::subtract, 3},
    {"*", Operation::multiply, 4},
    {"/", Operation::divide, 4},
    {"%", Operation::remainder, 4},
};

constexpr std::string_view keywords[] = {"and", "or", "xor", "not", "like", "exists", "in", "true", "false"};
bool is_keyword(std::string_view word) { return std::ranges::find(keywords, word) != std::end(keywords); }

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  Result<NodePointer> run() {
    auto root = expression(logic_level);
    if (root && peek().kind != Token::Kind::end) return wrong("an operator or the end");
    return root;
  }

 private:
  using Parsed = Result<NodePointer>;

  const Token& peek(std::size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  Token take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool is(std::string_view text, std::size_t ahead = 0) const {
    const Token& token = peek(ahead);
    return (token.kind == Token::Kind::word || token.kind == Token::Kind::symbol) && token.text == text;
  }
  bool take_if(std::string_view text) {
    if (!is(text)) return false;
    take();
    return true;
  }
  std::unexpected<Error> wrong(std::string_view wanted) const {
    const Token& token = peek();
    const std::string found = token.kind == Token::Kind::end ? "the end" : "'" + printable(token.text, 40) + "'";
    return fail(Errc::invalid, fmt::format("expected {} at {}, found {}", wanted, token.at + 1, found));
  }

  Parsed make(Node node, std::vector<NodePointer> operands = {}) const {
    for (const auto& operand : operands) node.depth = std::max(node.depth, operand->depth + 1);
    if (node.depth > Expression::depth_max)
      return fail(Errc::invalid, fmt::format("more than {} levels deep", Expression::depth_max));
    node.operands = std::move(operands);
    return std::make_unique<const Node>(std::move(node));
  }
  template <class... Operands>
  Parsed join(Node node, Operands... operands) const {
    std::vector<NodePointer> list;
    (list.push_back(std::move(operands)), ...);
    return make(std::move(node), std::move(list));
  }

  /// Everything that binds at least as tightly as `level`.
  Parsed expression(int level) {
    if (++nested_ > Expression::depth_max)
      return fail(Errc::invalid, fmt::format("more than {} levels deep", Expression::depth_max));
    auto left = primary();
    while (left) {
      const std::size_t before = at_;
      left = following(std::move(*left), level);
      if (at_ == before) break;
    }
    --nested_;
    return left;
  }

  /// `left` with the next operator, or `left` alone when none follows that may bind here.
  Parsed following(NodePointer left, int level) {
    const bool negated = is("not");
    if (is("like", negated) && level <= like_level) return like(std::move(left), negated);
    if (is("in", negated) && level <= in_level) return in(std::move(left), negated);
    for (const Binary& binary : binaries) {
      if (!is(binary.text) || level > binary.level) continue;
      take();
      auto right = expression(binary.level == logic_level ? logic_level : binary.level + 1);
      if (!right) return right;
      return join({.operation = binary.operation}, std::move(left), std::move(*right));
    }
    return left;
  }

  Parsed like(NodePointer left, bool negated) {
    if (negated) take();
    take();
    if (peek().kind != Token::Kind::string) return wrong("a string after LIKE");
    Node node{.operation = Operation::like, .text = take().text, .negated = negated};
    return join(std::move(node), std::move(left));
  }

  Parsed in(NodePointer left, bool negated) {
    if (negated) take();
    take();
    if (!take_if("(")) return wrong("'('");
    std::vector<NodePointer> operands;
    operands.push_back(std::move(left));
    if (auto rest = list(operands); !rest) return fail(std::move(rest.error()));
    if (operands.size() == 1) return fail(Errc::invalid, "the set after IN is empty");
    return make({.operation = Operation::in, .negated = negated}, std::move(operands));
  }

  /// Expressions up to the closing parenthesis.
  Result<void> list(std::vector<NodePointer>& operands) {
    if (take_if(")")) return {};
    do {
      auto operand = expression(logic_level);
      if (!operand) return fail(std::move(operand.error()));
      operands.push_back(std::move(*operand));
    } while (take_if(","));
    if (!take_if(")")) return wrong("',' or ')'");
    return {};
  }

  Parsed primary() {
    if (take_if("(")) {
      auto inner = expression(logic_level);
      if (inner && !take_if(")")) return wrong("')'");
      return inner;
    }
    if (is("not") || is("-")) {
      const auto operation = take().text == "-" ? Operation::negate : Operation::logical_not;
      auto operand = expression(unary_level);
      if (!operand) return operand;
      return join({.operation = operation}, std::move(*operand));
    }
    if (take_if("exists")) {
      if (peek().kind != Token::Kind::word || is_keyword(peek().text)) return wrong("an attribute after EXISTS");
      return make({.operation = Operation::exists, .text = take().text});
    }
    return atom();
  }

  Parsed atom() {
    const Token& token = peek();
    switch (token.kind) {
      case Token::Kind::string:
        return make({.value = take().text});
      case Token::Kind::integer:
        return integer();
      case Token::Kind::word:
        if (is("true") || is("false")) return make({.value = take().text == "true"});
        if (is_keyword(token.text)) break;
        if (is("(", 1)) return call();
        if (token.text.contains('_')) break;  // the name of a function only
        return make({.operation = Operation::attribute, .text = take().text});
      default:
        break;
    }
    return wrong("a value");
  }

  Parsed integer() {
    const Token token = take();
    const char* first = token.text.data() + (token.text[0] == '+');
    std::int32_t value = 0;
    const auto [end, error] = std::from_chars(first, token.text.data() + token.text.size(), value);
    if (error != std::errc{})
      return fail(Errc::invalid,
                  fmt::format("{} at {} is no integer of 32 bits", printable(token.text, 40), token.at + 1));
    return make({.value = value});
  }

  Parsed call() {
    Node node{.operation = Operation::call, .text = take().text};
    take();
    std::vector<NodePointer> operands;
    if (auto rest = list(operands); !rest) return fail(std::move(rest.error()));
    return make(std::move(node), std::move(operands));
  }

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int nested_ = 0;
};

}  // namespace

Result<Expression> Expression::parse(std::string_view text) {
  if (text.size() > bytes_max)
    return fail(Errc::invalid,
                fmt::format("a CESQL expression may have {} bytes, this one has {}", bytes_max, text.size()));
  auto tokens = Lexer(text).run();
  if (!tokens) return fail(std::move(tokens.error()).within("CESQL"));
  auto root = Parser(std::move(*tokens)).run();
  if (!root) return fail(std::move(root.error()).within("CESQL"));
  Expression expression;
  expression.text_ = text;
  expression.root_ = std::move(*root);
  return expression;
}

}  // namespace wick::eventing::cesql
