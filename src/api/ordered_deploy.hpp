// A deploy that the daemon orders itself, for a push or a webhook: the BuildRun that `wick deploy` would have made, and
// what becomes of it, as lines for people.
#pragma once

#include <expected>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "api/answer.hpp"
#include "wick/api/api.hpp"
#include "wick/model/preview.hpp"

namespace wick::api {

struct DeployOrder {
  std::string name_space;
  std::string name;                // of the Service
  json::object build;              // a Build's spec; where it names no output, the Service's name is taken
  std::string commit;              // "" where the source says it
  std::string user;                // who asked, for the record
  std::vector<std::string> env{};  // "K=V" and "K-": what the Service's variables become besides
  bool build_only = false;         // nothing is deployed
  std::optional<model::PreviewOrder> preview{};  // then its image becomes that, and the Service stays as it is
};

struct OrderedDeploy {
  store::ObjectKey run;
  std::string uid;              // of the run
  std::int64_t generation = 0;  // of the Service before, or of the preview; 0: there was none
};

/// Makes the BuildRun; what the Service is asked for stays as it is but for its image. Errors: invalid (the name, the
/// spec), those of check_preview and of the object table.
awaitable<Result<OrderedDeploy>> order_deploy(const Doors& doors, DeployOrder order);

struct DeployedService {
  std::string revision;
  std::string url;
  bool unchanged = false;
};
struct FailedDeploy {
  std::string because;             // one line
  std::vector<std::string> lines;  // the whole story (trust-and-ux.md 2.3)
};
using OnLine = std::function<awaitable<void>(std::string)>;

/// Follows it until the new revision is ready, or to the reason why not. Bounded by the build's own limit and
/// `ready_limit_of_deploy`.
awaitable<std::expected<DeployedService, FailedDeploy>> follow_deploy(const Doors& doors, OrderedDeploy deploy,
                                                                      OnLine on_line);

/// The name of a run of this commit that has not failed, where the service has none that is newer (times have seconds);
/// "" for none. Of the runs that deploy the service, or of those for the preview of `preview_branch`.
std::string run_of_commit(const Doors& doors, const std::string& name_space, const std::string& service,
                          const std::string& commit, const std::string& preview_branch = {});

/// One line of a build's log as people read it: `build      [1/2] RUN make                          3.1 s`.
std::string progress_line(const json::object& event);
std::string step_line(std::string_view step, std::string_view text, std::string_view elapsed = {});

/// The Service a deploy asks for: `existing` as it is, or a new one, without an image. Pure.
json::object ordered_service(const std::string& name, const json::object* existing);

}  // namespace wick::api
