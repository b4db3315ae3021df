// Whether a version that is there does for what a project asks: ">=18 <21", "^8.1", "~> 3.1", ">=3.9,<4", "1.22". One
// reader for the spellings of npm, PEP 440, Composer, RubyGems and Cargo: an operator means the same wherever it is
// used.
#pragma once

#include <optional>
#include <string_view>

namespace wick::build {

/// nullopt where `range` is none that is known ("lts/hydrogen"). Alternatives are separated by "||" (or "|"), and what
/// must hold together by "," or blanks. Without an operator a version allows what begins with it ("3.11" allows
/// 3.11.2); `~>` and `~=` leave the last number given free, `~` the patch, `^` what is right of the first that is not
/// zero. Suffixes ("-slim", "rc1") are not compared. Pure.
std::optional<bool> range_allows(std::string_view range, std::string_view version);

}  // namespace wick::build
