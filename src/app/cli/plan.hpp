// `wick build --explain`: what a build of a folder would do, as a Dockerfile, and why.
#pragma once

#include "app/cli/manifest.hpp"
#include "app/cli/session.hpp"
#include "app/cli/source.hpp"

namespace wick::app::cli {

/// Asks the daemon for its builders and applies them here: nothing is uploaded, nothing is built. A Dockerfile of the
/// folder is shown as it is. Errors: a source that is no folder; those of the detection.
Outcome<void> show_plan(Session& session, const Source& source, const BuildSettings& settings);

}  // namespace wick::app::cli
