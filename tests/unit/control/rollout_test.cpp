// Each expected share is worked out from serving.md 4: the newest begins with 1 %, then every D'/steps seconds
// round((P - 1) / steps) move, D' = D - 1, steps = min(D', P - 1).
#include "control/rollout.hpp"

#include <catch2/catch.hpp>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

using namespace wick;
using namespace wick::control;

namespace {

const WallTime start{std::chrono::sys_days{std::chrono::year{2026} / 11 / 23}};

using Shares = std::vector<RolloutShare>;

RolloutGoal goal(std::string revision, milliseconds duration = 100s, int percent = 100) {
  return {.configuration = "hello", .percent = percent, .revision = std::move(revision), .duration = duration};
}

/// At 100 % of "a", with "b" just begun.
RolloutGroup begun(milliseconds duration = 100s, int percent = 100) {
  return advance(advance({}, goal("a", duration, percent), start), goal("b", duration, percent), start);
}

serving::Answered answered(std::uint64_t requests, std::uint64_t failed, std::vector<std::uint64_t> durations) {
  return {.requests = requests, .failed = failed, .duration_bounds = {0.01, 0.1, 1}, .durations = std::move(durations)};
}

}  // namespace

TEST_CASE("without a duration, at 1 percent, and for the first revision everything moves at once") {
  CHECK(advance({}, goal("a"), start).revisions == Shares{{"a", 100}});
  CHECK(advance(advance({}, goal("a", 0s), start), goal("b", 0s), start).revisions == Shares{{"b", 100}});
  CHECK(advance(advance({}, goal("a", 100s, 1), start), goal("b", 100s, 1), start).revisions == Shares{{"b", 1}});
  CHECK_FALSE(advance({}, goal("a"), start).next_step);
}

TEST_CASE("a rollout begins with one percent and its steps follow the formula") {
  struct Case {
    milliseconds duration;
    int percent;
    int step_size;
    milliseconds step_duration;
  };
  const Case cases[] = {
      {100s, 100, 1, 1s},      // D' 99, 99 steps of round(99 / 99)
      {200s, 100, 1, 2010ms},  // D' 199, at most 99 steps: 199 / 99 s
      {11s, 100, 10, 1s},      // D' 10: round(99 / 10)
      {2s, 100, 99, 1s},       // D' 1: one step
      {1s, 100, 99, 1s},       // D' at least 1
      {31s, 51, 2, 1s},        // D' 30: round(50 / 30)
      {600s, 2, 1, 599s},      // P - 1 = 1 step
  };
  for (const auto& each : cases) {
    CAPTURE(each.duration.count(), each.percent);
    const auto group = begun(each.duration, each.percent);
    CHECK(group.revisions == Shares{{"a", each.percent - 1}, {"b", 1}});
    CHECK(group.step_size == each.step_size);
    CHECK(group.step_duration == each.step_duration);
    CHECK(group.next_step == start + each.step_duration);
  }
}

TEST_CASE("a rollout moves a step when it is due, not before, and ends with one revision") {
  auto group = begun(11s);
  CHECK(advance(group, goal("b", 11s), start + 999ms) == group);
  int percent = 1;
  for (auto now = start + 1s; group.in_progress(); now += 1s) {
    group = advance(group, goal("b", 11s), now);
    percent = std::min(100, percent + 10);
    CHECK(group.revisions.back() == RolloutShare{"b", percent});
    REQUIRE(now < start + 12s);
  }
  CHECK(group.revisions == Shares{{"b", 100}});
  CHECK_FALSE(group.next_step);
  CHECK_FALSE(group.began);
}

TEST_CASE("a third revision takes its percent from the second, which is drained before the first") {
  auto group = begun(11s);
  group = advance(group, goal("b", 11s), start + 1s);
  CHECK(group.revisions == Shares{{"a", 89}, {"b", 11}});
  group = advance(group, goal("c", 11s), start + 1500ms);
  CHECK(group.revisions == Shares{{"a", 89}, {"b", 10}, {"c", 1}});
  CHECK(group.next_step == start + 2500ms);  // timing begins anew
  group = advance(group, goal("c", 11s), start + 2500ms);
  CHECK(group.revisions == Shares{{"a", 89}, {"c", 11}});
  group = advance(group, goal("c", 11s), start + 3500ms);
  CHECK(group.revisions == Shares{{"a", 79}, {"c", 21}});
}

TEST_CASE("a changed percent goes to the newest or is taken from the oldest") {
  auto group = begun(11s, 50);  // a 49, b 1
  CHECK(advance(group, goal("b", 11s, 80), start).revisions == Shares{{"a", 49}, {"b", 31}});
  CHECK(advance(group, goal("b", 11s, 20), start).revisions == Shares{{"a", 19}, {"b", 1}});
  CHECK(advance(group, goal("b", 11s, 1), start).revisions == Shares{{"b", 1}});
}

TEST_CASE("a revision that was taken back gets nothing until another one is ready") {
  auto group = begun(11s);
  take_back(group, "b was bad");
  CHECK(group.revisions == Shares{{"a", 100}});
  CHECK(advance(group, goal("b", 11s), start + 60s) == group);
  CHECK(advance(group, goal("b", 0s), start + 60s) == group);
  const auto next = advance(group, goal("c", 11s), start + 60s);
  CHECK(next.revisions == Shares{{"a", 99}, {"c", 1}});
  CHECK(next.refused.empty());
  CHECK(next.because.empty());
}

TEST_CASE("a person takes a rollout back, or finishes it") {
  auto abort = goal("b", 100s);
  abort.abort = "b";
  const auto aborted = advance(begun(), abort, start);
  CHECK(aborted.revisions == Shares{{"a", 100}});
  CHECK(aborted.refused == "b");
  auto finish = abort;
  finish.abort.clear();
  finish.finish = "b";
  CHECK(advance(aborted, finish, start).revisions == Shares{{"b", 100}});
  CHECK(advance(begun(), finish, start).revisions == Shares{{"b", 100}});
  // What is done is done: there is nothing older to go back to.
  CHECK(advance(advance(begun(), finish, start), abort, start).revisions == Shares{{"b", 100}});
}

TEST_CASE("the share of a revision that was deleted goes to the newest") {
  auto next = goal("b");
  next.gone = {"a"};
  CHECK(advance(begun(), next, start).revisions == Shares{{"b", 100}});
  next.gone = {"a", "b"};
  next.revision = "c";
  CHECK(advance(begun(), next, start).revisions == Shares{{"c", 100}});
}

TEST_CASE("a rollout survives being written and read") {
  auto group = advance(begun(11s), goal("b", 11s), start + 1s);
  CHECK(rollout_from_json(nullptr).empty());
  json::value written = to_json({group});
  CHECK(rollout_from_json(&written) == Rollout{group});
  take_back(group, "b was bad");
  written = to_json({group});
  CHECK(rollout_from_json(&written).at(0).refused == "b");
  for (const auto text : {"1", "[1]", "[{}]", R"([{"revisions":[1]}])", R"([{"revisions":{}}])"}) {
    const auto other = json::parse(text);
    CHECK(rollout_from_json(&other).empty());
  }
}

TEST_CASE("the guard is read from annotations, and a mistyped value guards nothing") {
  const auto guard = [](std::string_view error_rate, std::string_view latency, std::string_view requests) {
    const json::object annotations{
        {rollback_on_error_rate, error_rate}, {rollback_on_latency, latency}, {rollback_min_requests, requests}};
    return guard_of({{"metadata", {{"annotations", annotations}}}});
  };
  CHECK(guard("5%", "2x", "50").error_rate == 5);
  CHECK(guard("5%", "2x", "50").latency == 2);
  CHECK(guard("5%", "2x", "50").requests_min == 50);
  CHECK(guard("0.5", "1.5", "0").requests_min == 20);
  CHECK_FALSE(guard("", "-1", "x"));
  CHECK_FALSE(guard("five", "nan", ""));
  CHECK_FALSE(guard_of({}));
}

TEST_CASE("the newest revision is judged against the one before, once it had enough requests") {
  const RolloutShare a{"a", 90}, b{"b", 10};
  const RolloutGuard guard{.error_rate = 5, .latency = 2};
  const auto fine = answered(900, 9, {900, 0, 0, 0});                         // 1 % failed, 95 % within 9.5 ms
  CHECK_FALSE(verdict(guard, b, answered(19, 19, {19, 0, 0, 0}), a, fine));   // too few
  CHECK_FALSE(verdict(guard, b, answered(100, 6, {100, 0, 0, 0}), a, fine));  // 6 % is not more than 1 % + 5
  CHECK(verdict(guard, b, answered(100, 7, {100, 0, 0, 0}), a, fine) ==
        "b was taken back: 7.0 % of its 100 requests failed, 1.0 % of a's 900");
  // 95 of 100 within 0.01 + 0.09 × 45 / 50 = 0.091 s, against 0.0095 s.
  CHECK(verdict(guard, b, answered(100, 0, {50, 50, 0, 0}), a, fine) ==
        "b was taken back: 95 % of its 100 requests took up to 91 ms, 10 ms with a");
  CHECK_FALSE(verdict({.error_rate = 5}, b, answered(100, 0, {0, 0, 100, 0}), a, fine));
  CHECK_FALSE(verdict(guard, b, answered(100, 0, {0, 0, 100, 0}), a, answered(0, 0, {0, 0, 0, 0})));
}

TEST_CASE("the requests between two looks are counted, also when the daemon began anew between them") {
  const auto between = since(answered(10, 1, {5, 5, 0, 0}), answered(30, 3, {20, 9, 1, 0}));
  CHECK(between.requests == 20);
  CHECK(between.failed == 2);
  CHECK(between.durations == std::vector<std::uint64_t>{15, 4, 1, 0});
  CHECK(since(answered(10, 1, {5, 5, 0, 0}), answered(3, 0, {3, 0, 0, 0})).requests == 3);
}
