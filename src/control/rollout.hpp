// Traffic of one configuration on its way from older revisions to the newest (serving.md 4): Knative's gradual rollout,
// and what it does not have: taking a revision back that does worse than the one before it. Pure: time is passed in.
//
//            new revision ready                    every step_duration
//   one ───────────begin()──────────► newest has 1 % ───step()───► newest has everything
//    ▲                                    │
//    └────────────take_back()─────────────┘   the newest is refused: it gets nothing until another one is ready
//
// Invariants: the shares of a group add up to its percent; no share is 0; `revisions` has the oldest first.
#pragma once

#include <boost/json/array.hpp>
#include <optional>
#include <string>
#include <vector>

#include "wick/base/time.hpp"
#include "wick/serving/serving.hpp"

namespace wick::control {

namespace json = boost::json;

struct RolloutShare {
  std::string revision;
  int percent = 0;
  bool operator==(const RolloutShare&) const = default;
};

inline constexpr std::string_view rollout_duration_alias = "serving.knative.dev/rolloutDuration";
// On a Service (and the Route that it makes).
inline constexpr std::string_view rollback_on_error_rate = "wick.dev/rollback-on-error-rate";
inline constexpr std::string_view rollback_on_latency = "wick.dev/rollback-on-latency";
inline constexpr std::string_view rollback_min_requests = "wick.dev/rollback-min-requests";
inline constexpr std::string_view rollout_abort = "wick.dev/rollout-abort";    // the revision to take back
inline constexpr std::string_view rollout_finish = "wick.dev/rollout-finish";  // the revision to give everything to

/// What one target of a Route that follows a configuration's newest revision gets.
struct RolloutGroup {
  std::string configuration;
  std::string tag;
  int percent = 100;
  std::vector<RolloutShare> revisions;
  std::optional<WallTime> began;      // set while in progress
  std::optional<WallTime> next_step;  // likewise
  milliseconds step_duration{0};
  int step_size = 0;
  std::string refused;  // a revision that was taken back …
  std::string because;  // … and the sentence why

  bool in_progress() const { return revisions.size() > 1; }
  const std::string& newest() const { return revisions.back().revision; }
  bool operator==(const RolloutGroup&) const = default;
};
using Rollout = std::vector<RolloutGroup>;

/// What a rollout is to come to, and how.
struct RolloutGoal {
  std::string configuration;
  std::string tag;
  int percent = 100;
  std::string revision;           // the configuration's latest ready one
  milliseconds duration{0};       // 0: all at once
  std::string abort;              // a revision that somebody wants taken back
  std::string finish;             // a revision that somebody wants to have everything now
  std::vector<std::string> gone;  // revisions of the group that are no more
};

/// The group's next state. Steps that are due are taken; `before` may be empty.
RolloutGroup advance(std::optional<RolloutGroup> before, const RolloutGoal& goal, WallTime now);

/// The newest revision's share goes back to the one before it.
void take_back(RolloutGroup& group, std::string because);

/// When to look again; nullopt when nothing is under way.
std::optional<WallTime> next_step(const Rollout& rollout);

/// What the newest revision may do worse than the one before it: wick.dev/rollback-on-error-rate (percentage points),
/// wick.dev/rollback-on-latency (factor on the 95th percentile), wick.dev/rollback-min-requests.
struct RolloutGuard {
  std::optional<double> error_rate;
  std::optional<double> latency;
  std::uint64_t requests_min = 20;
  explicit operator bool() const { return error_rate || latency; }
};
RolloutGuard guard_of(const json::object& route);

/// The requests between two looks.
serving::Answered since(const serving::Answered& earlier, const serving::Answered& now);
/// Seconds below which the share `part` of the requests were answered, read off the histogram by linear interpolation.
double percentile(const serving::Answered& answered, double part);
/// Why `newest` is to be taken back, as a sentence; nullopt while it is not.
std::optional<std::string> verdict(const RolloutGuard& guard, const RolloutShare& newest,
                                   const serving::Answered& of_newest, const RolloutShare& previous,
                                   const serving::Answered& of_previous);

json::array to_json(const Rollout& rollout);
/// What to_json() wrote; anything else reads as nothing under way.
Rollout rollout_from_json(const json::value* value);

}  // namespace wick::control
