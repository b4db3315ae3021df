// The Build of a service that is deployed from a git URL: what webhooks and looks at its branch fetch.
#pragma once

#include <string>

#include "app/cli/session.hpp"

namespace wick::app::cli {

/// The Build of the service's name; made of its last deploy from git where there is none. Errors: refused where the
/// service was deployed from something else.
Outcome<json::value> git_build_of(Session& session, const std::string& service);

/// Has the Build say what the last deploy from git did, and its branch looked at every `interval` ("" or "off": no
/// more).
Outcome<void> follow_last_deploy(Session& session, const std::string& service, const std::string& interval);

}  // namespace wick::app::cli
