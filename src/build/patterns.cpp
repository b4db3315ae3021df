#include "patterns.hpp"

#include <fmt/format.h>

#include "wick/base/text.hpp"

namespace wick::build {

std::string clean_path(std::string_view path) {
  const bool absolute = path.starts_with('/');
  std::vector<std::string_view> kept;
  for (auto part : split(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == ".." && !kept.empty() && kept.back() != "..") {
      kept.pop_back();
    } else if (part != ".." || !absolute) {
      kept.push_back(part);
    }
  }
  std::string out;
  for (auto part : kept) {
    if (absolute || !out.empty()) out += '/';
    out += part;
  }
  if (!out.empty()) return out;
  return absolute ? "/" : ".";
}

std::string rooted_path(std::string_view path) { return clean_path(fmt::format("/{}", path)).substr(1); }

std::string join_path(std::string_view folder, std::string_view path) {
  if (path.starts_with('/')) return clean_path(path);
  return clean_path(fmt::format("/{}/{}", folder, path));
}

std::string base_name(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  return std::string(path.substr(path.rfind('/') + 1));
}

namespace {

/// Characters, so that '?' is one of them; a byte that is no UTF-8 stands for itself, outside of Unicode.
std::u32string characters(std::string_view text) {
  std::u32string out;
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = lead < 0x80 ? 1 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC2 ? 2 : 0;
    char32_t c = length == 1 ? lead : length == 0 ? 0 : lead & (0x7F >> length);
    bool good = length > 0 && i + length <= text.size();
    for (std::size_t k = 1; good && k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      good = (next & 0xC0) == 0x80;
      c = c << 6 | (next & 0x3F);
    }
    out += good ? c : 0x200000 + lead;
    i += good ? length : 1;
  }
  return out;
}

}  // namespace

Result<Glob> Glob::compile(std::string_view text, Flavour flavour) {
  using Kind = Token::Kind;
  const auto bad = [&](std::string_view why) {
    return fail(Errc::invalid, fmt::format("bad pattern '{}': {}", printable(text), why));
  };
  const auto whole = characters(text);
  const std::u32string_view pattern = whole;
  Glob out;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char32_t c = pattern[i];
    const bool twice = c == '*' && pattern.substr(i + 1).starts_with(U'*');
    if (twice && flavour == Flavour::ignore_file) {
      ++i;
      if (pattern.substr(i + 1).starts_with(U'/')) ++i;
      out.tokens_.push_back({.kind = i + 1 == pattern.size() ? Kind::across : Kind::folders});
    } else if (c == '*') {
      out.tokens_.push_back({.kind = Kind::within});
    } else if (c == '?') {
      out.tokens_.push_back({.kind = Kind::one});
    } else if (c == '\\') {
      if (++i == pattern.size()) return bad("it ends in a backslash");
      out.tokens_.push_back({.kind = Kind::literal, .c = pattern[i]});
    } else if (c == '[') {
      Token token{.kind = Kind::set};
      if (++i < pattern.size() && pattern[i] == '^') {
        token.negated = true;
        ++i;
      }
      const auto take = [&](char32_t& into) {
        if (i >= pattern.size() || pattern[i] == '-' || pattern[i] == ']') return false;
        if (pattern[i] == '\\' && ++i >= pattern.size()) return false;
        into = pattern[i++];
        return true;
      };
      while (i >= pattern.size() || pattern[i] != ']' || token.set.empty()) {
        char32_t low = 0;
        if (!take(low)) return bad("'[' without its ']'");
        char32_t high = low;
        if (i < pattern.size() && pattern[i] == '-') {
          ++i;
          if (!take(high)) return bad("a range without its end");
        }
        if (high < low) return bad("a range that ends before it starts");
        token.set += {low, high};
      }
      out.tokens_.push_back(std::move(token));
    } else {
      out.tokens_.push_back({.kind = Kind::literal, .c = c});
    }
  }
  return out;
}

bool Glob::matches(std::string_view text) const {
  using Kind = Token::Kind;
  const auto path = characters(text);
  std::vector<bool> reached(path.size() + 1, false);  // reached[i]: the tokens so far can match path[0, i)
  reached[0] = true;
  for (const Token& token : tokens_) {
    std::vector<bool> next(path.size() + 1, false);
    bool open = false;
    for (std::size_t i = 0; i <= path.size(); ++i) {
      switch (token.kind) {
        case Kind::within:
          if (i > 0 && path[i - 1] == '/') open = false;
          open = open || reached[i];
          next[i] = open;
          break;
        case Kind::across:
          open = open || reached[i];
          next[i] = open;
          break;
        case Kind::folders:
          next[i] = reached[i] || (open && path[i - 1] == '/');
          open = open || reached[i];
          break;
        case Kind::literal:
          if (i < path.size() && reached[i] && path[i] == token.c) next[i + 1] = true;
          break;
        case Kind::one:
          if (i < path.size() && reached[i] && path[i] != '/') next[i + 1] = true;
          break;
        case Kind::set: {
          if (i == path.size() || !reached[i] || path[i] == '/') break;
          bool in = false;
          for (std::size_t at = 0; at < token.set.size(); at += 2)
            in = in || (token.set[at] <= path[i] && path[i] <= token.set[at + 1]);
          if (in != token.negated) next[i + 1] = true;
          break;
        }
      }
    }
    reached = std::move(next);
  }
  return reached[path.size()];
}

bool Glob::has_wildcards(std::string_view pattern) {
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '\\') {
      ++i;
    } else if (pattern[i] == '*' || pattern[i] == '?' || pattern[i] == '[') {
      return true;
    }
  }
  return false;
}

std::string Glob::unescape(std::string_view pattern) {
  std::string out;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '\\' && i + 1 < pattern.size()) ++i;
    out += pattern[i];
  }
  return out;
}

std::vector<std::string> read_ignore_file(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  std::vector<std::string> out;
  for (auto line : split(text, '\n')) {
    if (line.starts_with('#')) continue;
    auto pattern = trim(line);
    if (pattern.empty()) continue;
    const bool inverted = pattern.starts_with('!');
    if (inverted) pattern = trim(pattern.substr(1));
    std::string cleaned;
    if (!pattern.empty()) cleaned = clean_path(pattern);
    if (cleaned.size() > 1 && cleaned[0] == '/') cleaned.erase(0, 1);
    out.push_back((inverted ? "!" : "") + cleaned);
  }
  return out;
}

Result<IgnoreRules> IgnoreRules::compile(const std::vector<std::string>& patterns) {
  IgnoreRules out;
  for (const auto& raw : patterns) {
    auto pattern = trim(raw);
    if (pattern.empty()) continue;
    const bool inverted = pattern.starts_with('!');
    if (inverted) pattern.remove_prefix(1);
    if (pattern.empty()) return fail(Errc::invalid, "bad pattern '!': nothing follows");
    auto cleaned = clean_path(pattern);
    auto glob = Glob::compile(cleaned, Glob::Flavour::ignore_file);
    if (!glob) return fail(std::move(glob.error()));
    out.rules_.push_back({std::move(*glob), inverted, std::move(cleaned)});
  }
  return out;
}

bool IgnoreRules::Rule::fits(std::string_view path) const {
  bool fits = glob.matches(path);
  for (auto slash = path.find('/'); !fits && slash != std::string_view::npos; slash = path.find('/', slash + 1))
    fits = slash > 0 && glob.matches(path.substr(0, slash));
  return fits;
}

bool IgnoreRules::ignores(std::string_view path) const {
  bool ignored = false;
  for (const Rule& rule : rules_)
    if (rule.includes_again == ignored && rule.fits(path)) ignored = !rule.includes_again;
  return ignored;
}

IgnoreRules::Below IgnoreRules::below(std::string_view folder) const {
  const auto prefix = std::string(folder) + "/";
  bool has_wild_exception = false;
  bool only_catch_all = true;
  for (const Rule& rule : rules_) {
    if (rule.includes_again) {
      if ((rule.text + "/").starts_with(prefix)) return Below::named;
      has_wild_exception = has_wild_exception || rule.text.starts_with('*');
    } else if (rule.text != "*" && rule.text != "**" && rule.fits(folder)) {
      only_catch_all = false;
    }
  }
  return has_wild_exception && only_catch_all ? Below::perhaps : Below::nothing;
}

}  // namespace wick::build
