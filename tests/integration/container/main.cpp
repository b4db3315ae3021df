// The test binary is also what it tests: `runner STATE RUN` on descriptor 3 with a shelf on 4 and 5, and the runner's
// helpers by re-exec.
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "support/run_catch.hpp"
#include "wick/container/runner_process.hpp"

int main(int argc, char** argv) {
  using namespace wick;
  if (argc > 1 && std::strcmp(argv[1], "helper") == 0) return container::helper_main(argc, argv);
  if (argc == 4 && std::strcmp(argv[1], "runner") == 0) {
    container::RunnerOptions options{
        .state_folder = argv[2], .run_folder = argv[3], .shelf = std::make_shared<const Shelf>(Fd(4), Fd(5))};
    return container::runner_main(Fd(3), std::move(options));
  }
  if (::geteuid() != 0 || ::access("/bin/busybox", X_OK) != 0) {
    std::fprintf(stderr, "SKIPPED: these tests need root and busybox-static\n");
    return 77;
  }
  return run_catch(argc, argv);
}
