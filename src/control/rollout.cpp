#include "control/rollout.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

#include "wick/model/object_reader.hpp"
#include "wick/model/resource.hpp"

namespace wick::control {

namespace {

constexpr double latency_part = 0.95;
// Knative's m, the least time a step takes: how long the first percent took to be programmed, at least a second. Ours
// is in force at once.
constexpr double step_seconds_min = 1;

void drop_empty(RolloutGroup& group) {
  std::erase_if(group.revisions, [](const RolloutShare& share) { return share.percent <= 0; });
}

void settle(RolloutGroup& group) {
  if (group.in_progress()) return;
  group.began.reset();
  group.next_step.reset();
  group.step_duration = {};
  group.step_size = 0;
}

/// More goes to the newest, less is taken from the oldest on.
void adjust(RolloutGroup& group, int percent) {
  int less = group.percent - percent;
  group.percent = percent;
  if (less <= 0) group.revisions.back().percent -= less;
  for (auto& share : group.revisions) {
    if (less <= 0) break;
    const int taken = std::min(less, share.percent);
    share.percent -= taken;
    less -= taken;
  }
  const auto newest = group.revisions.back();
  drop_empty(group);
  if (group.revisions.empty()) group.revisions.push_back(newest);
}

void give_everything(RolloutGroup& group, const std::string& revision) {
  group.revisions = {{revision, group.percent}};
  settle(group);
}

void begin(RolloutGroup& group, const RolloutGoal& goal, WallTime now) {
  group.revisions.back().percent -= 1;
  group.revisions.push_back({goal.revision, 1});
  drop_empty(group);
  const double seconds_left = std::max(1.0, std::chrono::duration<double>(goal.duration).count() - step_seconds_min);
  const double steps = std::clamp(seconds_left / step_seconds_min, 1.0, static_cast<double>(group.percent - 1));
  group.step_size = static_cast<int>(std::lround((group.percent - 1) / steps));
  group.step_duration = milliseconds(std::lround(seconds_left / steps * 1000));
  group.began = now;
  group.next_step = now + group.step_duration;
  settle(group);
}

void step(RolloutGroup& group, WallTime now) {
  auto& newest = group.revisions.back();
  int moved = std::min(group.step_size, group.percent - newest.percent);
  newest.percent += moved;
  // The second newest first: what is oldest has proved itself longest.
  for (auto older = group.revisions.rbegin() + 1; older != group.revisions.rend() && moved > 0; ++older) {
    const int taken = std::min(moved, older->percent);
    older->percent -= taken;
    moved -= taken;
  }
  drop_empty(group);
  group.next_step = now + group.step_duration;
  settle(group);
}

/// What was theirs goes to the newest that is left.
void forget(RolloutGroup& group, const std::vector<std::string>& gone) {
  int freed = 0;
  std::erase_if(group.revisions, [&](const RolloutShare& share) {
    const bool is_gone = std::ranges::find(gone, share.revision) != gone.end();
    if (is_gone) freed += share.percent;
    return is_gone;
  });
  if (!group.revisions.empty()) group.revisions.back().percent += freed;
  settle(group);
}

std::optional<double> number(const json::object& route, std::string_view annotation) {
  auto text = model::text_at(route, {"metadata", "annotations", annotation});
  while (!text.empty() && (text.back() == '%' || text.back() == 'x')) text.pop_back();
  double value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || ec != std::errc{} || end != text.data() + text.size() || !(value >= 0)) return std::nullopt;
  return value;
}

double failed_percent(const serving::Answered& answered) {
  return answered.requests ? 100.0 * static_cast<double>(answered.failed) / static_cast<double>(answered.requests) : 0;
}

}  // namespace

RolloutGroup advance(std::optional<RolloutGroup> before, const RolloutGoal& goal, WallTime now) {
  auto group =
      before.value_or(RolloutGroup{.configuration = goal.configuration, .tag = goal.tag, .percent = goal.percent});
  forget(group, goal.gone);
  if (!group.refused.empty() && goal.revision != group.refused) group.refused = group.because = {};
  if (group.revisions.empty()) {
    group.percent = goal.percent;
    group.refused = group.because = {};
    give_everything(group, goal.revision);
    return group;
  }
  if (group.percent != goal.percent) adjust(group, goal.percent);
  if (goal.finish == goal.revision && !goal.finish.empty()) {
    group.refused = group.because = {};
    give_everything(group, goal.revision);
    return group;
  }
  if (goal.revision == group.refused) return group;
  const bool newest = group.newest() == goal.revision;
  if (goal.abort == goal.revision && !goal.abort.empty() && (!newest || group.in_progress())) {
    if (newest) {
      take_back(group, goal.revision + " was taken back on request");
    } else {
      group.refused = goal.revision;
      group.because = goal.revision + " was taken back on request";
    }
    return group;
  }
  const bool known =
      std::ranges::find(group.revisions, goal.revision, &RolloutShare::revision) != group.revisions.end();
  if (goal.duration <= milliseconds(0) || goal.percent <= 1 || (known && !newest))
    give_everything(group, goal.revision);
  else if (!newest)
    begin(group, goal, now);
  else if (group.next_step && *group.next_step <= now)
    step(group, now);
  return group;
}

void take_back(RolloutGroup& group, std::string because) {
  group.refused = group.newest();
  group.because = std::move(because);
  const int freed = group.revisions.back().percent;
  if (group.in_progress()) {
    group.revisions.pop_back();
    group.revisions.back().percent += freed;
  }
  // With several older ones left it is the second newest that was being drained: nothing moves any more.
  group.next_step.reset();
  group.began.reset();
  settle(group);
}

std::optional<WallTime> next_step(const Rollout& rollout) {
  std::optional<WallTime> next;
  for (const auto& group : rollout)
    if (group.next_step && (!next || *group.next_step < *next)) next = group.next_step;
  return next;
}

RolloutGuard guard_of(const json::object& route) {
  RolloutGuard guard{.error_rate = number(route, rollback_on_error_rate),
                     .latency = number(route, rollback_on_latency)};
  if (const auto least = number(route, rollback_min_requests); least && *least >= 1)
    guard.requests_min = static_cast<std::uint64_t>(*least);
  return guard;
}

serving::Answered since(const serving::Answered& earlier, const serving::Answered& now) {
  // A daemon that started anew counts from 0 again.
  if (now.requests < earlier.requests || earlier.durations.size() != now.durations.size()) return now;
  auto between = now;
  between.requests -= earlier.requests;
  between.failed -= std::min(earlier.failed, between.failed);
  for (std::size_t i = 0; i < between.durations.size(); ++i)
    between.durations[i] -= std::min(earlier.durations[i], between.durations[i]);
  return between;
}

double percentile(const serving::Answered& answered, double part) {
  const auto& counts = answered.durations;
  const auto& bounds = answered.duration_bounds;
  const double all = static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}));
  double below = 0;
  for (std::size_t i = 0; i < counts.size() && i < bounds.size(); ++i) {
    const double here = static_cast<double>(counts[i]);
    const double low = i == 0 ? 0 : bounds[i - 1];
    if (here > 0 && below + here >= part * all) return low + (bounds[i] - low) * (part * all - below) / here;
    below += here;
  }
  return bounds.empty() ? 0 : bounds.back();
}

std::optional<std::string> verdict(const RolloutGuard& guard, const RolloutShare& newest,
                                   const serving::Answered& of_newest, const RolloutShare& previous,
                                   const serving::Answered& of_previous) {
  if (of_newest.requests < guard.requests_min) return std::nullopt;
  const double failed = failed_percent(of_newest);
  const double failed_before = failed_percent(of_previous);
  if (guard.error_rate && failed > failed_before + *guard.error_rate)
    return fmt::format("{} was taken back: {:.1f} % of its {} requests failed, {:.1f} % of {}'s {}", newest.revision,
                       failed, of_newest.requests, failed_before, previous.revision, of_previous.requests);
  if (!guard.latency || of_previous.requests < guard.requests_min) return std::nullopt;
  const double slow = percentile(of_newest, latency_part);
  const double slow_before = percentile(of_previous, latency_part);
  if (slow <= slow_before * *guard.latency) return std::nullopt;
  return fmt::format("{} was taken back: 95 % of its {} requests took up to {:.0f} ms, {:.0f} ms with {}",
                     newest.revision, of_newest.requests, slow * 1000, slow_before * 1000, previous.revision);
}

json::array to_json(const Rollout& rollout) {
  json::array groups;
  for (const auto& group : rollout) {
    json::array revisions;
    for (const auto& share : group.revisions)
      revisions.push_back({{"revisionName", share.revision}, {"percent", share.percent}});
    json::object entry{{"configurationName", group.configuration}, {"percent", group.percent}};
    if (!group.tag.empty()) entry["tag"] = group.tag;
    entry["revisions"] = std::move(revisions);
    if (group.began) entry["startTime"] = to_rfc3339_nano(*group.began);
    if (group.next_step) {
      entry["nextStepTime"] = to_rfc3339_nano(*group.next_step);
      entry["stepDurationMilliseconds"] = group.step_duration.count();
      entry["stepSize"] = group.step_size;
    }
    if (!group.refused.empty()) {
      entry["refused"] = group.refused;
      entry["because"] = group.because;
    }
    groups.push_back(std::move(entry));
  }
  return groups;
}

Rollout rollout_from_json(const json::value* value) {
  Rollout rollout;
  if (!value || !value->is_array()) return rollout;
  for (const auto& each : value->get_array()) {
    if (!each.is_object()) continue;
    const auto& entry = each.get_object();
    const auto time = [&](std::string_view key) -> std::optional<WallTime> {
      auto parsed = parse_rfc3339(model::text_at(entry, {key}));
      return parsed ? std::optional(*parsed) : std::nullopt;
    };
    RolloutGroup group{.configuration = model::text_at(entry, {"configurationName"}),
                       .tag = model::text_at(entry, {"tag"}),
                       .percent = static_cast<int>(model::integer_at(entry, {"percent"})),
                       .began = time("startTime"),
                       .next_step = time("nextStepTime"),
                       .step_duration = milliseconds(model::integer_at(entry, {"stepDurationMilliseconds"})),
                       .step_size = static_cast<int>(model::integer_at(entry, {"stepSize"})),
                       .refused = model::text_at(entry, {"refused"}),
                       .because = model::text_at(entry, {"because"})};
    if (const auto* revisions = entry.if_contains("revisions"); revisions && revisions->is_array())
      for (const auto& share : revisions->get_array())
        if (share.is_object())
          group.revisions.push_back({model::text_at(share.get_object(), {"revisionName"}),
                                     static_cast<int>(model::integer_at(share.get_object(), {"percent"}))});
    if (!group.revisions.empty()) rollout.push_back(std::move(group));
  }
  return rollout;
}

}  // namespace wick::control
