// The child that runs git(1) on one bare repository of ours.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "wick/base/error.hpp"

namespace wick::build {

inline constexpr int git_missing_code = 127;

/// Confines this process to `repository` and becomes `git ARGUMENTS`; standard input is unpacked on the way where
/// `is_gzip`. Returns only with an error.
Result<void> become_git(const std::filesystem::path& repository, bool is_gzip, std::vector<std::string> arguments);

}  // namespace wick::build
