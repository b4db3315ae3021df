// `wick serve`: the front role. Builds every object, starts them in order, stops them in reverse.
#pragma once

namespace wick::app {

int serve_main(int argc, char** argv);

}  // namespace wick::app
