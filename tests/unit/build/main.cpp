// The fetching child is this program once more: `/proc/self/exe helper fetch …`.
#include <signal.h>

#include <string_view>

#include "support/run_catch.hpp"
#include "wick/build/fetch_helper.hpp"

int main(int argc, char** argv) {
  if (argc > 2 && std::string_view(argv[1]) == "helper" && std::string_view(argv[2]) == "fetch")
    return wick::build::fetch_main(argc - 2, argv + 2);
  ::signal(SIGPIPE, SIG_IGN);
  return run_catch(argc, argv);
}
