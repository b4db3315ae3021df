// A probe that is a command inside the instance: healthy while it ends with 0.
#pragma once

#include <string>
#include <vector>

#include "wick/base/time.hpp"
#include "wick/container/launcher.hpp"

namespace wick::serving {

/// Runs `command` in `instance` as one more process like `like`, its program: same user, variables and folder. Why it
/// is not well, as a sentence with the command's last output; empty when it is.
awaitable<std::string> ask_exec(container::Instance& instance, container::Process like,
                                std::vector<std::string> command, milliseconds limit);

}  // namespace wick::serving
