// From an image's config and a Revision to the process that runs. Pure.
#pragma once

#include <string>
#include <vector>

#include "wick/container/runner.hpp"
#include "wick/image/content_store.hpp"
#include "wick/model/ladder.hpp"
#include "wick/model/revision.hpp"
#include "wick/serving/revision.hpp"

namespace wick::control {

/// Replaces $(NAME) by the variable's value, $$ by $; what names no variable stays as it is (Kubernetes' container
/// command rules).
std::string expand_variables(std::string_view text, const std::vector<model::EnvironmentVariable>& variables);

struct RevisionNames {
  std::string service;
  std::string configuration;
  std::string revision;
};

/// argv by Kubernetes' table (command over ENTRYPOINT, args over CMD, command alone drops CMD), environment of image,
/// then template, then the contract's own. uid and gid are left for the caller. Errors: invalid when nothing names a
/// program.
enum class ContainerRole {
  serving,  // PORT and K_*
  beside,   // K_*
  init,     // neither
};
Result<container::Process> make_process(const image::ImageConfig& image, const model::Container& container,
                                        const RevisionNames& names, ContainerRole role = ContainerRole::serving);

/// Who the process runs as, in the words runner.resolve_user takes; "" is root.
std::string user_of(const image::ImageConfig& image, const model::Container& container);

container::Limits limits_of(const model::Container& container);
serving::Scaling scaling_of(const model::Autoscaling& autoscaling);
serving::Ladder ladder_of(const model::Ladder& ladder);

/// livenessProbe as it is.
std::optional<serving::Liveness> liveness_of(const model::Container& container);
/// How long a start may take: the progress deadline, and what a startupProbe allows.
milliseconds startup_limit_of(const model::Container& container, milliseconds progress_deadline);

/// On a revision's template: "predicted" keeps and makes ready instances by the revision's own arrivals.
inline constexpr std::string_view keep_warm = "wick.dev/keep-warm";

/// On a revision's template: 1 to 1000, how much of a full box it may have against the others.
inline constexpr std::string_view box_weight = "wick.dev/weight";
/// 100 where there is none, or one that is no such number.
double weight_of(std::string_view annotation);
std::optional<serving::Probe> startup_of(const model::Container& container);
serving::Probe probe_of(const model::Container& container);

}  // namespace wick::control
