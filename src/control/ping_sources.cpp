// PingSource (sources.knative.dev/v1): an event on a schedule (pkg/adapter/mtping).
//
// The time of the last tick is kept with its event, so a tick is sent once, crash or not. A tick that comes more than
// `late_max` after its time was missed: wick did not run, or the clock was set. Knative says nothing of those; here the
// status (and with it an Event) tells of them, and wick.dev/missed-ticks says what follows: `skip`, the default, or
// `one` event for all of them.
#include <fmt/format.h>

#include "control/event_access.hpp"
#include "control/reconcilers.hpp"
#include "control/sources.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/model/cron.hpp"

namespace wick::control {

namespace {

constexpr std::string_view ping_type = "dev.knative.sources.ping";
constexpr auto late_max = 30s;
constexpr auto nap_max = 30s;  // a clock that is set is noticed after this
constexpr auto emit_retry = 1s;
constexpr int missed_counted = 1000;  // more are "more than 1000"

std::string ping_ce_source(const ObjectKey& key) {
  return fmt::format("/apis/v1/namespaces/{}/pingsources/{}", key.name_space, key.name);
}

/// The event of each tick but for its id and time. Data is sent byte for byte as it was given.
eventing::CloudEvent ping_event(const json::object& source, const ObjectKey& key) {
  auto event = source_event(source, std::string(ping_type), ping_ce_source(key), {});
  const auto type = model::text_at(source, {"spec", "contentType"});
  if (!type.empty()) event.attributes["datacontenttype"] = type;
  const auto data = model::text_at(source, {"spec", "data"}), encoded = model::text_at(source, {"spec", "dataBase64"});
  if (!encoded.empty()) event.data = base64_decode(encoded).value_or(std::string());
  if (!data.empty()) event.data = data;
  return event;
}

}  // namespace

struct PingSources::Running {
  Running(Executor executor) : task(executor) {}
  ObjectKey key;
  std::string uid;
  std::int64_t generation = 0;
  std::string stream;
  model::CronSchedule schedule;
  model::TimeZone zone;
  eventing::CloudEvent event;
  bool one_for_missed = false;
  std::string missed;  // told in the status
  TaskGroup task;
};

PingSources::PingSources(World& world) : world_(world) {}
PingSources::~PingSources() = default;

awaitable<void> PingSources::end(ObjectKey key) {
  const auto found = running_.find(key);
  if (found == running_.end()) co_return;
  const auto running = found->second;
  running_.erase(found);
  co_await running->task.stop();
}

awaitable<void> PingSources::stop() {
  while (!running_.empty()) co_await end(running_.begin()->first);
}

awaitable<Result<void>> PingSources::reconcile(ObjectKey key) {
  const auto object = world_.objects().find(key);
  const auto before = running_.find(key);
  if (before != running_.end() && (!object || before->second->uid != uid_of(*object))) {
    const auto uid = before->second->uid;
    co_await end(key);
    auto forgotten = co_await world_.with.eventing.forget_mark(uid);
    if (!forgotten) log::warn("mark of a source not removed", {{"source", key.name}});
  }
  if (!object) {
    disconnect_sink(world_, model::ping_source_kind(), key);
    co_return Result<void>();
  }
  model::Conditions conditions("Ready", {"SinkProvided", "Deployed", "OIDCIdentityCreated"}, *object, world_.now());
  json::object status{
      {"observedGeneration", generation_of(*object)},
      {"ceAttributes", json::array{json::object{{"type", ping_type}, {"source", ping_ce_source(key)}}}}};
  judge_identity(world_, model::ping_source_kind(), key, conditions, status);
  const auto sink = co_await connect_sink(world_, model::ping_source_kind(), key, *object, conditions, status);
  auto ready = co_await run_as_told(key, *object, sink, conditions);
  if (!ready) co_return ready;
  const auto told = model::find_condition(*object, "TicksMissed");
  const auto found = running_.find(key);
  if (found != running_.end() && !found->second->missed.empty())
    conditions.mark_info("TicksMissed", model::Truth::yes, "TicksMissed", found->second->missed);
  else if (told.status == model::Truth::yes)
    conditions.mark_info("TicksMissed", told.status, told.reason, told.message);
  status["conditions"] = conditions.to_json();
  auto written = co_await write_status(world_, std::move(key), std::move(status));
  co_return written;
}

/// Starts, restarts or leaves alone what ticks; condition Deployed.
awaitable<Result<void>> PingSources::run_as_told(ObjectKey key, const json::object& source, const SourceSink& sink,
                                                 model::Conditions& conditions) {
  const auto found = running_.find(key);
  if (sink.stream.empty()) {
    co_await end(key);
    conditions.mark_unknown("Deployed", "SinkNotResolved", "nothing is sent before the sink is there");
    co_return Result<void>();
  }
  const auto policy = model::text_at(source, {"metadata", "annotations", "wick.dev/missed-ticks"});
  auto schedule = model::CronSchedule::parse(model::text_at(source, {"spec", "schedule"}));
  auto zone = model::TimeZone::find(model::text_at(source, {"spec", "timezone"}));
  std::string problem;
  if (!schedule) problem = schedule.error().what();
  if (!zone) problem = zone.error().what();
  if (!policy.empty() && policy != "skip" && policy != "one")
    problem = fmt::format("wick.dev/missed-ticks must be skip or one, not '{}'", printable(policy));
  if (!problem.empty()) {
    co_await end(key);
    conditions.mark_false("Deployed", "Invalid", problem);
    co_return Result<void>();
  }
  conditions.mark_true("Deployed");
  const bool same = found != running_.end() && found->second->generation == generation_of(source) &&
                    found->second->stream == sink.stream && found->second->one_for_missed == (policy == "one");
  if (same) co_return Result<void>();
  co_await end(key);
  auto running = std::make_shared<Running>(world_.with.executor);
  running->key = key;
  running->uid = uid_of(source);
  running->generation = generation_of(source);
  running->stream = sink.stream;
  running->schedule = *schedule;
  running->zone = std::move(*zone);
  running->event = ping_event(source, key);
  running->one_for_missed = policy == "one";
  // A schedule that was changed has missed nothing; one that was there at the last stop may have.
  const bool is_new_here = known_.insert(running->uid).second;
  const auto mark = is_new_here ? world_.with.eventing.mark_of(running->uid) : std::nullopt;
  if (!mark) {
    auto marked = co_await world_.with.eventing.set_mark({running->uid, world_.now()});
    if (!marked) co_return fail(std::move(marked.error()));
  }
  running_[key] = running;
  running->task.spawn("ping source " + key.name, run(running, mark.value_or(world_.now())));
  co_return Result<void>();
}

/// `last`: every tick up to it was sent, or given up.
awaitable<void> PingSources::run(std::shared_ptr<Running> running, WallTime last) {
  while (true) {
    auto next = running->schedule.next(last, running->zone);
    if (!next) {
      log::warn("a ping source has no tick within five years", {{"source", running->key.name}});
      co_return;
    }
    while (world_.now() < *next) {
      const auto left = std::chrono::ceil<milliseconds>(*next - world_.now());
      co_await world_.with.clock.sleep(std::min<milliseconds>(left, nap_max));
    }
    if (world_.now() - *next > late_max) {
      last = co_await give_up(running, *next);
      continue;
    }
    const bool sent = co_await send(running, *next);
    if (sent)
      last = *next;
    else
      co_await world_.with.clock.sleep(emit_retry);
  }
}

awaitable<bool> PingSources::send(std::shared_ptr<Running> running, WallTime tick) {
  auto event = running->event;
  event.attributes["id"] = random_uuid();
  event.attributes["time"] = to_rfc3339_nano(world_.now());
  auto sender = source_sender(model::ping_source_kind(), running->key);
  auto sent = co_await world_.with.eventing.emit(running->stream, std::move(event),
                                                 eventing::SourceMark{running->uid, tick}, std::move(sender));
  if (!sent) log::warn("tick not sent", {{"source", running->key.name}, {"error", sent.error().what()}});
  co_return sent.has_value();
}

/// All ticks from `first` that are too late; the last of them.
awaitable<WallTime> PingSources::give_up(std::shared_ptr<Running> running, WallTime first) {
  int count = 1;
  WallTime last = first;
  const WallTime now = world_.now();
  for (auto next = running->schedule.next(last, running->zone); next && now - *next > late_max;
       next = running->schedule.next(last, running->zone)) {
    last = *next;
    // So many that counting takes long: the rest is not looked at one by one.
    if (++count <= missed_counted) continue;
    last = now - late_max;
    break;
  }
  if (running->one_for_missed) {
    while (true) {
      const bool sent = co_await send(running, last);
      if (sent) break;
      co_await world_.with.clock.sleep(emit_retry);
    }
  } else {
    auto marked = co_await world_.with.eventing.set_mark({running->uid, last});
    if (!marked) log::warn("mark of a source not saved", {{"error", marked.error().what()}});
  }
  running->missed =
      fmt::format("{} {} from {} to {}: {}",
                  count > missed_counted ? fmt::format("more than {}", missed_counted) : std::to_string(count),
                  count == 1 ? "tick was missed" : "ticks were missed", to_rfc3339(first), to_rfc3339(last),
                  running->one_for_missed ? "one event was sent for all (wick.dev/missed-ticks: one)"
                                          : "skipped (wick.dev/missed-ticks: skip)");
  log::warn("ticks missed", {{"source", running->key.name}, {"what", running->missed}});
  world_.enqueue(running->key);
  co_return last;
}

}  // namespace wick::control
