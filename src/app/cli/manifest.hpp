// The Service a deploy asks for, as Knative writes it: what was there before, changed by what the flags say. Pure.
#pragma once

#include <boost/json/object.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "app/cli/problem.hpp"
#include "app/cli/read_json.hpp"

namespace wick::app::cli {

/// A flag that was not given leaves what the last deploy set.
struct ServiceSettings {
  std::vector<std::string> env;  // "K=V" sets, "K-" removes
  std::optional<int> port;
  std::optional<int> min_scale;
  std::optional<int> max_scale;
  std::optional<int> concurrency;  // requests at once an instance; 0: no limit
  std::string idle;                // Go duration: the autoscaler's window
  std::string start_limit;         // Go duration: how long a start may take (progress-deadline)
  std::string memory;              // Kubernetes quantities
  std::string cpu;
  std::vector<std::string> pull_secrets;  // of type kubernetes.io/dockerconfigjson; none: those it has stay
};

/// `image` may be empty: the build fills it in. `existing` is the Service as the daemon has it, or nullptr.
Outcome<json::object> service_manifest(std::string_view name, std::string_view name_space, std::string_view image,
                                       const ServiceSettings& settings, const json::value* existing);

struct BuildSettings {
  std::string subpath;
  std::string dockerfile;
  std::string builder;                  // instead of the Dockerfile, or of the builder that fits
  std::string target;                   // a stage of it
  std::vector<std::string> build_args;  // "K=V"
  std::vector<std::string> secrets;     // "id=ID[,src=FILE|,env=NAME]"
  bool allow_local = false;
  std::string git_secret;  // name of the Secret that the repository's server asks for
};

/// "K=V" sets, "K-" removes. Errors: usage, with the one that is neither.
Outcome<void> check_environment(const std::vector<std::string>& changes);

/// Where the build takes its source from.
struct GitOrigin {
  std::string url;
  std::string ref;
};
struct UploadOrigin {
  std::string upload;
  std::string commit;
  bool dirty = false;
};

/// A Shipwright BuildRun with the build in it. `deploy` is the manifest to apply with the built image; empty: build
/// only. `preview` is the order (wick/model/preview.hpp) of an image that becomes a preview instead; empty: it does
/// not. `secrets_ticket` is what the daemon gave for the secrets, which are not part of it.
Outcome<json::object> build_run_manifest(std::string_view run_name, std::string_view name, std::string_view name_space,
                                         const std::variant<GitOrigin, UploadOrigin>& origin,
                                         const BuildSettings& settings, const json::object& deploy,
                                         std::string_view secrets_ticket = {}, std::string_view preview = {});

}  // namespace wick::app::cli
