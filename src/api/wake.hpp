// A command for a service that is scaled to zero: asking for it starts an instance, as a request would.
#pragma once

#include <optional>
#include <string>

#include "api/request_path.hpp"
#include "wick/api/api.hpp"

namespace wick::api {

/// The revision that a pod's name means where no pod has it: a revision's own name, or the one that most requests to
/// the service or route of that name go to.
std::optional<serving::RevisionKey> revision_of_name(const Doors& doors, const std::string& name_space,
                                                     const std::string& name);

/// For a GET of Pods: `path`'s name, or that of a pod that was started for it. kubectl exec looks for its pod before it
/// asks for the command, by name (`kubectl exec NAME`) or by the selector of a Service (`kubectl exec svc/NAME`), and
/// says what it is about to do in the header Kubectl-Command (KEP-859): only then something is started. Errors: as
/// Serving::hold.
awaitable<Result<std::string>> wake_for_command(const Doors& doors, const http::Exchange& exchange, ResourcePath path);

}  // namespace wick::api
