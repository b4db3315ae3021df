// Where a branch of a repository elsewhere is now: what a poll asks.
#pragma once

#include <filesystem>
#include <string>

#include "wick/build/build.hpp"
#include "wick/os/clock.hpp"

namespace wick::build {

/// The id that `source.ref` has at its server, asked by a confined child; an empty ref is the server's HEAD. `work`: a
/// folder of ours for what the child writes. Errors: those of a fetch, timed_out after `limit`. Cancelling ends the
/// child.
awaitable<Result<std::string>> look_at_branch(Clock& clock, GitSource source, std::filesystem::path work,
                                              milliseconds limit);

}  // namespace wick::build
