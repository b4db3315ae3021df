#include "dockerfile.hpp"

#include <fmt/format.h>

#include <boost/json/parse.hpp>
#include <functional>
#include <map>

#include "wick/base/text.hpp"
#include "words.hpp"

namespace wick::build {

namespace {

/// BuildKit splits a line into words at these.
constexpr std::string_view blanks = " \t\v\f\r";
bool is_blank(char c) { return blanks.contains(c); }
bool is_space(char c) { return is_blank(c) || c == '\n'; }

std::string_view trim_left(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  return text;
}
std::string_view trim_both(std::string_view text) {
  text = trim_left(text);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}
std::string_view trim_newline(std::string_view line) {
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.remove_suffix(1);
  return line;
}
bool is_comment(std::string_view line) { return trim_left(line).starts_with('#'); }

/// Removes a trailing escape character (and the blanks after it); false when the line does not continue.
bool trim_continuation(std::string_view& line, char escape) {
  auto rest = line;
  while (!rest.empty() && (rest.back() == ' ' || rest.back() == '\t')) rest.remove_suffix(1);
  if (!rest.ends_with(escape)) return false;
  rest.remove_suffix(1);
  if (rest.ends_with(escape)) return false;
  line = rest;
  return true;
}

std::vector<std::string> split_blanks(std::string_view text) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < text.size();) {
    while (i < text.size() && is_blank(text[i])) ++i;
    const auto start = i;
    while (i < text.size() && !is_blank(text[i])) ++i;
    if (i > start) out.emplace_back(text.substr(start, i - start));
  }
  return out;
}

/// Words with their quotes and escapes still in place (BuildKit's parseWords): ENV a="b c" d\ e is two words.
std::vector<std::string> split_quoted(std::string_view text, char escape) {
  std::vector<std::string> words;
  std::string word;
  char quote = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quote == 0 && is_space(c)) {
      if (!word.empty()) words.push_back(std::exchange(word, {}));
      continue;
    }
    if (quote == 0 && (c == '\'' || c == '"')) {
      quote = c;
    } else if (c == quote) {
      quote = 0;
    } else if (c == escape && quote != '\'') {
      if (i + 1 == text.size()) break;
      word += c;
      word += text[++i];
      continue;
    }
    word += c;
  }
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

/// Takes leading --words off `rest`; a lone "--" ends them.
std::vector<std::string> take_flags(std::string_view& rest) {
  std::vector<std::string> flags;
  while (true) {
    rest = trim_left(rest);
    if (!rest.starts_with("--")) return flags;
    std::string word;
    char quote = 0;
    std::size_t i = 0;
    for (; i < rest.size(); ++i) {
      const char c = rest[i];
      if (quote == 0 && is_space(c)) break;
      if (quote == 0 && (c == '\'' || c == '"')) {
        quote = c;
      } else if (c == quote) {
        quote = 0;
      } else if (c == '\\') {
        if (i + 1 < rest.size()) word += rest[++i];
      } else {
        word += c;
      }
    }
    rest.remove_prefix(i);
    if (word == "--") return flags;
    flags.push_back(std::move(word));
  }
}

enum class Json { not_json, strings, other };

/// The exec form. Text that does not parse is shell text; an array with something else than strings is an error.
Json parse_json_strings(std::string_view text, std::vector<std::string>& out) {
  if (!text.starts_with('[')) return Json::not_json;
  boost::json::parse_options options;
  options.max_depth = 8;
  boost::json::error_code error;
  const auto value = boost::json::parse({text.data(), text.size()}, error, {}, options);
  if (error || !value.is_array()) return Json::not_json;
  for (const auto& item : value.get_array()) {
    if (!item.is_string()) return Json::other;
    out.emplace_back(item.get_string());
  }
  return Json::strings;
}

/// What makes the arguments of one instruction out of its rest; "" or the reason it is wrong.
using Arguments = std::string (*)(std::string_view rest, char escape, Instruction& out);

std::string whole_rest(std::string_view rest, char, Instruction& out) {
  if (!rest.empty()) out.arguments.emplace_back(rest);
  return {};
}

std::string blank_separated(std::string_view rest, char, Instruction& out) {
  out.arguments = split_blanks(rest);
  return {};
}

std::string quoted_words(std::string_view rest, char escape, Instruction& out) {
  out.arguments = split_quoted(rest, escape);
  return {};
}

std::string json_or(Arguments otherwise, std::string_view rest, char escape, Instruction& out) {
  switch (parse_json_strings(rest, out.arguments)) {
    case Json::strings:
      out.json = true;
      return {};
    case Json::other:
      return "the JSON form takes an array of strings and nothing else";
    case Json::not_json:
      break;
  }
  out.arguments.clear();
  return otherwise(rest, escape, out);
}
std::string json_or_text(std::string_view rest, char escape, Instruction& out) {
  return json_or(whole_rest, rest, escape, out);
}
std::string json_or_words(std::string_view rest, char escape, Instruction& out) {
  return json_or(blank_separated, rest, escape, out);
}

std::string pairs(std::string_view rest, char escape, Instruction& out) {
  const auto words = split_quoted(rest, escape);
  if (words.empty()) return {};
  if (!words[0].contains('=')) {  // the old form: one key, and the rest of the line
    const auto end = rest.find_first_of(blanks);
    if (end == std::string_view::npos) return "a value is missing: write NAME=VALUE";
    out.arguments = {std::string(rest.substr(0, end)), std::string(trim_left(rest.substr(end))), ""};
    return {};
  }
  for (const auto& word : words) {
    const auto equals = word.find('=');
    if (equals == std::string::npos) return fmt::format("'{}' has no '=': write NAME=VALUE", printable(word, 80));
    out.arguments.insert(out.arguments.end(), {word.substr(0, equals), word.substr(equals + 1), "="});
  }
  return {};
}

std::string health(std::string_view rest, char escape, Instruction& out) {
  if (rest.empty()) return {};
  const auto end = std::min(rest.find_first_of(blanks), rest.size());
  Instruction command;
  if (auto wrong = json_or_text(trim_left(rest.substr(end)), escape, command); !wrong.empty()) return wrong;
  out.arguments.emplace_back(rest.substr(0, end));
  out.arguments.insert(out.arguments.end(), command.arguments.begin(), command.arguments.end());
  out.json = command.json;
  return {};
}

std::string trigger(std::string_view rest, char escape, Instruction& out);

const std::map<std::string_view, Arguments>& grammar() {
  static const std::map<std::string_view, Arguments> table{
      {"add", json_or_words},       {"arg", quoted_words},   {"cmd", json_or_text},       {"copy", json_or_words},
      {"entrypoint", json_or_text}, {"env", pairs},          {"expose", blank_separated}, {"from", blank_separated},
      {"healthcheck", health},      {"label", pairs},        {"maintainer", whole_rest},  {"onbuild", trigger},
      {"run", json_or_text},        {"shell", json_or_text}, {"stopsignal", whole_rest},  {"user", whole_rest},
      {"volume", json_or_words},    {"workdir", whole_rest},
  };
  return table;
}

/// Fills everything but the line numbers and heredocs; "" or the reason it is wrong.
std::string read_instruction(std::string_view line, char escape, Instruction& out) {
  line = trim_both(line);
  out.text = line;
  const auto end = std::min(line.find_first_of(blanks), line.size());
  out.keyword = to_lower(line.substr(0, end));
  const auto rule = grammar().find(out.keyword);
  auto rest = line.substr(end);
  out.flags = take_flags(rest);
  // Unknown words are kept: check_instruction() refuses them, as BuildKit does.
  if (rule == grammar().end()) return whole_rest(trim_both(rest), escape, out);
  return rule->second(trim_both(rest), escape, out);
}

std::string trigger(std::string_view rest, char escape, Instruction& out) {
  if (rest.empty()) return {};
  Instruction& inner = out.inner.emplace_back();
  if (auto wrong = read_instruction(rest, escape, inner); !wrong.empty()) return wrong;
  if (inner.keyword == "onbuild" || inner.keyword == "from" || inner.keyword == "maintainer")
    return fmt::format("{} is not allowed in ONBUILD", inner.keyword);
  return {};
}

/// A word of a shell line with its quotes and escapes still in place.
std::vector<std::string> shell_words(std::string_view line) {
  std::vector<std::string> words;
  std::string word;
  char quote = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quote == 0 && is_space(c)) {
      if (!word.empty()) words.push_back(std::exchange(word, {}));
      continue;
    }
    if (c == '\\' && quote != '\'' && i + 1 < line.size()) {
      word += c;
      word += line[++i];
      continue;
    }
    if (quote == 0 && (c == '\'' || c == '"')) {
      quote = c;
    } else if (c == quote) {
      quote = 0;
    }
    word += c;
  }
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

/// "3<<-NAME"; nullopt when the word is something else.
std::optional<Heredoc> heredoc_of(const std::string& word) {
  std::size_t i = 0;
  while (i < word.size() && word[i] >= '0' && word[i] <= '9') ++i;
  if (i > 4 || word.compare(i, 2, "<<") != 0) return std::nullopt;
  Heredoc out;
  if (i > 0) out.fd = static_cast<int>(*parse_unsigned(word.substr(0, i)));
  i += 2;
  if (i < word.size() && word[i] == '-') {
    out.strip_tabs = true;
    ++i;
  }
  const auto rest = word.substr(i);
  if (rest.empty() || rest.contains('<')) return std::nullopt;
  bool quoted = false;
  char quote = 0;
  for (std::size_t at = 0; at < rest.size(); ++at) {
    const char c = rest[at];
    if (quote == 0 && (c == '\'' || c == '"')) {
      quote = c;
      quoted = true;
    } else if (c == quote) {
      quote = 0;
    } else if (c == '\\' && quote != '\'' && at + 1 < rest.size()) {
      out.name += rest[++at];
    } else {
      out.name += c;
    }
  }
  if (quote != 0 || out.name.empty()) return std::nullopt;
  out.expand = !quoted;
  return out;
}

std::vector<Heredoc> heredocs_of(std::string_view line) {
  std::vector<Heredoc> out;
  const auto words = shell_words(line);
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::string word = words[i];
    const auto operator_at = word.find_first_not_of("0123456789");
    if (operator_at != std::string::npos && (word.substr(operator_at) == "<<" || word.substr(operator_at) == "<<-") &&
        i + 1 < words.size())
      word += words[++i];
    if (auto found = heredoc_of(word)) out.push_back(std::move(*found));
  }
  return out;
}

bool takes_heredocs(const Instruction& instruction) {
  const Instruction& real = instruction.inner.empty() ? instruction : instruction.inner[0];
  return !real.json && (real.keyword == "run" || real.keyword == "copy" || real.keyword == "add");
}

/// Lines with their ends, one at a time, counted from 1.
class Lines {
 public:
  explicit Lines(std::string_view text) : rest_(text) {}
  bool next(std::string_view& line) {
    if (rest_.empty()) return false;
    const auto end = std::min(rest_.find('\n'), rest_.size() - 1);
    line = rest_.substr(0, end + 1);
    rest_.remove_prefix(end + 1);
    ++number_;
    return true;
  }
  int number() const { return number_; }

 private:
  std::string_view rest_;
  int number_ = 0;
};

class Parser {
 public:
  Parser(std::string_view text, std::string name) : lines_(text) { file_.name = std::move(name); }

  Result<Dockerfile> run() {
    std::string_view line;
    while (lines_.next(line)) {
      if (lines_.number() == 1 && line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);
      if (line.size() > Dockerfile::line_bytes_max)
        return fail(line_error(line, "the line is longer than 65535 bytes"));
      if (in_directives_) {
        bool is_directive = false;
        if (auto read = directive(line, is_directive); !read) return fail(std::move(read.error()));
        if (is_directive) continue;
      }
      const auto said = trim_both(line);
      if (is_comment(line) || said.empty()) {
        comment_ = said.empty() ? said : trim_both(said.substr(1));
        continue;
      }
      if (auto read = instruction(line); !read) return fail(std::move(read.error()));
      comment_.clear();
    }
    if (file_.instructions.empty())
      return fail(Errc::invalid, fmt::format("{}: the file has no instructions", file_.name),
                  "a Dockerfile starts with FROM");
    return std::move(file_);
  }

 private:
  Error line_error(std::string_view line, std::string reason) const {
    Instruction at;
    at.line = lines_.number();
    at.text = trim_both(line);
    return instruction_error(file_.name, at, std::move(reason));
  }

  /// Only at the very top; the first line that is none ends them.
  Result<void> directive(std::string_view line, bool& is_directive) {
    auto text = trim_both(line);
    in_directives_ = false;
    if (!text.starts_with('#')) return {};
    text = trim_both(text.substr(1));
    const auto equals = text.find('=');
    if (equals == std::string_view::npos) return {};
    const auto name = to_lower(trim_both(text.substr(0, equals)));
    const auto value = trim_both(text.substr(equals + 1));
    if (name != "syntax" && name != "escape" && name != "check") return {};
    if (seen_[name]) return fail(line_error(line, fmt::format("the directive '{}' is there twice", name)));
    seen_[name] = in_directives_ = is_directive = true;
    if (name == "syntax") file_.syntax = value.substr(0, value.find(' '));
    if (name == "escape") {
      if (value != "\\" && value != "`") return fail(line_error(line, "the escape character is '\\' or '`'"));
      file_.escape = value[0];
    }
    return {};
  }

  Result<void> instruction(std::string_view line) {
    Instruction out;
    out.line = lines_.number();
    out.comment = comment_;
    auto part = trim_left(trim_newline(line));
    bool continues = trim_continuation(part, file_.escape);
    if (continues && part.empty()) return {};
    std::string text(part);
    bool empty_line = false;
    while (continues && lines_.next(line)) {
      if (line.size() > Dockerfile::line_bytes_max)
        return fail(line_error(line, "the line is longer than 65535 bytes"));
      if (is_comment(line)) continue;
      part = trim_newline(line);
      if (trim_both(part).empty()) {
        empty_line = true;
        continue;
      }
      continues = trim_continuation(part, file_.escape);
      text += part;
    }
    if (trim_both(text).empty()) return {};
    if (empty_line)
      file_.warnings.push_back(fmt::format("{}:{}: empty line inside a continued line", file_.name, out.line));
    if (auto wrong = read_instruction(text, file_.escape, out); !wrong.empty())
      return fail(instruction_error(file_.name, out, std::move(wrong)));
    if (takes_heredocs(out) && text.contains("<<")) {
      out.heredocs = heredocs_of(text);
      for (auto& heredoc : out.heredocs)
        if (!read_body(heredoc))
          return fail(instruction_error(file_.name, out,
                                        fmt::format("the heredoc '{}' has no end", printable(heredoc.name)),
                                        fmt::format("end it with a line that is exactly {}", printable(heredoc.name))));
    }
    out.last_line = lines_.number();
    file_.instructions.push_back(std::move(out));
    if (file_.instructions.size() > Dockerfile::instructions_max)
      return fail(Errc::too_large,
                  fmt::format("{}: more than {} instructions", file_.name, Dockerfile::instructions_max));
    return {};
  }

  bool read_body(Heredoc& heredoc) {
    std::string_view line;
    while (lines_.next(line)) {
      auto end = trim_newline(line);
      while (heredoc.strip_tabs && end.starts_with('\t')) end.remove_prefix(1);
      if (end == heredoc.name) return true;
      heredoc.content += line;
    }
    return false;
  }

  Lines lines_;
  Dockerfile file_;
  std::string comment_;  // of the line above
  bool in_directives_ = true;
  std::map<std::string, bool, std::less<>> seen_;
};

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
          out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        else
          out += c;
    }
  }
  return out + "\"";
}

std::string s_expression(const Instruction& instruction) {
  std::string out = "(" + instruction.keyword;
  if (!instruction.flags.empty()) {
    out += " [";
    for (std::size_t i = 0; i < instruction.flags.size(); ++i) out += (i ? " " : "") + quoted(instruction.flags[i]);
    out += "]";
  }
  for (const auto& inner : instruction.inner) out += " " + s_expression(inner);
  for (const auto& argument : instruction.arguments) out += " " + quoted(argument);
  return out + ")";
}

}  // namespace

std::string Heredoc::stripped() const {
  if (!strip_tabs) return content;
  std::string out;
  bool at_start = true;
  for (const char c : content) {
    if (at_start && c == '\t') continue;
    out += c;
    at_start = c == '\n';
  }
  return out;
}

std::optional<std::string> Instruction::flag(std::string_view name) const {
  for (const auto& flag : flags) {
    const auto equals = std::min(flag.find('='), flag.size());
    if (std::string_view(flag).substr(2, equals - 2) == name)
      return equals == flag.size() ? "" : flag.substr(equals + 1);
  }
  return std::nullopt;
}

Error instruction_error(std::string_view file, const Instruction& at, std::string reason, std::string hint, Errc code) {
  auto text = std::string_view(at.text);
  text = text.substr(0, text.find('\n'));
  Error error(code, fmt::format("{}:{}: {}: '{}'", file, at.line, reason, printable(text, 120)));
  if (!hint.empty()) return std::move(error).hint(std::move(hint));
  return error;
}

std::vector<std::string> excerpt(std::string_view text, std::string_view name, std::string_view message) {
  if (!message.starts_with(name) || !message.substr(name.size()).starts_with(':')) return {};
  message.remove_prefix(name.size() + 1);
  const auto colon = std::min(message.find(':'), message.size());
  const auto number = parse_unsigned(message.substr(0, colon));
  const auto lines = split(text, '\n');
  if (!number || *number == 0 || *number > lines.size()) return {};
  const auto line = printable(trim_newline(lines[*number - 1]), 200);
  const auto indent = std::min(line.find_first_not_of(' '), line.size());
  std::size_t at = indent;
  auto width = std::min(line.find(' ', indent), line.size()) - indent;
  // The first quoted text that is in the line and not all of it.
  for (auto open = message.find('\''); open != std::string_view::npos; open = message.find('\'', open)) {
    const auto close = message.find('\'', open + 1);
    if (close == std::string_view::npos) break;
    const auto word = message.substr(open + 1, close - open - 1);
    open = close + 1;
    const auto found = word.empty() || word.size() >= line.size() - indent ? std::string::npos : line.find(word);
    if (found == std::string::npos) continue;
    at = found;
    width = word.size();
    break;
  }
  const auto margin = std::to_string(*number).size();
  return {fmt::format("{} | {}", *number, line),
          fmt::format("{:{}} | {:{}}^{:~>{}}", "", margin, "", at, "", width > 0 ? width - 1 : 0)};
}

Result<Dockerfile> parse_dockerfile(std::string_view text, std::string name) {
  if (text.size() > Dockerfile::bytes_max)
    return fail(Errc::too_large,
                fmt::format("{}: {} bytes, at most {} are read", name, text.size(), Dockerfile::bytes_max));
  return Parser(text, std::move(name)).run();
}

Result<Instruction> parse_instruction(std::string_view text, std::string_view origin, char escape) {
  Instruction out;
  if (auto wrong = read_instruction(text, escape, out); !wrong.empty())
    return fail(instruction_error(origin, out, std::move(wrong)));
  return out;
}

std::string to_s_expressions(const Dockerfile& dockerfile) {
  std::string out;
  for (const auto& instruction : dockerfile.instructions) out += s_expression(instruction) + "\n";
  return out;
}

}  // namespace wick::build
