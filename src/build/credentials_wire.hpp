// Credentials on the fetching child's standard input: an argument or an environment variable could be read in /proc.
#pragma once

#include <string>
#include <string_view>

#include "wick/base/error.hpp"
#include "wick/build/git_credentials.hpp"

namespace wick::build {

/// What a pipe takes before anybody reads (pipe(7): 64 KiB); a private key has 0.4 to 3.5 KiB.
constexpr std::size_t credentials_bytes_max = 60 << 10;

/// Errors: too_large past `credentials_bytes_max`, invalid for a NUL.
Result<std::string> to_wire(const GitCredentials& credentials);
Result<GitCredentials> from_wire(std::string_view bytes);

}  // namespace wick::build
