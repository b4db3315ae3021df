// Each expected number is worked out beside it from the formulas of Knative's autoscaler.
#include <catch2/catch.hpp>

#include "wick/serving/autoscaler.hpp"

using namespace wick;
using namespace wick::serving;

namespace {

const TimePoint start{std::chrono::hours(1)};

/// Feeds one sample a second and asks every second one, as the pool does.
struct Feed {
  explicit Feed(Scaling scaling = {}, int container_concurrency = 0) : scaler(scaling, container_concurrency, start) {}

  /// `count` seconds with `load` requests in flight; the last decision.
  Decision seconds_of(double load, int count) {
    for (int i = 0; i < count; ++i) {
      now += 1s;
      scaler.record(now, {.in_flight = load, .requests = requests});
      if (++second % 2 == 0) last = scaler.decide(now, seen);
    }
    return last;
  }

  Autoscaler scaler;
  TimePoint now = start;
  Observation seen{.ready = 1};
  Decision last;
  double requests = 0;
  int second = 0;
};

}  // namespace

TEST_CASE("the target is resolved from annotation, container concurrency and utilisation") {
  struct Case {
    int container_concurrency;
    double target;
    double utilization;
    double total;
    double value;
  };
  const Case cases[] = {
      {0, 0, 0.7, 100, 70},        // default 100 × 0.7
      {10, 0, 0.7, 10, 7},         // the hard limit is the total
      {10, 50, 0.7, 10, 7},        // annotation capped by the hard limit
      {10, 5, 0.7, 5, 3.5},        // annotation below it counts
      {0, 250, 1.0, 250, 250},     // no hard limit: annotation as it is
      {0, 0.01, 0.01, 0.01, 0.01}  // 0.01 × 0.01 = 0.0001, raised to 0.01
  };
  for (const auto& each : cases) {
    const Autoscaler scaler({.target = each.target, .utilization = each.utilization}, each.container_concurrency,
                            start);
    CHECK(scaler.total_value() == Approx(each.total));
    CHECK(scaler.target_value() == Approx(each.value));
  }
}

TEST_CASE("with requests a second as the metric the target is 200 or the annotation, whatever the concurrency") {
  const auto scaler = [](double target, double utilization) {
    const Scaling scaling{.metric = Scaling::Metric::rps, .target = target, .utilization = utilization};
    return Autoscaler(scaling, 10, start);
  };
  CHECK(scaler(0, 0.7).total_value() == 200);
  CHECK(scaler(0, 0.7).target_value() == Approx(140));
  CHECK(scaler(50, 1).target_value() == 50);  // containerConcurrency 10 does not cap it
}

TEST_CASE("requests a second scale by arrivals, however short each request is") {
  Feed feed({.metric = Scaling::Metric::rps});
  feed.requests = 420;
  feed.seen.ready = 3;
  // 420 / 140 = 3; in flight (0.1) would want 1.
  CHECK(feed.seconds_of(0.1, 60).desired == 3);
  CHECK(feed.last.stable_average == Approx(420));
  // A burst asks for what has arrived in this second so far: (5 × 420 + 5000) / 6 = 1183.3 → 9, of which the four
  // requests in flight occupy one.
  CHECK(feed.scaler.wanted_for_burst(feed.now, feed.seen, {.in_flight = 4, .requests = 5000}) == 1);
}

TEST_CASE("the panic window is a share of the stable one in whole seconds, at least one") {
  const auto window = [](milliseconds stable, double percentage) {
    const Scaling scaling{.stable_window = stable, .panic_window_percentage = percentage};
    return Autoscaler(scaling, 0, start).panic_window();
  };
  CHECK(window(60s, 10) == 6s);
  CHECK(window(6s, 10) == 1s);   // 0.6 → 1
  CHECK(window(25s, 10) == 3s);  // 2.5 → 3
  CHECK(window(6s, 1) == 1s);    // 0.06 → 0, at least 1
}

TEST_CASE("the load meter averages over time exactly") {
  LoadMeter meter(start);
  meter.change(start, 1);
  meter.change(start + 250ms, 2);                          // 1 for 0.25 s
  meter.change(start + 500ms, -3);                         // 3 for 0.25 s
  CHECK(meter.take(start + 1s).in_flight == Approx(1.0));  // 0.25 + 0.75 + 0 = 1.0
  meter.change(start + 1500ms, 4);
  CHECK(meter.in_progress().requests == 4);
  const auto second = meter.take(start + 2s);
  CHECK(second.in_flight == Approx(2.0));  // 4 × 0.5
  CHECK(second.requests == 4);
  CHECK(meter.take(start + 2s).in_flight == Approx(4.0));  // no time: what is now
}

TEST_CASE("a window averages over the seconds since its first record, empty seconds count zero") {
  WindowAverage window(6s);
  CHECK(window.average(0) == 0);
  CHECK(window.average(0, 5) == 5);  // only the second in progress
  window.record(10, 12);
  CHECK(window.average(10) == 12);  // 12 / 1
  CHECK(window.average(11) == 6);   // 12 / 2
  CHECK(window.average(12) == 4);   // 12 / 3
  window.record(13, 4);
  CHECK(window.average(13) == 4);                               // (12 + 0 + 0 + 4) / 4
  CHECK(window.average(14, 4) == 4);                            // (16 + 4) / 5
  CHECK(window.average(15) == Approx(2.666667).epsilon(1e-9));  // 16 / 6, six digits
  CHECK(window.average(16) == Approx(0.666667).epsilon(1e-9));  // second 10 fell out: 4 / 6
  CHECK(window.average(18) == Approx(0.666667).epsilon(1e-9));  // second 13 is the oldest left
  CHECK(window.average(19) == 0);                               // nothing for a whole window
  window.record(19, 9);
  CHECK(window.average(19) == 9);  // began anew: 9 / 1
  window.record(19, 1);
  CHECK(window.average(19) == 10);  // one bucket sums
}

TEST_CASE("weighted-exponential averages weigh the newest second most") {
  // n = 6: 1 − 0.0001^(1/6) = 0.784557; n = 60: 1 − 0.0001^(1/60) = 0.142…, raised to 0.2.
  WindowAverage panic(6s, Scaling::Aggregation::weighted_exponential);
  panic.record(10, 100);
  CHECK(panic.average(10) == Approx(78.455653).epsilon(1e-8));      // 0.784557 × 100
  CHECK(panic.average(11) == Approx(16.902758).epsilon(1e-7));      // × 0.215443
  CHECK(panic.average(10, 50) == Approx(117.68348).epsilon(1e-8));  // 0.784557 × 150
  CHECK(panic.average(15) == Approx(0.036415).epsilon(1e-4));       // × 0.215443^5: still within the window
  CHECK(panic.average(16) == 0);
  WindowAverage stable(60s, Scaling::Aggregation::weighted_exponential);
  for (long second = 0; second < 60; ++second) stable.record(second, 10);
  CHECK(stable.average(59) == Approx(9.999985).epsilon(1e-6));  // 10 × (1 − 0.8^60)
  stable.record(60, 110);
  CHECK(stable.average(60) == Approx(29.999988).epsilon(1e-6));  // 22 + 0.8 × 9.999985
}

TEST_CASE("a steady load wants load over target, rounded up") {
  struct Case {
    double load;
    int container_concurrency;
    int desired;
  };
  const Case cases[] = {
      {1, 0, 1},     // 1 / 70
      {70, 0, 1},    // 70 / 70
      {71, 0, 2},    // 71 / 70 = 1.01
      {700, 0, 10},  // 700 / 70
      {7, 10, 1},    // 7 / 7
      {15, 10, 3},   // 15 / 7 = 2.14
  };
  for (const auto& each : cases) {
    CAPTURE(each.load, each.container_concurrency);
    Feed feed({}, each.container_concurrency);
    feed.seen.ready = each.desired;  // enough, so that it does not panic
    CHECK(feed.seconds_of(each.load, 60).desired == each.desired);
    CHECK_FALSE(feed.last.panicking);
  }
}

TEST_CASE(
    "a step in load panics at twice the capacity, grows at once and does not shrink until the stable window has "
    "passed") {
  Feed feed;
  feed.seen.ready = 1;
  CHECK(feed.seconds_of(70, 60).desired == 1);  // 70 / 70 = 1; 1/1 < 2
  // Two seconds at 700: panic window (4 × 70 + 2 × 700) / 6 = 280 → ceil(280 / 70) = 4; 4/1 ≥ 2: panic.
  // Stable (58 × 70 + 2 × 700) / 60 = 91 → 2. Wanted: the larger, 4.
  CHECK(feed.seconds_of(700, 2).desired == 4);
  CHECK(feed.last.panicking);
  CHECK(feed.last.panic_average == Approx(280));
  CHECK(feed.last.stable_average == Approx(91));
  feed.seen.ready = 4;
  // Two more: (2 × 70 + 4 × 700) / 6 = 490 → 7; 7/4 = 1.75 < 2: no extension, but still in panic, so 7.
  CHECK(feed.seconds_of(700, 2).desired == 7);
  feed.seen.ready = 7;
  // Load gone. Panic began (last extended) at second 62; it ends after second 122, at the decision of second 124.
  CHECK(feed.seconds_of(0, 58).desired == 7);  // second 122: 62 + 60 < 122 is false
  CHECK(feed.last.panicking);
  feed.scaler.became_active(start);
  // Second 124: stable window 65..124 holds nothing of the 700s; 0 wanted, but not below floor(7 / 2) = 3.
  CHECK(feed.seconds_of(0, 2).desired == 3);
  CHECK_FALSE(feed.last.panicking);
  feed.seen.ready = 3;
  CHECK(feed.seconds_of(0, 2).desired == 1);  // floor(3 / 2) = 1
  feed.seen.ready = 1;
  CHECK(feed.seconds_of(0, 2).desired == 0);  // floor(1 / 2) = 0
}

TEST_CASE("growth is limited by max-scale-up-rate, shrinking by max-scale-down-rate") {
  Feed feed({.max_scale_up_rate = 2});
  feed.seen.ready = 3;
  CHECK(feed.seconds_of(7000, 2).desired == 6);  // 7000 / 70 = 100, at most ceil(2 × 3)
  Feed down({.max_scale_down_rate = 1.5});
  down.seen.ready = 10;
  CHECK(down.seconds_of(1, 60).desired == 6);  // 1 wanted, at least floor(10 / 1.5)
  down.seen.reachable = false;
  CHECK(down.seconds_of(1, 2).desired == 1);  // unreachable: no floor
}

TEST_CASE("bounds: min-scale, max-scale, initial-scale, activation-scale") {
  Feed feed({.min_scale = 2, .max_scale = 3});
  CHECK(feed.seconds_of(0, 2).desired == 2);
  feed.seen.ready = 2;
  CHECK(feed.seconds_of(70'000, 2).desired == 3);
  Feed unreachable({.min_scale = 2});
  unreachable.seen.reachable = false;
  CHECK(unreachable.seconds_of(0, 2).desired == 0);
  Feed fresh({.initial_scale = 3});
  fresh.seen = {.ready = 0, .initial_pending = true};
  CHECK(fresh.seconds_of(0, 2).desired == 3);
  Feed capped({.max_scale = 2, .initial_scale = 3});
  capped.seen = {.ready = 0, .initial_pending = true};
  CHECK(capped.seconds_of(0, 2).desired == 2);
  Feed activated({.activation_scale = 4});
  CHECK(activated.seconds_of(1, 2).desired == 4);
  Feed idle({.activation_scale = 4});
  CHECK(idle.seconds_of(0, 2).desired == 0);
}

TEST_CASE("scale-down-delay keeps the highest of the delay") {
  Feed feed({.stable_window = 6s, .scale_down_delay = 20s});
  feed.seen.ready = 3;
  CHECK(feed.seconds_of(210, 10).desired == 3);  // 210 / 70, until second 10
  feed.seen.ready = 3;
  CHECK(feed.seconds_of(70, 20).desired == 3);  // second 30: 3 was last wanted in second 12 or later
  CHECK(feed.seconds_of(70, 10).desired == 1);  // second 40: floor(3 / 2) = 1 and 70 / 70 = 1
}

TEST_CASE("an idle revision goes to zero after the stable window, not before it was active that long") {
  Feed feed;
  feed.scaler.became_active(start + 20s);
  CHECK(feed.seconds_of(0, 2).desired == 1);   // window empty, but active for −18 s only
  CHECK(feed.seconds_of(0, 76).desired == 1);  // second 78: active for 58 s
  CHECK(feed.seconds_of(0, 2).desired == 0);   // second 80: 60 s
}

TEST_CASE("one second of load keeps an instance until it leaves the window") {
  Feed feed;
  feed.scaler.became_active(start);
  CHECK(feed.seconds_of(0.1, 1).desired == 0);  // no decision yet at an odd second
  CHECK(feed.seconds_of(0, 59).desired == 1);   // second 60: 0.1 / 60 > 0
  CHECK(feed.seconds_of(0, 2).desired == 0);    // second 62: the window is 3..62
}

TEST_CASE("the grace counts while the proxy is in the path, which it always is") {
  Feed feed({.stable_window = 6s});
  feed.scaler.became_active(start);
  CHECK(feed.seconds_of(0, 28).desired == 1);  // in the path for 28 s; inactive since second 6: 22 s < 30 s
  CHECK(feed.seconds_of(0, 2).desired == 0);   // 30 s in the path
  feed.scaler.became_active(feed.now);
  CHECK(feed.seconds_of(0, 4).desired == 1);
  CHECK(feed.seconds_of(0, 2).desired == 0);  // active for the window of 6 s; the grace was used up long ago
}

TEST_CASE("retention keeps the last instance after it went inactive; an unreachable revision has none") {
  Feed feed({.scale_to_zero_retention = 40s});
  feed.scaler.became_active(start);
  CHECK(feed.seconds_of(0, 60).desired == 1);  // inactive from second 60
  CHECK(feed.seconds_of(0, 38).desired == 1);
  CHECK(feed.seconds_of(0, 2).desired == 0);  // second 100
  Feed unreachable({.scale_to_zero_retention = 40s});
  unreachable.scaler.became_active(start);
  unreachable.seen.reachable = false;
  CHECK(unreachable.seconds_of(0, 2).desired == 0);
}

TEST_CASE("with scale to zero off one instance stays") {
  Feed feed({.scale_to_zero = false});
  feed.scaler.became_active(start);
  CHECK(feed.seconds_of(0, 300).desired == 1);
}

TEST_CASE("a restart with several instances begins in panic and does not shrink for a stable window") {
  Feed feed;
  feed.seen.ready = 5;
  feed.scaler.became_active(start);
  feed.scaler.start_in_panic(start, 5);
  CHECK(feed.seconds_of(0, 60).desired == 5);
  CHECK(feed.seconds_of(0, 2).desired == 2);  // second 62: floor(5 / 2)
}

TEST_CASE("excess burst capacity is reported by Knative's formula") {
  Feed feed;
  feed.seen.ready = 4;
  CHECK(feed.seconds_of(10, 2).excess_burst_capacity == 179);  // floor(4 × 100 − 211 − 10)
  Feed always({.target_burst_capacity = -1});
  CHECK(always.seconds_of(10, 2).excess_burst_capacity == -1);
  Feed never({.target_burst_capacity = 0});
  CHECK(never.seconds_of(10, 2).excess_burst_capacity == 0);
}

TEST_CASE("a burst into nothing starts as many as have work, by the formula's numbers") {
  struct Case {
    int container_concurrency;
    int in_flight;
    Scaling scaling;
    int wanted;
  };
  const Case cases[] = {
      {0, 1, {}, 1},
      {0, 50, {}, 1},                           // 50 / 70 → 1
      {0, 5000, {}, 1},                         // formula 72, but one instance holds any number: the tick adds the rest
      {1, 1, {}, 1},                            // formula ceil(1 / 0.7) = 2, one request to do
      {1, 50, {}, 50},                          // formula 72, 50 to do
      {10, 50, {}, 5},                          // formula ceil(50 / 7) = 8, five hold them
      {10, 50, {.max_scale = 3}, 3},            //
      {1, 1, {.activation_scale = 3}, 3},       // leaving zero
      {0, 50, {.max_scale_up_rate = 1000}, 1},  //
      {1, 50, {.max_scale_up_rate = 10}, 10},   // ceil(10 × 1)
      {1, 0, {}, 0},
  };
  for (const auto& each : cases) {
    CAPTURE(each.container_concurrency, each.in_flight);
    const Autoscaler scaler(each.scaling, each.container_concurrency, start);
    CHECK(scaler.wanted_for_burst(start, {.ready = 0}, {.in_flight = double(each.in_flight)}) == each.wanted);
  }
}

TEST_CASE("a burst on top of a steady load counts as the second in progress") {
  Feed feed({}, 1);
  feed.seen.ready = 2;
  feed.seconds_of(1, 60);
  // Panic window with the second in progress: (5 × 1 + 50) / 6 = 9.166667 → ceil(9.166667 / 0.7) = 14; 14/2 ≥ 2: panic
  // counts.
  CHECK(feed.scaler.wanted_for_burst(feed.now, feed.seen, {.in_flight = 50}) == 14);
  // It is asked, not kept: the next decision knows only what was recorded. 1 / 0.7 → 2.
  CHECK(feed.seconds_of(1, 2).desired == 2);
}

TEST_CASE("ticks fall on whole seconds from the start") {
  const Autoscaler scaler({}, 0, start);
  CHECK(scaler.next_tick(start) == start + 1s);
  CHECK(scaler.next_tick(start + 999ms) == start + 1s);
  CHECK(scaler.next_tick(start + 1s) == start + 2s);
}
