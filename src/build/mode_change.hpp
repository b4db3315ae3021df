// --chmod of COPY and ADD: an octal mode, or chmod(1)'s symbolic form (`u=rwX,go=rX`). Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"

namespace wick::build {

class ModeChange {
 public:
  /// Errors: invalid.
  static Result<ModeChange> parse(std::string_view text);
  /// The mode that an entry of mode `mode` gets.
  unsigned apply(unsigned mode, bool is_folder) const;
  const std::string& text() const { return text_; }

 private:
  struct Clause {
    unsigned who = 0;  // 04000 bits aside: 0700, 0070, 0007 of those named
    char operation = '=';
    unsigned bits = 0;           // rwx as 7, for each of `who`
    bool if_executable = false;  // X: x, where a folder or executable by somebody already
    bool set_id = false;
    bool sticky = false;
  };
  std::string text_;
  bool octal_ = false;
  unsigned mode_ = 0;
  std::vector<Clause> clauses_;
};

}  // namespace wick::build
