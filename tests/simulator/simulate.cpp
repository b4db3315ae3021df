// Replays traces against the real autoscaler and pool under a clock that jumps: what does a policy cost, and what does
// it save? Each service runs alone, on a clock of its own; nothing here is random but the trace.
//
//   simulate [TRACE...] [--apps N] [--hours H] [--seed S] [--start-ms MS]
//
// Prints, per trace and policy: the share of requests that waited for a start, p50 and p99 of the wait, the time that
// instances existed, and that times their memory.
#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "support/fake_clock.hpp"
#include "support/fake_launcher.hpp"
#include "trace.hpp"
#include "wick/base/log.hpp"
#include "wick/serving/revision_pool.hpp"

namespace wick::simulator {

namespace {

using serving::Scaling;

struct Policy {
  std::string name;
  Scaling scaling;
};

/// Knative's: the window of 60 s, of which some is used up by the last request's own seconds.
Policy window(std::string name, milliseconds retention) {
  Policy policy{.name = std::move(name)};
  policy.scaling.scale_to_zero_retention = retention;
  return policy;
}

std::vector<Policy> policies() {
  Policy predicted{.name = "predicted"};
  predicted.scaling.keep_warm = Scaling::KeepWarm::predicted;
  return {window("knative 60 s", 0ms), window("fixed 10 min", 540s), predicted};
}

struct Tally {
  std::vector<double> waits;  // seconds
  std::size_t cold = 0;
  double instance_seconds = 0;
  double memory_seconds = 0;  // GB s

  void add(const Tally& other) {
    waits.insert(waits.end(), other.waits.begin(), other.waits.end());
    cold += other.cold;
    instance_seconds += other.instance_seconds;
    memory_seconds += other.memory_seconds;
  }
  double wait(double part) {
    if (waits.empty()) return 0;
    const auto at = waits.begin() + static_cast<std::ptrdiff_t>(part * static_cast<double>(waits.size() - 1));
    std::nth_element(waits.begin(), at, waits.end());
    return *at;
  }
};

/// One service from its first second to its last.
class Run {
 public:
  Run(const Policy& policy, milliseconds start_time) : launcher_(loop_.get_executor(), clock_) {
    launcher_.behaviour.launch_delay = start_time;
    serving::RevisionSpec spec{.key = {"default", "app-00001"}, .service = "app", .scaling = policy.scaling};
    pool_ = std::make_unique<serving::RevisionPool>(loop_.get_executor(), clock_, launcher_, metrics_, std::move(spec),
                                                    serving::PoolOptions{}, [] {});
  }

  Tally replay(const App& app, double end) {
    const auto origin = clock_.now();
    const auto at = [&](double second) {
      return origin + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(second));
    };
    for (const auto& arrival : app.arrivals) {
      if (const auto when = at(arrival.at); when > clock_.now()) clock_.advance(when - clock_.now());
      requests_.spawn("request", request(arrival.takes));
    }
    if (at(end) > clock_.now()) clock_.advance(at(end) - clock_.now());
    for (const auto& instance : launcher_.instances)
      tally_.instance_seconds +=
          std::chrono::duration<double>(instance->ended_at.value_or(clock_.now()) - instance->launched()).count();
    tally_.memory_seconds = tally_.instance_seconds * app.memory_mb / 1024;
    finish();
    return std::move(tally_);
  }

 private:
  awaitable<void> request(double takes) {
    const auto now = clock_.now();
    auto lease = co_await pool_->acquire(now, now + 300s);
    const auto waited = clock_.now() - now;
    tally_.waits.push_back(std::chrono::duration<double>(waited).count());
    if (waited > 1ms) ++tally_.cold;
    co_await clock_.sleep(std::chrono::duration_cast<Duration>(std::chrono::duration<double>(takes)));
  }

  void finish() {
    bool done = false;
    auto stop = [](Run& run, bool& done) -> awaitable<void> {
      co_await run.requests_.stop();
      co_await run.pool_->drain();
      done = true;
    };
    asio::co_spawn(loop_, stop(*this, done), [](std::exception_ptr) {});
    while (!done) clock_.advance(100ms);
  }

  asio::io_context loop_{1};
  FakeClock clock_{loop_};
  FakeLauncher launcher_;
  Metrics metrics_;
  std::unique_ptr<serving::RevisionPool> pool_;
  Tally tally_;
  TaskGroup requests_{loop_.get_executor()};
};

struct Options {
  std::vector<std::string> traces;
  int apps = 60;
  double hours = 24;
  std::uint64_t seed = 1;
  milliseconds start_time{500};
};

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const auto number = [&] { return i + 1 < argc ? std::strtod(argv[++i], nullptr) : 0; };
    if (word == "--apps")
      options.apps = static_cast<int>(number());
    else if (word == "--hours")
      options.hours = number();
    else if (word == "--seed")
      options.seed = static_cast<std::uint64_t>(number());
    else if (word == "--start-ms")
      options.start_time = milliseconds(static_cast<long>(number()));
    else
      options.traces.push_back(word);
  }
  if (options.traces.empty()) options.traces = {"azure", "timers", "sparse", "bursts", "diurnal"};
  return options;
}

}  // namespace

int simulate(int argc, char** argv) {
  log::set_level(log::Level::error);
  const auto options = parse(argc, argv);
  fmt::print("{:<9} {:<13} {:>9} {:>8} {:>8} {:>9} {:>14} {:>12}\n", "trace", "policy", "requests", "cold", "cold %",
             "p99 wait", "instance-s", "GB-s");
  for (const auto& kind : options.traces) {
    const auto trace = make_trace(kind, options.apps, options.hours, options.seed);
    for (const auto& policy : policies()) {
      Tally total;
      for (const auto& app : trace) total.add(Run(policy, options.start_time).replay(app, options.hours * 3600));
      const auto requests = total.waits.size();
      fmt::print("{:<9} {:<13} {:>9} {:>8} {:>7.2f}% {:>7.0f}ms {:>14.0f} {:>12.0f}\n", kind, policy.name, requests,
                 total.cold, requests ? 100.0 * static_cast<double>(total.cold) / static_cast<double>(requests) : 0,
                 total.wait(0.99) * 1000, total.instance_seconds, total.memory_seconds);
      std::fflush(stdout);
    }
  }
  return 0;
}

}  // namespace wick::simulator

int main(int argc, char** argv) { return wick::simulator::simulate(argc, argv); }
