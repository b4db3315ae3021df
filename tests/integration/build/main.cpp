// The program is also its runner (`runner STATE RUN` on descriptor 3), the runner's helpers and the fetching child.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <string_view>

#include "support/run_catch.hpp"
#include "wick/build/fetch_helper.hpp"
#include "wick/container/runner_process.hpp"

int main(int argc, char** argv) {
  using namespace wick;
  const std::string_view role = argc > 1 ? argv[1] : "";
  if (role == "helper" && argc > 2 && std::string_view(argv[2]) == "fetch")
    return build::fetch_main(argc - 2, argv + 2);
  if (role == "helper") return container::helper_main(argc, argv);
  if (role == "runner" && argc == 4) {
    container::RunnerOptions options{.state_folder = argv[2], .run_folder = argv[3]};
    return container::runner_main(Fd(3), std::move(options));
  }
  if (::geteuid() != 0 || ::access("/bin/busybox", X_OK) != 0) {
    std::fprintf(stderr, "SKIPPED: these tests need root and busybox-static\n");
    return 77;
  }
  ::signal(SIGPIPE, SIG_IGN);
  return run_catch(argc, argv);
}
