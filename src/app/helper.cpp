#include "app/helper.hpp"

#include <cstdio>
#include <string_view>

#include "wick/build/fetch_helper.hpp"
#include "wick/container/runner_process.hpp"

namespace wick::app {

int helper_main(int argc, char** argv) {
  const std::string_view name = argc > 2 ? argv[2] : "";
  if (name == "fetch") return build::fetch_main(argc - 2, argv + 2);
  return container::helper_main(argc, argv);
}

}  // namespace wick::app
