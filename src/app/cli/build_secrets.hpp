// `--secret` of `wick build`, `deploy` and `dev`, as docker build has it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "app/cli/session.hpp"

namespace wick::app::cli {

/// The values of "id=ID[,src=FILE|,env=NAME][,type=file|env]", by id. With neither, the variable ID, or else the file
/// ID, as BuildKit looks for them. Errors: usage, of what is written; failed, of a file that cannot be read.
Outcome<std::map<std::string, std::string>> read_secrets(const Terminal& terminal,
                                                         const std::vector<std::string>& flags);

/// Reads them and gives them to the daemon, which keeps them in memory for one build: the ticket for its BuildRun, ""
/// without secrets.
Outcome<std::string> hand_over_secrets(Session& session, const std::vector<std::string>& flags);

}  // namespace wick::app::cli
