// What this machine can and cannot do for Wick, each with the fact behind it and the way out.
#pragma once

#include <vector>

#include "app/config.hpp"
#include "wick/api/api.hpp"
#include "wick/os/loop.hpp"

namespace wick::app {

using api::Check;

/// Runs every check as the caller's user; nothing is changed. Takes as long as starting the runtime once.
awaitable<std::vector<Check>> run_doctor(const Config& config);

}  // namespace wick::app
