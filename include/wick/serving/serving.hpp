// Request to instance: the one object that owns revision pools, the activator's queues and the autoscaler's clock.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "wick/base/metrics.hpp"
#include "wick/container/launcher.hpp"
#include "wick/http/handler.hpp"
#include "wick/model/failure.hpp"
#include "wick/os/clock.hpp"
#include "wick/serving/box.hpp"
#include "wick/serving/instance_hold.hpp"
#include "wick/serving/route_table.hpp"

namespace wick::serving {

struct ServingOptions {
  std::size_t queue_limit =
      10'000;  // requests held a revision while no instance is ready (serving.md 3.6): 503 past it
  bool trust_forwarded = false;
  // A connection to an instance is kept so long for the next request. Shorter where several loops keep their own: a
  // program that serves one connection at a time waits for that of another loop.
  milliseconds idle_connection_limit{60'000};
  std::uint64_t sleep_bytes_max = 1ull << 30;  // what frozen instances and spares of all services may take together
  BoxLimits box;
  Fd access_log;  // one JSON line a request is appended here; empty: none
};

/// What a revision has answered since it is known here; from the difference of two looks a rollout judges it.
struct Answered {
  std::uint64_t requests = 0;
  std::uint64_t failed = 0;              // with 5xx, the proxy's own included
  std::vector<double> duration_bounds;   // seconds
  std::vector<std::uint64_t> durations;  // requests a bound, one more than bounds: the last is above all
};

struct InstanceView {
  container::InstanceId id;
  pid_t pid = 0;
  std::string state;  // starting, ready, stopping
  int in_flight = 0;
  WallTime since{};
  milliseconds start_elapsed{0};                     // launch to ready
  std::vector<container::ContainerView> containers;  // where it has several
};

struct RevisionView {
  RevisionKey key;
  int desired = 0;
  int ready = 0;
  int starting = 0;
  std::size_t queued = 0;
  std::vector<InstanceView> instances;
  std::optional<model::Failure> last_failure;
  bool ever_ready = false;
  int restarts = 0;  // instances that ended while they served, or stopped answering their liveness probe
};

/// How a request that waited for a start got its instance, in time since it arrived.
struct WakeSteps {
  enum class From : std::uint8_t {
    other,
    nothing,
    prepared,
    frozen
  } from = From::other;                    // other: one under way already
  std::chrono::microseconds queued{0};     // it asked for an instance, none was ready
  std::chrono::microseconds woken{0};      // the start of the instance that served it began
  std::chrono::microseconds started{0};    // the program was exec'd (thawed)
  std::chrono::microseconds listening{0};  // its port was seen open, and connected to
  std::chrono::microseconds leased{0};     // the request was given its slot
  bool operator==(const WakeSteps&) const = default;
};

/// One request's timeline, the last 100 a service kept (`wick why`).
struct RequestTrace {
  std::string request_id;
  WallTime when{};
  std::string method;
  std::string target;
  int status = 0;
  milliseconds total{0};
  std::chrono::microseconds queued{0};  // waiting for an instance
  std::chrono::microseconds exact{0};   // the same as `total`
  std::optional<WakeSteps> wake;
  bool cold = false;  // had to wait for a start
  std::string revision;
  std::string instance;
};

class Serving {
 public:
  Serving(Executor executor, Clock& clock, container::Launcher& launcher, Metrics& metrics, ServingOptions options);
  ~Serving();

  /// Adds or replaces. A changed spec of a known key only takes effect for new instances (revisions are immutable;
  /// settings of the box are not).
  void set_revision(RevisionSpec spec);
  /// Stops its instances when their requests are done.
  void remove_revision(const RevisionKey& key);
  /// All of them in one turn of the loop; hosts that are not named keep what they have.
  void change_routes(const std::vector<RouteChange>& changes);
  /// An instance that was running before we were: joins its revision's pool after a readiness probe. False when the
  /// revision is unknown.
  bool adopt(const RevisionKey& key, std::shared_ptr<container::Instance> instance);

  /// Wakes one instance and keeps it from being frozen or scaled away while the hold lives: for a command beside its
  /// program. An empty id is any instance, waited for and started as for a request. With a `container` the hold is of
  /// that one of several. Errors: not_found; not_ready for one that does not run yet, or no more; for any, what a
  /// request is refused with.
  awaitable<Result<InstanceHold>> hold(RevisionKey key, container::InstanceId id, std::string container = {});

  /// Starts one instance if none is ready and waits until one is: what a deploy waits for. The failure follows the
  /// failed-deploy contract (trust-and-ux.md 2.3): exited, exit 0, wrong port, out of memory, never ready.
  awaitable<std::expected<void, model::Failure>> ensure_ready(RevisionKey key);

  /// The public side: routes by Host. 404 for a host nobody serves, 503 queue full, 504 startup or request limit.
  http::Handler handler();
  /// The same for a server on another loop, with that loop's clock. The loop must run, and its server be stopped, when
  /// stop() is called. Before the loop runs.
  http::Handler handler_on(Executor loop, Clock& clock);
  /// For the broker and `wick invoke`: to a service by name, same queue and scaling as a request from outside.
  awaitable<Result<http::Response>> call(std::string name_space, std::string service, http::Request request,
                                         milliseconds limit);

  /// Whether a route has `host`.
  bool serves(std::string_view host) const;
  std::vector<RevisionView> revisions() const;
  std::optional<RevisionView> revision(const RevisionKey& key) const;
  std::optional<Answered> answered(const RevisionKey& key) const;
  std::vector<RequestTrace> traces(std::string_view name_space, std::string_view service) const;
  /// Called on the loop when a revision's ready count, desired count or last failure changed.
  void on_change(std::function<void(const RevisionKey&)> callback);

  // --- from one process to the next

  /// Requests that wait for an instance.
  std::size_t queued() const;
  /// The first half of stop(), for a process that another one takes over from: from here on nothing is started, scaled,
  /// frozen or sent a signal; what waits for an instance is refused. Requests in flight go on. The launcher is asked
  /// nothing more afterwards.
  awaitable<void> leave();
  /// Instances that requests are in flight with, and how many.
  std::map<container::InstanceId, int> in_flight() const;
  /// `requests` of an earlier process are in flight with an adopted instance: they count as if they were ours, until
  /// this says otherwise, or stop() or leave() begins.
  void count_elsewhere(const container::InstanceId& id, int requests);

  /// Lets requests in flight end, stops the scaling loops; instances go on running (they are adopted at the next start)
  /// unless `stop_instances`.
  awaitable<void> stop(bool stop_instances);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace wick::serving
