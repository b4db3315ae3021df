// Branches of repositories elsewhere that are followed by looking: a Build with the annotation wick.dev/follow: 1m is
// looked at so often, and where its branch has moved, what is there is built and deployed to the Service of its label
// wick.dev/service (else of its own name).
//
// What is seen stands in the Build's status: conditions[Followed], and `commit`, the last one that was acted upon. A
// commit whose build or start failed is not tried again until the branch moves. A look that fails is tried again after
// twice the time, and so on, to at most an hour.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "wick/api/api.hpp"
#include "wick/build/build.hpp"

namespace wick::api {

inline constexpr std::string_view follow_annotation = "wick.dev/follow";
inline constexpr milliseconds follow_interval_min{5'000};
inline constexpr milliseconds follow_pause_max{3'600'000};

/// Pure: how long until the next look after `failures` looks in a row that failed.
milliseconds pause_after(milliseconds interval, int failures);

class FollowedBranches {
 public:
  /// build::look_at_branch.
  using Look = std::function<awaitable<Result<std::string>>(build::GitSource)>;

  /// The references of `doors` outlive it.
  FollowedBranches(Doors doors, Look look);
  ~FollowedBranches();

  /// Until it is cancelled.
  awaitable<void> run();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace wick::api
