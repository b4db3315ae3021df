#include "container/pod_life.hpp"

#include <catch2/catch.hpp>
#include <random>
#include <vector>

using namespace wick;
using namespace wick::container;
using namespace std::chrono_literals;

using Started = std::vector<std::size_t>;

TEST_CASE("init containers start one by one, the others after the last of them") {
  PodLife life(2, 1);
  CHECK(life.begin().start == Started{0});
  CHECK(life.ended(0, true, 1s).start == Started{1});
  CHECK(life.ended(1, true, 1s).start == Started{2, 3});
  CHECK(life.main() == 3);
  CHECK(PodLife(0, 2).begin().start == Started{0, 1, 2});
}

TEST_CASE("an init container that ends badly or does not start ends the pod") {
  PodLife badly(2, 0);
  badly.begin();
  CHECK(badly.ended(0, false, 1s).over);
  CHECK(badly.over());
  PodLife never(2, 0);
  never.begin();
  CHECK(never.not_started(0).over);
  CHECK(never.begin().start.empty());
}

TEST_CASE("a companion is started again after a pause that doubles to its most, however it ended") {
  PodLife life(0, 1);
  life.begin();
  life.settle();
  Duration expected = PodLife::restart_first;
  for (int i = 0; i < 12; ++i) {
    const auto verdict = life.ended(0, i % 2 == 0, 1s);
    CHECK(verdict.start == Started{0});
    CHECK(verdict.after == expected);
    CHECK(life.restarts(0) == i + 1);
    expected = std::min<Duration>(expected * 2, PodLife::restart_most);
  }
  CHECK(life.ended(0, false, PodLife::settled_after).after == PodLife::restart_first);
}

TEST_CASE("failures of a companion end the pod before it settled, and only then") {
  PodLife fresh(0, 1);
  fresh.begin();
  for (int i = 1; i < PodLife::failures_max; ++i) CHECK_FALSE(fresh.ended(0, false, 1s).over);
  CHECK(fresh.ended(0, false, 1s).over);
  PodLife settled(0, 1);
  settled.begin();
  settled.settle();
  for (int i = 0; i < 10; ++i) CHECK_FALSE(settled.ended(0, false, 1s).over);
}

TEST_CASE("the main container's end is the pod's, and nothing starts after it") {
  PodLife life(0, 1);
  life.begin();
  CHECK(life.ended(1, true, 1s).over);
  CHECK(life.ended(0, false, 1s).start.empty());
}

TEST_CASE("an adopted pod has started already; what is down is counted as ended") {
  auto life = PodLife::adopted(1, 2, {2});
  CHECK(life.is_up(1));
  CHECK_FALSE(life.is_up(2));
  CHECK(life.is_up(life.main()));
  const auto verdict = life.ended(2, false, 0s);
  CHECK(verdict.start == Started{2});
}

TEST_CASE("any order of ends keeps the invariants") {
  std::mt19937 random(20261127);
  for (int round = 0; round < 2000; ++round) {
    const std::size_t init = random() % 3;
    const std::size_t beside = random() % 3;
    PodLife life(init, beside);
    const std::size_t count = init + beside + 1;
    std::vector<int> starts(count), up(count), well(count);
    const auto apply = [&](const PodLife::Verdict& verdict) {
      CHECK((!verdict.over || (life.over() && verdict.start.empty())));  // 3
      for (const auto i : verdict.start) {
        CHECK(up[i] == 0);  // 4
        up[i] = 1;
        ++starts[i];
        const auto before = life.is_init(i) ? i : init;
        for (std::size_t j = 0; j < before; ++j) CHECK(well[j] == 1);  // 1, 2
        if (life.is_init(i)) CHECK(std::count(up.begin(), up.end(), 1) == 1);
      }
    };
    apply(life.begin());
    for (int step = 0; step < 30; ++step) {
      const auto i = random() % count;
      const auto what = random() % 20;
      if (what == 0) life.settle();
      if (what == 1) life.end();
      if (!up[i]) continue;
      up[i] = 0;
      const bool ended_well = random() % 3 != 0;
      if (ended_well) well[i] = 1;
      const bool was_over = life.over();
      const auto verdict =
          what == 2 ? life.not_started(i) : life.ended(i, ended_well, std::chrono::seconds(random() % 100));
      if (was_over) CHECK((verdict.start.empty() && !verdict.over));
      apply(verdict);
      if (what != 2 && !was_over && i == life.main()) CHECK(verdict.over);
      for (std::size_t j = 0; j < count; ++j) {
        CHECK(life.is_up(j) == (up[j] == 1));
        if (life.is_init(j) || j == life.main()) CHECK(starts[j] <= 1);  // 1, 2
      }
      if (std::count(up.begin(), up.end(), 1) == 0) CHECK(life.over());
    }
  }
}
