// `wick runner`: the root role, over a socket inherited from `wick serve` or on a socket of its own for its own unit.
#pragma once

namespace wick::app {

int runner_main(int argc, char** argv);

}  // namespace wick::app
