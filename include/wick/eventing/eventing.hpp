// Event to delivery: the broker log on SQLite, triggers, and the delivery loop.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "wick/base/metrics.hpp"
#include "wick/eventing/access.hpp"
#include "wick/eventing/cloud_event.hpp"
#include "wick/eventing/filter.hpp"
#include "wick/http/handler.hpp"
#include "wick/os/clock.hpp"
#include "wick/store/database.hpp"

namespace wick::eventing {

/// Where an event goes: a Service of ours, or any URL.
struct Destination {
  std::string name_space;
  std::string service;      // empty when `url` is set
  std::string url;          // absolute; with `service` set: a path on it
  std::string sender = {};  // the subject that an addressable of ours is asked to let in
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
  int in_flight_max = 0;         // 0: Limits::concurrent_deliveries_per_trigger
  StartFrom start_from;          // of a new trigger
  bool lenient_replies = false;  // a 2xx answer with a body that is no event is a delivery; Knative fails it
  /// "namespace/name" of the broker or channel that gets the subscriber's answers, in the transaction that settles
  /// their delivery; "" for nobody. Absent: the trigger's own broker.
  std::optional<std::string> reply_to = std::nullopt;
};

/// A stream of events and the delivery of its triggers: a Broker, or (by the name channel_stream() gives) a Channel,
/// whose Subscriptions are triggers without a filter.
struct BrokerSpec {
  std::string name_space;
  std::string name;
  Delivery delivery;
  std::string host = {};  // at which the ingress takes events for it under "/"; empty: only /NAMESPACE/NAME
  // An event whose (source, id) was seen within this time is acknowledged, and not stored again.
  std::optional<std::chrono::seconds> dedup_window;
};

/// Of a channel and of a subscription among the brokers and triggers; no name of a Broker or Trigger has a slash.
std::string channel_stream(std::string_view channel);             // "channels/NAME"
std::string subscription_trigger(std::string_view subscription);  // "subscriptions/NAME"
/// The stream and the trigger by which a subscription's answers reach a destination that is no stream of ours.
std::string reply_stream(std::string_view subscription);  // "replies/NAME"

/// Of what a source sends to a destination that is no stream of ours: "sources/KIND/NAME".
std::string source_stream(std::string_view kind, std::string_view source);

/// An addressable that takes each event itself, in place of a stream: a JobSink. POST /NAMESPACE/jobsinks/NAME, or
/// POST /NAMESPACE/NAME at the host of its kind.
struct SinkSpec {
  std::string name_space;
  std::string name;  // as sink_name() gives it
  /// What is answered; waits for what it promises. Removed meanwhile, it is still called to its end.
  std::function<awaitable<http::Response>(CloudEvent event, http::Fields fields)> take;
};
enum class SinkKind { job, integration, mqtt };
std::string sink_name(SinkKind kind, std::string_view name);  // "jobsinks/NAME"
/// "job-sink.knative-eventing.svc.cluster.local".
std::string_view sink_host(SinkKind kind);

/// How far a source is, kept in the log with what it sent: after a crash it sends nothing twice.
struct SourceMark {
  std::string source;  // its uid
  WallTime at{};
};

/// Reaches a destination; `app` gives one that knows `serving`. The request is complete but for routing.
using Deliver = std::function<awaitable<Result<http::Response>>(Destination, http::Request, milliseconds limit)>;

/// What `wick event tail` shows.
struct EventRecord {
  enum class Kind {
    accepted,
    delivered,
    failed,
    dead_lettered,
    dropped,  // kept as a dead letter
    no_match,
    expired,
    delayed
  } kind = Kind::accepted;
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
    std::uint64_t retained_events = 1'000'000;      // settled events kept, newest first …
    std::chrono::hours retained_age{24};            // … and for so long
    std::uint64_t retained_bytes = 1ull << 30;      // … and while the log uses no more
    std::uint64_t backlog_events_max = 20'000'000;  // positions behind a broker's slowest trigger; past it 429
    std::uint64_t log_bytes_max = 16ull << 30;      // of the log's file; past it 429
    std::size_t waiting_bytes_max = 64 << 20;       // of events read or waiting for their commit; past it 429
    std::chrono::hours dead_letter_age{7 * 24};     // dead letters are kept so long …
    std::uint64_t dead_letters_max = 100'000;       // … and so many
    double backoff_jitter = 0.1;                    // at most this share is added to a wait
    milliseconds attempt_limit{300'000};            // where Delivery has no timeout
    std::size_t records_kept = 1000;                // a broker, for tail()
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
  /// True once every event that is accepted from then on will be offered to the trigger; false when that took longer
  /// than `limit` (the disk takes no writes), or when it was removed meanwhile.
  awaitable<bool> await_trigger(std::string name_space, std::string name, milliseconds limit);

  void set_sink(SinkSpec sink);
  void remove_sink(const std::string& name_space, const std::string& name);
  /// Answers GET below /namespaces/: where a job that a JobSink started is.
  void on_status_request(std::function<http::Response(const std::string& target)> answer);

  /// Who may send; off until this is called.
  void set_access(AccessSettings settings);
  /// Of a stream or sink, whether it is there already or not.
  void set_access_rules(const std::string& name_space, const std::string& name, AccessRules rules);
  void remove_access_rules(const std::string& name_space, const std::string& name);
  /// A token by which a sender outside the box is `subject` to the addressable of that audience. Errors: unsupported
  /// while authentication is off.
  Result<std::string> make_sender_token(std::string subject, std::string audience, std::chrono::seconds lifetime) const;

  /// POST /NAMESPACE/BROKER, POST /NAMESPACE/channels/CHANNEL, or POST / at a stream's own host: eventing.md 1.2, codes
  /// and order of checks; 202 only after the durable commit. Events come from `sender`.
  http::Handler ingress(Sender sender = {});
  /// True when a stream has this host of its own, or a kind of sinks.
  bool serves(std::string_view host) const;
  /// The same for a request that is all there: from a delivery whose destination is a stream of ours. nullopt when
  /// neither host nor path names one that is there.
  awaitable<std::optional<http::Response>> accept(http::Request request, Sender sender = {});
  /// One request to where events go, with no trigger, for an addressable that sends on. Errors: those of Deliver.
  awaitable<Result<http::Response>> send(Destination destination, http::Request request, milliseconds limit);
  /// The last `count` records of a broker, then each new one until cancelled or `on_record` returns false.
  awaitable<void> tail(std::string name_space, std::string broker, std::size_t count,
                       std::function<bool(const EventRecord&)> on_record);
  /// Stores an event in a stream ("namespace/name") as if it had come to the ingress, and the mark with it in the same
  /// transaction. Errors: not_found (no such stream); denied (`sender` may not); invalid; overloaded; what the disk
  /// says.
  awaitable<Result<void>> emit(std::string stream, CloudEvent event, std::optional<SourceMark> mark = {},
                               Sender sender = {.kind = Sender::Kind::operating});
  awaitable<Result<void>> set_mark(SourceMark mark);
  std::optional<WallTime> mark_of(const std::string& source) const;
  awaitable<Result<void>> forget_mark(std::string source);

  /// Called for every event that a stream takes from now on ("namespace/name"), replies too; an empty callback ends it.
  void on_accepted(std::function<void(const std::string& stream, const CloudEvent& event)> callback);

  /// Called once when the log takes no more writes (a failed sync: nobody knows what is on disk). Nothing is
  /// acknowledged from then on; what was is there when the log is opened again, so the process should end.
  void on_broken_disk(std::function<void()> callback);
  /// Events and pages of the log found damaged since the start; each was logged.
  std::uint64_t damaged() const;
  /// Pending deliveries a trigger ("namespace/name"): under way, waiting for a retry, and accepted events it has not
  /// looked at (at most 10,000 of those are counted).
  std::map<std::string, std::size_t> pending() const;

  /// What is known of the events with this id in a namespace: attributes, for each trigger whether it matched (or
  /// which filter said no), its attempts and what comes next, the event it replies to and its replies. As `wick why`
  /// and the API show it. Reads the whole log once, in slices. Errors: not_found.
  awaitable<Result<boost::json::object>> why(std::string name_space, std::string event_id);
  /// Stored events of a broker after a position, oldest first, at most `count` (1,000 at the most).
  awaitable<boost::json::array> list(std::string name_space, std::string broker, std::uint64_t after,
                                     std::size_t count);
  /// Newest first, with the last answer.
  boost::json::array dead_letters(const std::string& name_space, std::size_t count) const;
  /// Dead letters of a trigger, or one by its position, to be delivered once more with a fresh retry budget; how many.
  awaitable<Result<int>> redrive(std::string name_space, std::string trigger, std::optional<std::uint64_t> position);
  awaitable<Result<int>> purge(std::string name_space, std::string trigger, std::optional<std::uint64_t> position);
  /// Delivers the matching events from position `first` to `last` once more, marked with the extension `wickreplay`,
  /// beside what is new. Survives a restart. Errors: not_found; conflict (one is under way); invalid (no such events).
  awaitable<Result<void>> replay(std::string name_space, std::string trigger, std::uint64_t first, std::uint64_t last);

  /// Starts no more deliveries, gives those under way `grace` to end, and writes down where each trigger is. What was
  /// cut is delivered again after the next start.
  awaitable<void> stop(milliseconds grace = milliseconds(2000));

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace wick::eventing
