// What this machine can and cannot do for Wick, each with the fact behind it and the way out.
#pragma once

#include <string>
#include <vector>

#include "app/config.hpp"
#include "wick/os/loop.hpp"

namespace wick::app {

struct Check {
  enum class Level { ok, warn, fail } level = Level::ok;
  std::string name;
  std::string because;  // the observed fact
  std::string hint;     // empty only for ok
};

/// Runs every check as the caller's user; nothing is changed. Takes as long as starting the runtime once.
awaitable<std::vector<Check>> run_doctor(const Config& config);

}  // namespace wick::app
