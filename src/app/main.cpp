// One binary, four ways in: the two long-lived roles, the short-lived children, and the command line.
#include <sys/prctl.h>

#include <string_view>

#include "app/cli/cli.hpp"
#include "app/helper.hpp"
#include "app/runner.hpp"
#include "app/serve.hpp"

namespace {

/// What ps and top show. These roles are started as /proc/self/exe, which would leave them all named "exe".
void name_process(const char* name) { ::prctl(PR_SET_NAME, name); }

}  // namespace

int main(int argc, char** argv) {
  const std::string_view verb = argc > 1 ? argv[1] : "";
  if (verb == "serve") return wick::app::serve_main(argc - 1, argv + 1);
  if (verb == "runner") {
    name_process("wick-runner");
    return wick::app::runner_main(argc - 1, argv + 1);
  }
  if (verb == "helper") {
    name_process("wick-helper");
    return wick::app::helper_main(argc, argv);
  }
  return wick::app::run_cli(argc, argv);
}
