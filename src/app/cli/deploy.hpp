// `wick deploy` and `wick build`: from a folder, a git URL or an image to an answering URL, or to the reason why not.
#pragma once

#include <functional>
#include <string>

#include "app/cli/folder.hpp"
#include "app/cli/manifest.hpp"
#include "app/cli/progress.hpp"
#include "app/cli/session.hpp"
#include "app/cli/source.hpp"

namespace wick::app::cli {

struct DeployOptions {
  std::string source = ".";
  std::string name;  // empty: from the source
  BuildSettings build;
  ServiceSettings service;
  bool detach = false;
  std::string follow;  // how often the branch is looked at from then on; "off"; empty: as it was
  bool build_only = false;
  bool preview = false;  // becomes a preview of the service, which stays as it is
  std::string branch;    // that it is the preview of; empty: the one that the source is at
  bool explain = false;  // print the plan instead (show_plan)
  milliseconds ready_limit{10 * 60'000};
  /// Asked now and then while the build and the start are followed: true gives them up for something newer, and a build
  /// under way is cancelled.
  std::function<bool()> superseded;
};

struct Deployed {
  std::string revision;  // empty when nobody waited for it
  std::string url;
  bool unchanged = false;
};

/// Returns when the new revision answers, or with the failed-deploy contract (trust-and-ux.md 2.3).
/// Ctrl-C ends only the watching once the daemon has the work.
Outcome<void> deploy(Session& session, DeployOptions options);

/// The same of a folder that was listed already, as `name`, without a word about the URL.
Outcome<Deployed> deploy_folder(Session& session, Progress& progress, const std::string& name, const Folder& folder,
                                const DeployOptions& options);
/// options.name, or the one that follows from the source.
Outcome<std::string> service_name(const Source& source, const DeployOptions& options);

/// The failure a BuildRun, Service or Revision carries in its status.
std::optional<model::Failure> failure_of(const json::value& resource);

/// Why `service`, whose Ready condition is False, is not ready, and what still serves.
Problem not_ready_problem(Session& session, const json::value& service);

}  // namespace wick::app::cli
