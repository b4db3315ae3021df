// Arrivals to replay: what a service is asked and when, made from a seed.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace wick::simulator {

struct Arrival {
  double at;     // seconds from the start
  double takes;  // seconds
};

struct App {
  std::vector<Arrival> arrivals;
  double memory_mb = 0;
};

/// bursts, diurnal, sparse, timers, or azure: the mix of the published distributions (Shahrad et al., "Serverless in
/// the Wild", USENIX ATC 2020) with the parameters of reference/performance.md 7.
std::vector<App> make_trace(std::string_view kind, int apps, double hours, std::uint64_t seed);

}  // namespace wick::simulator
