// Bins are 3 % wide: 900 s lies in [896.5, 923.4), 26.9 s wide.
#include "wick/serving/keep_warm.hpp"

#include <catch2/catch.hpp>

using namespace wick;
using namespace wick::serving;

namespace {

IdleTimes learnt(std::initializer_list<std::pair<Duration, int>> idles, double seconds_per_cold_start = 240) {
  IdleTimes times(seconds_per_cold_start);
  for (const auto& [idle, count] : idles)
    for (int i = 0; i < count; ++i) times.learn(idle);
  return times;
}

}  // namespace

TEST_CASE("nothing is known before four idle times") {
  CHECK_FALSE(learnt({{900s, 3}}).known());
  CHECK(learnt({{900s, 4}}).known());
}

TEST_CASE("a periodic service is kept warm around its period only") {
  const auto times = learnt({{900s, 10}});
  CHECK_FALSE(times.warm_at(0s, 0s));
  CHECK_FALSE(times.warm_at(890s, 0s));
  CHECK(times.warm_at(892s, 5s));
  CHECK(times.warm_at(900s, 0s));
  CHECK_FALSE(times.warm_at(930s, 5s));
  const auto next = times.next_warm(10s, 5s);
  REQUIRE(next);
  CHECK(*next > 885s);
  CHECK(*next < 892s);
  CHECK(times.next_warm(900s, 5s) == 900s);  // now
  CHECK_FALSE(times.next_warm(930s, 5s));
}

TEST_CASE("a bin is warm when it costs no more than the price of the cold starts that it saves") {
  // 10 times 900 s: 10 × price ≥ 26.9 × (10 − 5 + 3) → price ≥ 21.5 s.
  CHECK(learnt({{900s, 10}}, 22).warm_at(900s, 0s));
  CHECK_FALSE(learnt({{900s, 10}}, 21).warm_at(900s, 0s));
  // One 3600 s among forty short ones: 1 × 240 against 3 % of an hour × (1 − 0.5 + 3) = 370: not worth it.
  const auto rare = learnt({{2s, 40}, {3600s, 1}});
  CHECK(rare.warm_at(2s, 0s));
  CHECK_FALSE(rare.warm_at(3600s, 0s));
}

TEST_CASE("a service that is asked all the time stays, and what is long past is forgotten") {
  auto times = learnt({{5s, 400}});
  CHECK(times.warm_at(5s, 0s));
  for (int i = 0; i < 4000; ++i) times.learn(600s);
  CHECK_FALSE(times.warm_at(5s, 0s));
  CHECK(times.warm_at(600s, 0s));
}

TEST_CASE("idle times out of any range are taken") {
  auto times = learnt({{0s, 4}, {std::chrono::hours(24 * 365), 4}});
  CHECK(times.warm_at(0s, 0s));
  CHECK_FALSE(times.warm_at(std::chrono::hours(30), 0s));
  CHECK_FALSE(times.next_warm(std::chrono::hours(30), 5s));
}
