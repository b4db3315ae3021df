// Why a deploy failed: the contract of every failed build, start and probe, printed by the CLI and kept in status.
#pragma once

#include <boost/json/object.hpp>
#include <optional>
#include <string>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/base/time.hpp"

namespace wick::model {

struct Failure {
  static constexpr std::size_t output_lines_max = 20;

  std::string step;  // fetch, detect, build, unpack, start, probe, route
  std::string slug;  // E_EXITED, E_OUT_OF_MEMORY, E_WRONG_PORT, E_NOT_READY, E_BUILD_STEP …
  std::string
      because;  // the observed fact: "the process exited with code 1 after 92 ms, before listening on port 8080"
  std::vector<std::string> last_output;
  std::string message;           // what the program left in its terminationMessagePath
  std::optional<int> exit_code;  // as a shell has it: 128 + the signal that ended it
  std::string hint;
  milliseconds elapsed{0};
  WallTime when{};
  std::string container = {};  // of several the one that failed, where it was not the one that serves

  boost::json::object to_json() const;
  static Result<Failure> from_json(const boost::json::value& value);
};

}  // namespace wick::model
