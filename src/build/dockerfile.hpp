// A Dockerfile as instructions: lines, continuations, comments, directives, flags, JSON form, heredocs. Pure. What an
// instruction means is in plan.hpp; variables are not expanded here. The rules are BuildKit's
// (frontend/dockerfile/parser), which users have today.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"

namespace wick::build {

struct Heredoc {
  std::string name;
  int fd = 0;
  bool expand = true;       // false when any part of the name was quoted
  bool strip_tabs = false;  // "<<-"
  std::string content;      // as written; stripped() is what goes into a file

  std::string stripped() const;
};

struct Instruction {
  std::string keyword;                 // lower case
  std::vector<std::string> flags;      // "--from=x", quotes and escapes resolved
  std::vector<std::string> arguments;  // ENV and LABEL: key, value, "=" or "" (the old form) for each pair
  bool json = false;                   // the exec form
  std::vector<Heredoc> heredocs;
  std::vector<Instruction> inner;  // of ONBUILD: exactly one
  std::string text;                // as written, continued lines joined
  std::string comment;             // the comment on the line above
  std::string title;               // what people are shown in place of `text`; empty: that
  int line = 0;                    // 1-based
  int last_line = 0;

  /// The value of --name=value ("" for a bare --name); nullopt when the flag is not there.
  std::optional<std::string> flag(std::string_view name) const;
};

struct Dockerfile {
  std::string name;  // for messages
  char escape = '\\';
  std::string syntax;
  std::vector<Instruction> instructions;
  std::vector<std::string> warnings;

  static constexpr std::size_t bytes_max = 1 << 20;
  static constexpr std::size_t line_bytes_max = 65535;  // BuildKit's
  static constexpr std::size_t instructions_max = 10000;
};

/// Errors are Errc::invalid: "NAME:LINE: reason: 'the line'". Words that are no instruction are found by outline()
/// (plan.hpp).
Result<Dockerfile> parse_dockerfile(std::string_view text, std::string name = "Dockerfile");
/// One instruction, as ONBUILD triggers of a base image are kept.
Result<Instruction> parse_instruction(std::string_view text, std::string_view origin, char escape = '\\');

/// The error every complaint about an instruction uses.
Error instruction_error(std::string_view file, const Instruction& at, std::string reason, std::string hint = {},
                        Errc code = Errc::invalid);

/// The line that `message` ("NAME:LINE: …") complains about, and a caret under the word that it quotes or under the
/// instruction's own. Empty when the message names no line of the file.
std::vector<std::string> excerpt(std::string_view text, std::string_view name, std::string_view message);

/// The parser's own view as text, one s-expression per instruction (the format of BuildKit's test results).
std::string to_s_expressions(const Dockerfile& dockerfile);

}  // namespace wick::build
