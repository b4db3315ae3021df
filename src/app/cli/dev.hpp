// `wick dev`: a folder as it is being worked on, served. Every save is built and takes over when it answers; until
// then, and when it does not build or start, what was served before goes on.
#pragma once

#include "app/cli/deploy.hpp"

namespace wick::app::cli {

/// Until Ctrl-C. Logs go to stdout, the way of each save to stderr. Errors: what keeps the first deploy from being
/// asked for at all (no daemon, not allowed, no such folder), and a folder that goes away.
Outcome<void> develop(Session& session, DeployOptions options);

}  // namespace wick::app::cli
