// The command line: every verb that is a client of the daemon's REST API. The roles (`serve`, `runner`, `helper`) are
// main's.
#pragma once

#include <functional>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace wick::app {

/// Parses the arguments, runs the verb to its end and returns the exit code (trust-and-ux.md 2.2).
int run_cli(int argc, char** argv);

namespace cli {

/// What a verb may touch of the outside, so that a test can stand in for it.
struct Surroundings {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  bool in_is_terminal = false;
  bool out_is_terminal = false;
  bool err_is_terminal = false;
  std::function<std::optional<std::string>(std::string_view name)> environment;
};

/// run_cli with everything handed in; `arguments` are without the program's name.
int run(std::vector<std::string> arguments, Surroundings surroundings);

}  // namespace cli
}  // namespace wick::app
