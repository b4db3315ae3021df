// `wick deploy` and `wick build`: from a folder, a git URL or an image to an answering URL, or to the reason why not.
#pragma once

#include <string>

#include "app/cli/manifest.hpp"
#include "app/cli/progress.hpp"
#include "app/cli/session.hpp"

namespace wick::app::cli {

struct DeployOptions {
  std::string source = ".";
  std::string name;  // empty: from the source
  BuildSettings build;
  ServiceSettings service;
  bool detach = false;
  bool build_only = false;
  milliseconds ready_limit{10 * 60'000};
};

/// Returns when the new revision answers, or with the failed-deploy contract (trust-and-ux.md 2.3).
/// Ctrl-C ends only the watching once the daemon has the work.
Outcome<void> deploy(Session& session, DeployOptions options);

/// The failure a BuildRun, Service or Revision carries in its status.
std::optional<model::Failure> failure_of(const json::value& resource);

/// Why `service`, whose Ready condition is False, is not ready, and what still serves.
Problem not_ready_problem(Session& session, const json::value& service);

}  // namespace wick::app::cli
