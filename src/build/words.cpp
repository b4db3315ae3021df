#include "words.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "wick/base/text.hpp"

namespace wick::build {

namespace {

constexpr int depth_max = 64;  // "${a:-${b:-…": the scanner recurses

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
/// Letters of any script: a byte of a multi-byte UTF-8 sequence counts as one.
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || static_cast<unsigned char>(c) >= 0x80;
}
bool is_special_parameter(char c) { return std::string_view("@*#?-$!0").contains(c); }

/// Words as they grow: blanks end one only when they are not quoted.
class WordList {
 public:
  void add(char c) {
    if (!is_space(c)) return add_raw(c);
    if (in_word_) finish();
  }
  void add(std::string_view text) {
    for (char c : text) add(c);
  }
  void add_raw(char c) {
    word_ += c;
    in_word_ = true;
  }
  void add_raw(std::string_view text) {
    word_ += text;
    in_word_ = true;
  }
  std::vector<std::string> take() {
    if (!word_.empty()) finish();
    return std::move(words_);
  }

 private:
  void finish() {
    words_.push_back(std::exchange(word_, {}));
    in_word_ = false;
  }
  std::vector<std::string> words_;
  std::string word_;
  bool in_word_ = false;
};

/// A shell pattern with `*`, `?` and backslash; no brackets.
struct Pattern {
  enum class Kind { literal, one, any };
  struct Token {
    Kind kind;
    char c = 0;
  };
  std::vector<Token> tokens;

  static Result<Pattern> parse(std::string_view text) {
    Pattern pattern;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '*') {
        pattern.tokens.push_back({Kind::any});
      } else if (text[i] == '?') {
        pattern.tokens.push_back({Kind::one});
      } else if (text[i] == '\\') {
        if (++i == text.size()) return fail(Errc::invalid, "a pattern ends in a backslash");
        if (!std::string_view("*?\\}/").contains(text[i]))
          return fail(Errc::invalid, fmt::format("invalid escape '\\{}' in a pattern", text[i]));
        pattern.tokens.push_back({Kind::literal, text[i]});
      } else {
        pattern.tokens.push_back({Kind::literal, text[i]});
      }
    }
    return pattern;
  }

  /// Every length at which a prefix of `text` matches: reached[i] is true when text[0, i) does.
  std::vector<bool> prefixes(std::string_view text) const {
    std::vector<bool> reached(text.size() + 1, false);
    reached[0] = true;
    for (const Token& token : tokens) {
      std::vector<bool> next(text.size() + 1, false);
      bool any = false;
      for (std::size_t i = 0; i <= text.size(); ++i) {
        if (token.kind == Kind::any) {
          any = any || reached[i];
          next[i] = any;
        } else if (reached[i] && i < text.size() && (token.kind == Kind::one || text[i] == token.c)) {
          next[i + 1] = true;
        }
      }
      reached = std::move(next);
    }
    return reached;
  }

  std::optional<std::size_t> shortest_prefix(std::string_view text) const {
    const auto reached = prefixes(text);
    const auto at = std::ranges::find(reached, true);
    if (at == reached.end()) return std::nullopt;
    return at - reached.begin();
  }
  std::optional<std::size_t> longest_prefix(std::string_view text) const {
    const auto reached = prefixes(text);
    for (std::size_t i = reached.size(); i-- > 0;)
      if (reached[i]) return i;
    return std::nullopt;
  }
};

std::string trim_prefix(const Pattern& pattern, const std::string& value, bool longest) {
  const auto length = longest ? pattern.longest_prefix(value) : pattern.shortest_prefix(value);
  return length ? value.substr(*length) : value;
}

std::string trim_suffix(const Pattern& pattern, const std::string& value, bool longest) {
  Pattern mirrored = pattern;
  std::ranges::reverse(mirrored.tokens);
  const std::string reversed(value.rbegin(), value.rend());
  const auto length = longest ? mirrored.longest_prefix(reversed) : mirrored.shortest_prefix(reversed);
  return length ? value.substr(0, value.size() - *length) : value;
}

/// An empty match inserts before a character, as in Go's regexp.
std::string replace(const Pattern& pattern, const std::string& value, const std::string& with, bool all) {
  std::string out;
  bool done = false;
  std::size_t after_match = std::string::npos;  // no empty match right behind another match
  for (std::size_t i = 0; i <= value.size();) {
    const auto length = done ? std::nullopt : pattern.longest_prefix(std::string_view(value).substr(i));
    if (length && (*length > 0 || after_match != i)) {
      out += with;
      i += *length;
      after_match = i;
      done = !all;
      if (*length > 0) continue;
    }
    if (i < value.size()) out += value[i];
    ++i;
  }
  return out;
}

class Scanner {
 public:
  Scanner(std::string_view text, const Lookup& lookup, WordRules rules) : text_(text), lookup_(lookup), rules_(rules) {}

  struct Both {
    std::string text;
    std::vector<std::string> words;
  };

  /// Up to `stop` (0: the end). With `raw_escapes` an escape stays in the result together with what it protects.
  Result<Both> scan(char stop, bool raw_escapes) {
    if (++depth_ > depth_max) return fail(Errc::invalid, "substitutions are nested too deeply");
    Both out;
    WordList words;
    while (!at_end()) {
      const char c = peek();
      if (stop != 0 && c == stop) {
        ++at_;
        --depth_;
        out.words = words.take();
        return out;
      }
      if (c == '$') {
        auto value = dollar();
        if (!value) return fail(std::move(value.error()));
        out.text += *value;
        words.add(std::string_view(*value));
      } else if (!rules_.keep_quotes && (c == '\'' || c == '"')) {
        auto value = c == '\'' ? single_quoted() : double_quoted(raw_escapes);
        if (!value) return fail(std::move(value.error()));
        out.text += *value;
        words.add_raw(std::string_view(*value));
      } else if (c == rules_.escape) {
        ++at_;
        if (raw_escapes) {
          out.text += c;
          words.add_raw(c);
        }
        if (at_end()) break;
        out.text += peek();
        words.add_raw(next());
      } else {
        out.text += c;
        words.add(next());
      }
    }
    if (stop != 0) return fail(Errc::invalid, fmt::format("the closing '{}' is missing", stop));
    --depth_;
    out.words = words.take();
    return out;
  }

 private:
  bool at_end() const { return at_ >= text_.size(); }
  char peek() const { return text_[at_]; }
  char next() { return text_[at_++]; }

  Result<std::string> single_quoted() {
    ++at_;
    const auto end = text_.find('\'', at_);
    if (end == std::string_view::npos) return fail(Errc::invalid, "the closing ' of a quoted text is missing");
    std::string out(text_.substr(at_, end - at_));
    at_ = end + 1;
    return out;
  }

  Result<std::string> double_quoted(bool raw_escapes) {
    ++at_;
    std::string out;
    while (!at_end()) {
      const char c = peek();
      if (c == '"') {
        ++at_;
        return out;
      }
      if (c == '$') {
        auto value = dollar();
        if (!value) return value;
        out += *value;
        continue;
      }
      ++at_;
      if (c == rules_.escape) {
        if (raw_escapes) out += c;
        if (at_end()) continue;
        if (peek() == '"' || peek() == '$' || peek() == rules_.escape) {
          out += next();
          continue;
        }
      }
      out += c;
    }
    return fail(Errc::invalid, "the closing \" of a quoted text is missing");
  }

  std::string name() {
    if (at_end()) return {};
    const auto start = at_;
    if (is_digit(peek())) {
      while (!at_end() && is_digit(peek())) ++at_;
    } else if (is_special_parameter(peek())) {
      ++at_;
    } else {
      while (!at_end() && (is_letter(peek()) || is_digit(peek()) || peek() == '_')) ++at_;
    }
    return std::string(text_.substr(start, at_ - start));
  }

  Result<std::string> dollar() {
    ++at_;
    if (at_end()) return "$";
    if (peek() != '{') {
      const auto variable = name();
      return variable.empty() ? "$" : lookup_(variable).value_or("");
    }
    ++at_;
    if (at_end()) return fail(Errc::invalid, "the closing '}' of a '${' is missing");
    if (peek() == '{' || peek() == '}' || peek() == ':')
      return fail(Errc::invalid, "bad substitution: '${' needs a name");
    const auto variable = name();
    if (at_end()) return fail(Errc::invalid, fmt::format("the closing '}}' of '${{{}' is missing", variable));
    const char c = next();
    if (c == '}') return lookup_(variable).value_or("");
    if (c == '/') return replacement(variable);
    return modified(variable, c);
  }

  Result<std::string> modified(const std::string& variable, char modifier) {
    const bool empty_is_unset = modifier == ':';
    if (empty_is_unset) {
      if (at_end()) return fail(Errc::invalid, fmt::format("the closing '}}' of '${{{}' is missing", variable));
      modifier = next();
    }
    const bool trims = modifier == '#' || modifier == '%';
    if (!std::string_view("+-?#%").contains(modifier) || (empty_is_unset && trims))
      return fail(Errc::invalid, fmt::format("unsupported modifier '{}{}' in '${{{}'", empty_is_unset ? ":" : "",
                                             printable(std::string_view(&modifier, 1)), variable));
    auto scanned = scan('}', trims);
    if (!scanned) return fail(std::move(scanned.error()));
    std::string word = std::move(scanned->text);
    const auto value = lookup_(variable);
    const bool unset = !value || (empty_is_unset && value->empty());
    switch (modifier) {
      case '-':
        return unset ? word : *value;
      case '+':
        return unset ? "" : word;
      case '?':
        if (!unset) return *value;
        if (word.empty()) word = value ? "must not be empty" : "must be set";
        return fail(Errc::invalid, fmt::format("{}: {}", variable, word));
      default:
        break;
    }
    const bool longest = !word.empty() && word.front() == modifier;
    auto pattern = Pattern::parse(std::string_view(word).substr(longest ? 1 : 0));
    if (!pattern) return fail(std::move(pattern.error()));
    if (!value) return "";
    return modifier == '#' ? trim_prefix(*pattern, *value, longest) : trim_suffix(*pattern, *value, longest);
  }

  Result<std::string> replacement(const std::string& variable) {
    const bool all = !at_end() && peek() == '/';
    if (all) ++at_;
    auto from = scan('/', true);
    if (!from) return fail(std::move(from.error()));
    auto to = scan('}', true);
    if (!to) return fail(std::move(to.error()));
    auto pattern = Pattern::parse(from->text);
    if (!pattern) return fail(std::move(pattern.error()));
    return replace(*pattern, lookup_(variable).value_or(""), to->text, all);
  }

  std::string_view text_;
  const Lookup& lookup_;
  WordRules rules_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t corner = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t changed = corner + (a[i - 1] == b[j - 1] ? 0 : 1);
      corner = row[j];
      row[j] = std::min({changed, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

Result<std::string> expand_word(std::string_view text, const Lookup& lookup, WordRules rules) {
  auto scanned = Scanner(text, lookup, rules).scan(0, false);
  if (!scanned) return fail(std::move(scanned.error()));
  return std::move(scanned->text);
}

Result<std::vector<std::string>> expand_words(std::string_view text, const Lookup& lookup, WordRules rules) {
  auto scanned = Scanner(text, lookup, rules).scan(0, false);
  if (!scanned) return fail(std::move(scanned.error()));
  return std::move(scanned->words);
}

std::string nearest_word(std::string_view word, const std::vector<std::string_view>& candidates) {
  if (word.size() > 64) return {};
  const auto wanted = to_lower(word);
  std::string_view best;
  std::size_t best_distance = 3;
  for (auto candidate : candidates) {
    const auto distance = edit_distance(wanted, to_lower(candidate));
    // A swap of two letters costs 2; of short words everything is near, so the distance must also be under half of the
    // length.
    if (distance < best_distance && 2 * distance <= candidate.size()) {
      best = candidate;
      best_distance = distance;
    }
  }
  return std::string(best);
}

}  // namespace wick::build
