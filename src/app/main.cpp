// One binary, four ways in: the two long-lived roles, the short-lived children, and the command line.
#include <string_view>

#include "app/cli/cli.hpp"
#include "app/helper.hpp"
#include "app/runner.hpp"
#include "app/serve.hpp"

int main(int argc, char** argv) {
  const std::string_view verb = argc > 1 ? argv[1] : "";
  if (verb == "serve") return wick::app::serve_main(argc - 1, argv + 1);
  if (verb == "runner") return wick::app::runner_main(argc - 1, argv + 1);
  if (verb == "helper") return wick::app::helper_main(argc, argv);
  return wick::app::run_cli(argc, argv);
}
