#include "trace.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <random>
#include <stdexcept>

namespace wick::simulator {

namespace {

using Random = std::mt19937_64;

constexpr double takes_max = 60;  // seconds; the log-normal's tail would be days
constexpr double rate_max = 0.5;  // a second; above it every policy keeps an instance all the time
constexpr double night_factor = 0.5;

double uniform(Random& random) { return std::uniform_real_distribution<>(1e-12, 1)(random); }
double exponential(Random& random, double rate) { return -std::log(uniform(random)) / rate; }

double takes(Random& random) { return std::min(takes_max, std::lognormal_distribution<>(-0.38, 2.36)(random)); }

/// Burr XII by its inverse: c 11.652, k 0.221, scale 107.083 MB.
double memory(Random& random) {
  return std::min(4096.0, 107.083 * std::pow(std::pow(1 - uniform(random), -1 / 0.221) - 1, 1 / 11.652));
}

/// Requests a second: 45 % of the applications at most one an hour, 81 % at most one a minute, log-uniform between.
double rate(Random& random) {
  constexpr double hour = 1.0 / 3600, minute = 1.0 / 60, month = hour / 720;
  const double u = uniform(random);
  const auto between = [](double low, double high, double part) { return low * std::pow(high / low, part); };
  if (u < 0.45) return between(month, hour, u / 0.45);
  if (u < 0.81) return between(hour, minute, (u - 0.45) / 0.36);
  return between(minute, rate_max, (u - 0.81) / 0.19);
}

struct Making {
  Random& random;
  double end;

  App app() { return {.memory_mb = memory(random)}; }
  void add(App& app, double at) { app.arrivals.push_back({at, takes(random)}); }

  App poisson(double rate) {
    auto made = app();
    for (double at = exponential(random, rate); at < end; at += exponential(random, rate)) add(made, at);
    return made;
  }
  /// Period with a tenth of a second of jitter.
  App timer(double period) {
    auto made = app();
    std::normal_distribution<> jitter(0, 0.1);
    for (double at = uniform(random) * period; at < end; at += period) add(made, std::max(0.0, at + jitter(random)));
    return made;
  }
  /// On for a twentieth of the time at twenty times the rate.
  App on_off(double rate) {
    auto made = app();
    const double on = 120;
    for (double at = exponential(random, 1 / (19 * on)); at < end; at += exponential(random, 1 / (19 * on))) {
      const double until = std::min(end, at + exponential(random, 1 / on));
      for (at += exponential(random, 20 * rate); at < until; at += exponential(random, 20 * rate)) add(made, at);
      at = std::max(at, until);
    }
    return made;
  }
  App diurnal(double rate) {
    auto made = app();
    for (double at = exponential(random, rate); at < end; at += exponential(random, rate)) {
      const double day = 0.5 - 0.5 * std::cos(2 * std::numbers::pi * at / 86400);
      if (uniform(random) < night_factor + (1 - night_factor) * day) add(made, at);
    }
    return made;
  }
  App azure() {
    constexpr std::array periods{60.0, 300.0, 900.0, 3600.0, 86400.0};
    const double mean = rate(random);
    const double kind = uniform(random);
    if (kind < 0.31) {  // timers, and queues that are looked at
      const auto nearest =
          std::ranges::min_element(periods, {}, [&](double period) { return std::abs(std::log(period * mean)); });
      return timer(*nearest);
    }
    if (kind < 0.51) return poisson(mean);
    return kind < 0.75 ? on_off(mean) : diurnal(mean);
  }
};

}  // namespace

std::vector<App> make_trace(std::string_view kind, int apps, double hours, std::uint64_t seed) {
  Random random(seed);
  Making making{random, hours * 3600};
  std::vector<App> trace;
  constexpr std::array periods{60.0, 300.0, 900.0, 3600.0};
  for (int i = 0; i < apps; ++i) {
    if (kind == "azure")
      trace.push_back(making.azure());
    else if (kind == "bursts")
      trace.push_back(making.on_off(1.0 / 30));
    else if (kind == "diurnal")
      trace.push_back(making.diurnal(1.0 / 120));
    else if (kind == "sparse")
      trace.push_back(making.poisson(1.0 / 1200));
    else if (kind == "timers")
      trace.push_back(making.timer(periods[static_cast<std::size_t>(i) % periods.size()]));
    else
      throw std::invalid_argument("no such trace: " + std::string(kind));
    std::ranges::sort(trace.back().arrivals, {}, &Arrival::at);
  }
  return trace;
}

}  // namespace wick::simulator
