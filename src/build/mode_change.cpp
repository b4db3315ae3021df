#include "mode_change.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "wick/base/text.hpp"

namespace wick::build {

Result<ModeChange> ModeChange::parse(std::string_view text) {
  const auto wrong = [&] {
    return fail(Errc::invalid,
                fmt::format("--chmod takes an octal mode such as 0755 or a symbolic one such as u=rwX,go=rX, not '{}'",
                            printable(text, 40)));
  };
  ModeChange out;
  out.text_ = text;
  if (!text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '7'; })) {
    out.octal_ = true;
    for (const char c : text) {
      out.mode_ = out.mode_ * 8 + static_cast<unsigned>(c - '0');
      if (out.mode_ > 07777) return wrong();
    }
    return out;
  }
  for (const auto part : split(text, ',')) {
    unsigned who = 0;
    std::size_t i = 0;
    for (; i < part.size(); ++i) {
      if (part[i] == 'u')
        who |= 0700;
      else if (part[i] == 'g')
        who |= 0070;
      else if (part[i] == 'o')
        who |= 0007;
      else if (part[i] == 'a')
        who |= 0777;
      else
        break;
    }
    if (who == 0) who = 0777;
    if (i == part.size()) return wrong();
    while (i < part.size()) {
      Clause clause{.who = who, .operation = part[i]};
      if (clause.operation != '=' && clause.operation != '+' && clause.operation != '-') return wrong();
      for (++i; i < part.size() && !std::string_view("=+-").contains(part[i]); ++i) {
        switch (part[i]) {
          case 'r':
            clause.bits |= 4;
            break;
          case 'w':
            clause.bits |= 2;
            break;
          case 'x':
            clause.bits |= 1;
            break;
          case 'X':
            clause.if_executable = true;
            break;
          case 's':
            clause.set_id = true;
            break;
          case 't':
            clause.sticky = true;
            break;
          default:
            return wrong();
        }
      }
      out.clauses_.push_back(clause);
    }
  }
  if (out.clauses_.empty()) return wrong();
  return out;
}

unsigned ModeChange::apply(unsigned mode, bool is_folder) const {
  if (octal_) return mode_;
  for (const auto& clause : clauses_) {
    unsigned bits = clause.bits;
    if (clause.if_executable && (is_folder || (mode & 0111) != 0)) bits |= 1;
    unsigned changed = bits * 0111 & clause.who;
    if (clause.set_id) changed |= (clause.who & 0700 ? 04000U : 0U) | (clause.who & 0070 ? 02000U : 0U);
    if (clause.sticky) changed |= 01000;
    if (clause.operation == '+') mode |= changed;
    if (clause.operation == '-') mode &= ~changed;
    if (clause.operation == '=') mode = (mode & ~clause.who) | changed;
  }
  return mode & 07777;
}

}  // namespace wick::build
