// What serving needs to know of a Revision to run it. `control` makes it from the model and the image.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>

#include "wick/base/time.hpp"
#include "wick/container/runner.hpp"
#include "wick/http/upstream.hpp"

namespace wick::serving {

struct RevisionKey {
  std::string name_space;
  std::string name;
  auto operator<=>(const RevisionKey&) const = default;
  std::string text() const { return name_space + "/" + name; }
};

/// Knative's autoscaling annotations with their defaults (serving.md 3.1, 1.5).
struct Scaling {
  enum class Metric { concurrency, rps } metric = Metric::concurrency;
  enum class Aggregation { linear, weighted_exponential } aggregation = Aggregation::linear;
  double target_default = 100;      // container-concurrency-target-default
  double rps_target_default = 200;  // requests-per-second-target-default
  double target = 0;                // autoscaling.knative.dev/target; 0: not given
  double utilization = 0.7;
  double target_burst_capacity = 211;
  int min_scale = 0;
  int max_scale = 0;  // 0: no limit
  int initial_scale = 1;
  int activation_scale = 1;
  milliseconds stable_window{60'000};
  double panic_window_percentage = 10;
  double panic_threshold_percentage = 200;
  double max_scale_up_rate = 1000;
  double max_scale_down_rate = 2;
  milliseconds scale_to_zero_grace{30'000};
  milliseconds scale_to_zero_retention{0};
  milliseconds scale_down_delay{0};
  bool scale_to_zero = true;
  /// wick.dev/keep-warm: when the last instance goes and when one is made ready ahead of a request.
  enum class KeepWarm { window, predicted } keep_warm = KeepWarm::window;
  bool operator==(const Scaling&) const = default;
};

struct Probe {
  enum class Kind { tcp, http, exec, grpc } kind = Kind::tcp;
  std::string path = "/";            // http; of grpc, the service asked about
  std::vector<std::string> command;  // exec
  std::uint16_t port = 0;            // 0: the revision's port
  milliseconds timeout{1000};
  int success_threshold = 1;
  milliseconds period{0};  // 0: as fast as is useful, for at most `startup_limit`
};

/// What stands between running and nothing (DESIGN.md 3.2); wick.dev/ annotations (model/ladder.hpp has the defaults of
/// the box). All off here.
struct Ladder {
  int spares = 0;                // prepared instances, beside those that run, once it was ready
  bool park = false;             // boot the spares' language runtime too, where it has a shim
  milliseconds spares_for{0};    // since the last start; 0: for good
  milliseconds freeze_after{0};  // without a request until the idle ones are frozen; 0: never
  milliseconds frozen_for{0};    // until a frozen one is stopped
  bool operator==(const Ladder&) const = default;
};

/// What an instance that is ready must go on answering, or it is stopped and another one takes its place.
struct Liveness {
  Probe::Kind kind = Probe::Kind::tcp;
  std::string path = "/";            // http; of grpc, the service asked about
  std::vector<std::string> command;  // exec
  milliseconds initial_delay{0};
  milliseconds timeout{1000};
  milliseconds period{10'000};
  int failure_threshold = 3;  // in a row
};

struct RevisionSpec {
  RevisionKey key;
  std::string service;
  std::string configuration;
  container::InstanceSpec instance;  // id is filled in per instance
  std::uint16_t port = 8080;
  http::UpstreamProtocol protocol = http::UpstreamProtocol::http1;  // h2c where the port is named so
  int container_concurrency = 0;                                    // 0: no limit
  milliseconds timeout{300'000};                                    // whole request
  milliseconds response_start_limit{0};  // until the first byte of the answer; 0: as `timeout`
  milliseconds idle_limit{0};            // between bytes of the answer; 0: none
  milliseconds startup_limit{600'000};   // progress-deadline: from launch to ready
  milliseconds stop_grace{30'000};       // SIGTERM to SIGKILL
  std::optional<Probe> startup;          // asked until it succeeds once, before `readiness` is
  Probe readiness;
  std::optional<Liveness> liveness;
  Scaling scaling;
  Ladder ladder;
  bool message_from_log = true;  // an end without a message is told with the last output
  bool was_ready = false;        // in an earlier life of ours: spares need not wait for its first start
  double weight = 100;           // of its share of a full box
};

}  // namespace wick::serving
