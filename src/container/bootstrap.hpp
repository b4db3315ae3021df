// A Debian root file system as a layer: what images "from nothing" stand on.
#pragma once

#include <filesystem>
#include <string>

#include "wick/container/runner.hpp"

namespace wick::container {

/// Runs mmdebstrap in a temporary folder below `state` and writes the tar to `out`. At most 20 minutes.
/// Errors: unsupported where mmdebstrap is not installed; io with the end of its output.
awaitable<Result<void>> bootstrap_debian(Executor executor, std::string suite, Fd out, std::filesystem::path state);

}  // namespace wick::container
