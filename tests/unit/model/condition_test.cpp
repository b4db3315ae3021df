#include "wick/model/condition.hpp"

#include <boost/json/serialize.hpp>
#include <catch2/catch.hpp>

using namespace wick;
using namespace wick::model;

namespace {
const WallTime early{std::chrono::sys_days{std::chrono::year{2026} / 11 / 23}};
const WallTime late = early + 1h;
}  // namespace

TEST_CASE("the happy condition is False before Unknown before True, with the reason of what decided") {
  Conditions conditions("Ready", {"A", "B"}, {}, early);
  CHECK(conditions.happy().status == Truth::unknown);
  conditions.mark_true("A");
  conditions.mark_false("B", "Broken", "it broke");
  CHECK(conditions.happy().status == Truth::no);
  CHECK(conditions.happy().reason == "Broken");
  conditions.mark_true("B");
  conditions.mark_info("Active", Truth::no, "NoTraffic", "The target is not receiving traffic.");
  CHECK(conditions.happy().status == Truth::yes);
}

TEST_CASE("a condition's transition time moves only when something else of it does") {
  Conditions first("Ready", {"A"}, {}, early);
  first.mark_true("A");
  const json::object object{{"status", {{"conditions", first.to_json()}}}};

  Conditions same("Ready", {"A"}, object, late);
  same.mark_true("A");
  CHECK(same.to_json() == first.to_json());

  Conditions moved("Ready", {"A"}, object, late);
  moved.mark_unknown("A", "Deploying");
  CHECK(json::serialize(moved.to_json()) ==
        R"([{"type":"A","status":"Unknown","lastTransitionTime":"2026-11-23T01:00:00Z","reason":"Deploying"},)"
        R"({"type":"Ready","status":"Unknown","lastTransitionTime":"2026-11-23T01:00:00Z","reason":"Deploying"}])");
  CHECK(find_condition(object, "Ready").status == Truth::yes);
  CHECK(find_condition(object, "None").status == Truth::unknown);
}
