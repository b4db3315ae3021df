// Which programs can be parked: their language runtime booted ahead, their own code not yet begun (DESIGN.md 3.2).
#pragma once

#include "wick/container/runner.hpp"

namespace wick::serving {

/// Makes `spec` load the shim of its language runtime (runtime/park), told by argv[0]'s name: node, python3 and the
/// servers that are Python programs. False, and nothing changed, for others. Pure.
///
/// The shim loads the runtime's standard modules, waits, and takes itself out of the environment before the program's
/// own code begins. A runtime that ignores it (python -I, another program of that name) is found out by
/// Runner::park().
bool add_park_shim(container::InstanceSpec& spec);

}  // namespace wick::serving
