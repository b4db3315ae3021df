// Event to delivery: the broker log on SQLite, triggers, and the delivery loop.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "wick/base/metrics.hpp"
#include "wick/eventing/filter.hpp"
#include "wick/http/handler.hpp"
#include "wick/os/clock.hpp"
#include "wick/store/database.hpp"

namespace wick::eventing {

/// Where an event goes: a Service of ours, or any URL.
struct Destination {
  std::string name_space;
  std::string service;  // empty when `url` is set
  std::string url;      // absolute; with `service` set: a path on it
};

/// What happens when a subscriber does not take an event (eventing.md 1.3; knative/eventing delivery_types.go).
struct Delivery {
  int retry = 10;  // attempts after the first
  enum class Backoff { linear, exponential } backoff = Backoff::exponential;
  milliseconds backoff_delay{200};
  std::optional<milliseconds> timeout;  // per attempt, from when the subscriber is there to take it
  std::optional<Destination> dead_letter;
  milliseconds backoff_max{300'000};            // no wait is longer, but for backoff_delay itself
  std::optional<milliseconds> retry_after_max;  // absent: a Retry-After is ignored, as in Knative
  enum class Format { binary, json } format = Format::binary;
};

/// Where a new trigger begins to look.
struct StartFrom {
  enum class Where { latest, earliest, position, time } where = Where::latest;
  std::uint64_t position = 0;  // the first one looked at
  WallTime time{};             // the first one received at or after it
};

struct TriggerSpec {
  std::string name_space;
  std::string name;
  std::string broker;
  std::map<std::string, std::string> filter;  // exact attribute match, all must hold; "" matches any present value
  Destination subscriber;
  std::optional<Delivery> delivery;  // absent: the broker's
  std::vector<Filter> filters;       // when there are any, `filter` is ignored
  enum class Ordering {
    none,
    key,    // events with the same `partitionkey` one after the other; one without it has no order
    strict  // all one after the other
  } ordering = Ordering::none;
  int in_flight_max = 0;        // 0: Limits::concurrent_deliveries_per_trigger
  StartFrom start_from;         // of a new trigger
  bool strict_replies = false;  // a 2xx answer with a body that is no event fails, as in Knative
};

struct BrokerSpec {
  std::string name_space;
  std::string name;
  Delivery delivery;
  std::optional<std::chrono::seconds> retention;  // settled events are kept so long; absent: Limits::retained_age
  std::optional<std::chrono::seconds>
      dedup_window;  // an event with a (source, id) seen in it is acknowledged, not stored
};

/// Reaches a destination; `app` gives one that knows `serving`. The request is complete but for routing.
using Deliver = std::function<awaitable<Result<http::Response>>(Destination, http::Request, milliseconds limit)>;

/// What `wick event tail` shows.
struct EventRecord {
  enum class Kind { accepted, delivered, failed, dead_lettered, dropped, no_match } kind = Kind::accepted;
  std::string name_space;
  std::string broker;
  std::string trigger;  // for deliveries
  std::string event_id, type, source;
  WallTime when{};
  int status = 0;  // of the attempt
  int attempt = 0;
  milliseconds elapsed{0};
  std::string detail;
};

class Eventing {
 public:
  struct Limits {
    std::size_t event_bytes_max = 1 << 20;  // 413
    int concurrent_deliveries_per_trigger = 32;
    std::uint64_t retained_events = 10'000;        // settled events kept, newest first …
    std::chrono::hours retained_age{24};           // … and for so long
    std::uint64_t backlog_events_max = 1'000'000;  // events behind the slowest trigger; past it the ingress answers 429
    milliseconds attempt_limit{300'000};           // where Delivery has no timeout
    std::size_t records_kept = 1000;               // a broker, for tail()
  };
  /// `database` was opened with `migrations()`; it, `clock` and `metrics` must outlive this. Call stop() before
  /// destroying.
  Eventing(Executor executor, Clock& clock, store::Database& database, Metrics& metrics, Deliver deliver,
           Limits limits);
  ~Eventing();
  static std::vector<std::string_view> migrations();

  void set_broker(BrokerSpec broker);
  /// The ingress answers 404 from now on; triggers still deliver what was accepted.
  void remove_broker(const std::string& name_space, const std::string& name);
  /// A new trigger starts with the events accepted after this call; one that was set before (also before a restart)
  /// goes on where it was. A change of `broker` makes it new.
  void set_trigger(TriggerSpec trigger);
  void remove_trigger(const std::string& name_space, const std::string& name);

  /// POST /NAMESPACE/BROKER: eventing.md 1.2, codes and order of checks; 202 only after the durable commit.
  http::Handler ingress();
  /// The last `count` records of a broker, then each new one until cancelled or `on_record` returns false.
  awaitable<void> tail(std::string name_space, std::string broker, std::size_t count,
                       std::function<bool(const EventRecord&)> on_record);
  /// Pending deliveries a trigger ("namespace/name"): under way, waiting for a retry, and accepted events it has not
  /// looked at (at most 10,000 of those are counted).
  std::map<std::string, std::size_t> pending() const;

  /// Starts no more deliveries, gives those under way `grace` to end, and writes down where each trigger is. What was
  /// cut is delivered again after the next start.
  awaitable<void> stop(milliseconds grace = milliseconds(2000));

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace wick::eventing
