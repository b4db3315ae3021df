#include "control/jobs.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "control/event_access.hpp"
#include "control/job_sinks.hpp"
#include "control/pod_spec.hpp"
#include "control/subscribing.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/deadline.hpp"

namespace wick::control {

namespace {

constexpr std::string_view jobs_folder = "jobs/";
constexpr std::int64_t backoff_limit_default = 6;
constexpr auto pause_first = 10s;  // Kubernetes' own: doubled up to six minutes
constexpr auto pause_max = 360s;
constexpr auto fetch_pause = 5s;
constexpr auto job_stop_grace = 30s;

std::size_t limit_of(const json::object& job) {
  const auto given = parse_unsigned(model::text_at(job, {"metadata", "annotations", max_in_flight_annotation}));
  return given && *given >= 1 && *given <= 1000 ? static_cast<std::size_t>(*given) : Jobs::running_max_of_sink;
}

json::object status_before(const json::object& job) {
  const auto* status = model::find_value(job, {"status"});
  return status && status->is_object() ? status->get_object() : json::object();
}

json::object ended_with(std::string_view type, std::string reason, std::string message, WallTime now) {
  json::object condition{
      {"type", type}, {"status", "True"}, {"lastProbeTime", to_rfc3339(now)}, {"lastTransitionTime", to_rfc3339(now)}};
  if (!reason.empty()) condition["reason"] = std::move(reason);
  if (!message.empty()) condition["message"] = std::move(message);
  return condition;
}

Duration pause_after(std::int64_t failures) {
  return std::min<Duration>(pause_first * (1ll << std::min<std::int64_t>(failures - 1, 10)), pause_max);
}

std::string exit_text(const container::Exit& exit) {
  if (exit.not_started) return exit.not_started->what();
  if (exit.out_of_memory) return "out of memory";
  if (!exit.known) return "it ended while nobody saw it";
  auto text = "the container ended with " + exit.status.text();
  if (!exit.message.empty()) text += ": " + exit.message;
  return text;
}

}  // namespace

std::string job_sink_of(const json::object& job) {
  return model::text_at(job, {"metadata", "labels", job_sink_name_label});
}

JobEnd end_of(const json::object& job) {
  for (const auto& [type, end] : {std::pair{"Complete", JobEnd::complete}, {"Failed", JobEnd::failed}})
    if (model::find_condition(job, type).status == model::Truth::yes) return end;
  return JobEnd::none;
}

struct Jobs::Run {
  ObjectKey key;
  std::string uid;
  std::string queue;
  std::shared_ptr<container::Instance> instance;
  bool gone = false;  // its Job was deleted
};

Jobs::Jobs(World& world) : world_(world), tasks_(world.with.executor) {}
Jobs::~Jobs() = default;

std::string Jobs::owner_of(const ObjectKey& key) {
  return fmt::format("{}/{}{}", key.name_space, jobs_folder, key.name);
}

bool Jobs::adopt(const std::string& owner, std::shared_ptr<container::Instance> instance) {
  const auto slash = owner.find('/');
  const auto rest = std::string_view(owner).substr(slash + 1);
  if (!rest.starts_with(jobs_folder)) return false;
  const auto key = key_of(model::job_kind(), owner.substr(0, slash), std::string(rest.substr(jobs_folder.size())));
  const auto job = world_.objects().find(key);
  if (!job || end_of(*job) != JobEnd::none || runs_.contains(key)) return false;
  if (model::text_at(*job, {"status", "instance"}) != instance->id().text()) return false;
  begin(key, *job, std::move(instance));
  return true;
}

awaitable<Result<void>> Jobs::reconcile(ObjectKey key) {
  const auto job = world_.objects().find(key);
  const auto found = runs_.find(key);
  if (found != runs_.end() && (!job || found->second->uid != uid_of(*job))) end(found->second);
  if (!job) {
    pauses_.erase(key);
    wait_no_more(key);
    auto secret = event_secret_of(world_, key);
    if (secret) {
      auto removed = co_await world_.objects().remove(std::move(*secret));
      if (!removed && removed.error().code() != Errc::not_found) co_return removed;
    }
    start_waiting();
    co_return Result<void>();
  }
  if (end_of(*job) != JobEnd::none) {
    wait_no_more(key);
    co_return co_await settle(key, *job);
  }
  wait(key, *job);
  start_waiting();
  co_return Result<void>();
}

/// Its time to be deleted.
awaitable<Result<void>> Jobs::settle(ObjectKey key, const json::object& job) {
  const auto ttl = model::integer_at(job, {"spec", "ttlSecondsAfterFinished"}, -1);
  const auto ended = parse_rfc3339(model::text_at(job, {"status", "completionTime"}));
  if (ttl < 0 || !ended) co_return Result<void>();
  const auto left = *ended + std::chrono::seconds(ttl) - world_.now();
  if (left > Duration(0)) {
    world_.enqueue_after(std::move(key), left);
    co_return Result<void>();
  }
  auto removed = co_await world_.objects().request_removal(std::move(key));
  if (!removed && removed.error().code() != Errc::not_found) co_return fail(std::move(removed.error()));
  co_return Result<void>();
}

std::string Jobs::queue_of(const json::object& job) { return scoped(namespace_of(job), job_sink_of(job)); }

/// One that has a place keeps it; one that runs, or has to pause, comes again.
void Jobs::wait(const ObjectKey& key, const json::object& job) {
  const auto pause = pauses_.find(key);
  if (pause != pauses_.end() && pause->second > world_.with.clock.now()) return;
  if (runs_.contains(key) || places_.contains(key) || is_being_deleted(job)) return;
  auto queue = queue_of(job);
  waiting_[queue].emplace(version_of(job), key);
  places_.emplace(key, std::pair(std::move(queue), version_of(job)));
}

void Jobs::wait_no_more(const ObjectKey& key) {
  const auto place = places_.find(key);
  if (place == places_.end()) return;
  const auto& [queue, version] = place->second;
  const auto found = waiting_.find(queue);
  found->second.erase(version);
  if (found->second.empty()) waiting_.erase(found);
  places_.erase(place);
}

bool Jobs::has_room(const std::string& queue, const json::object& job) const {
  if (job_sink_of(job).empty()) return true;
  const auto same = std::ranges::count_if(runs_, [&](const auto& entry) { return entry.second->queue == queue; });
  return static_cast<std::size_t>(same) < limit_of(job);
}

/// Of those at the head of their queues the oldest first.
void Jobs::start_waiting() {
  if (stopping_ || !world_.with.launcher) return;
  while (runs_.size() < running_max) {
    const Queue::value_type* oldest = nullptr;
    ObjectValue next;
    for (const auto& [name, queue] : waiting_) {
      const auto& head = *queue.begin();
      if (oldest && oldest->first < head.first) continue;
      auto job = world_.objects().find(head.second);
      if (job && !has_room(name, *job)) continue;
      oldest = &head;
      next = std::move(job);
    }
    if (!oldest) return;
    const auto key = oldest->second;
    wait_no_more(key);
    if (next && end_of(*next) == JobEnd::none && !is_being_deleted(*next)) begin(key, *next, nullptr);
  }
}

void Jobs::begin(ObjectKey key, const json::object& job, std::shared_ptr<container::Instance> adopted) {
  auto started = std::make_shared<Run>();
  started->key = key;
  started->uid = uid_of(job);
  started->queue = queue_of(job);
  started->instance = std::move(adopted);
  pauses_.erase(key);
  wait_no_more(key);
  runs_[key] = started;
  tasks_.spawn("job " + key.name, run(started));
}

awaitable<void> Jobs::run(RunPointer run) {
  if (!run->instance) {
    auto launched = co_await launch(run);
    if (!launched) co_return co_await failed_to_start(run, std::move(launched.error()));
  }
  bool too_long = false;
  auto exit = co_await wait_end(run, too_long);
  co_await finish(run, std::move(exit), too_long);
}

/// What was started is in the status before it is waited for: after a crash it is known again.
awaitable<Result<void>> Jobs::launch(RunPointer run) {
  auto job = world_.objects().find(run->key);
  if (!job || uid_of(*job) != run->uid) co_return fail(Errc::cancelled, "the job went");
  const auto& pod = job->at("spec").as_object().at("template").as_object();
  // Its JobSink's, where one made it.
  auto range = id_range_of(pod);
  if (!range) {
    auto ranged = co_await with_id_range(world_, run->key, job);
    if (!ranged) co_return fail(std::move(ranged.error()));
    job = *ranged;
    range = id_range_of(*job);
  }
  auto instance = co_await instance_for(world_, run->key, job->at("spec").as_object().at("template").as_object(),
                                        range.value_or(1));
  if (!instance) co_return fail(std::move(instance.error()));
  instance->id = container::InstanceId::random();
  auto status = status_before(*job);
  if (!status.contains("startTime")) status["startTime"] = to_rfc3339(world_.now());
  status["active"] = 1;
  status["instance"] = instance->id.text();
  co_await write(run->key, run->uid, std::move(status));
  auto launched = co_await world_.with.launcher->launch(std::move(*instance), owner_of(run->key));
  if (!launched) co_return fail(std::move(launched.error()));
  run->instance = std::move(*launched);
  if (run->gone) co_await run->instance->stop(job_stop_grace);
  co_return Result<void>();
}

awaitable<container::Exit> Jobs::wait_end(RunPointer run, bool& too_long) {
  const auto job = world_.objects().find(run->key);
  const auto limit = job ? model::integer_at(*job, {"spec", "activeDeadlineSeconds"}) : 0;
  const auto began = parse_rfc3339(job ? model::text_at(*job, {"status", "startTime"}) : std::string());
  auto instance = run->instance;
  if (limit <= 0 || !began) co_return co_await instance->wait_exit();
  const auto left = std::max<Duration>(*began + std::chrono::seconds(limit) - world_.now(), 1ms);
  try {
    auto waiting = instance->wait_exit();
    auto exit = co_await with_deadline(world_.with.clock, std::chrono::ceil<milliseconds>(left), std::move(waiting));
    co_return exit;
  } catch (const DeadlineExceeded&) {
    too_long = true;
  }
  co_await instance->stop(job_stop_grace);
  co_return co_await instance->wait_exit();
}

awaitable<void> Jobs::finish(RunPointer run, container::Exit exit, bool too_long) {
  const auto job = world_.objects().find(run->key);
  if (job && uid_of(*job) == run->uid) {
    auto status = status_before(*job);
    const auto now = world_.now();
    const auto failed = model::integer_at(status, {"failed"}) + 1;
    const auto limit = model::integer_at(*job, {"spec", "backoffLimit"}, backoff_limit_default);
    const bool well = exit.known && exit.status.ok() && !exit.not_started && exit.companion.empty() && !too_long;
    status["active"] = 0;
    status.erase("instance");
    if (well) {
      status["succeeded"] = 1;
      status["conditions"] = json::array{ended_with("Complete", "", "", now)};
    } else {
      status["failed"] = failed;
      if (too_long)
        status["conditions"] =
            json::array{ended_with("Failed", "DeadlineExceeded", "Job was active longer than specified deadline", now)};
      else if (failed > limit)
        status["conditions"] = json::array{
            ended_with("Failed", "BackoffLimitExceeded",
                       "Job has reached the specified backoff limit: " + printable(exit_text(exit), 1000), now)};
      else
        pauses_[run->key] = world_.with.clock.now() + pause_after(failed);
    }
    if (status.contains("conditions")) status["completionTime"] = to_rfc3339(now);
    log::info("job ended", {{"job", run->key.name_space + "/" + run->key.name}, {"how", exit_text(exit)}});
    co_await write(run->key, run->uid, std::move(status));
  }
  co_await forget(run);
}

/// The image may still come, and the Secret: it is tried again, and that counts as no failure. What cannot be run at
/// all has failed.
awaitable<void> Jobs::failed_to_start(RunPointer run, Error error) {
  if (error.code() == Errc::cancelled) co_return co_await forget(run);
  const bool waits = is_fetch_failure(error) || error.code() == Errc::not_found || error.code() == Errc::unavailable ||
                     error.code() == Errc::overloaded || error.code() == Errc::conflict;
  log::warn("job not started", {{"job", run->key.name_space + "/" + run->key.name}, {"error", error.what()}});
  if (!waits) {
    container::Exit never{.id = {}, .status = {.code = 255}, .known = true};
    never.not_started = std::move(error);
    co_return co_await finish(run, std::move(never), false);
  }
  pauses_[run->key] = world_.with.clock.now() + fetch_pause;
  co_await forget(run);
}

/// Tries until it is on disk: what is not written down would be run again after a restart.
awaitable<void> Jobs::write(ObjectKey key, std::string uid, json::object status) {
  while (true) {
    const auto job = world_.objects().find(key);
    if (!job || uid_of(*job) != uid) co_return;
    auto written = co_await world_.objects().update_status(key, status);
    if (written || written.error().code() == Errc::not_found) co_return;
    log::warn("state of a job not saved, trying again", {{"job", key.name}, {"error", written.error().what()}});
    co_await world_.with.clock.sleep(1s);
  }
}

/// Its place is free: the next one has it. The last thing that a run does.
awaitable<void> Jobs::forget(RunPointer run) {
  const auto key = run->key;
  if (const auto found = runs_.find(key); found != runs_.end() && found->second == run) runs_.erase(found);
  // It may wait again, also as another Job of this name.
  if (const auto pause = pauses_.find(key); pause != pauses_.end())
    world_.enqueue_after(key, std::max<Duration>(pause->second - world_.with.clock.now(), 1ms));
  else
    world_.enqueue(key);
  start_waiting();
  co_await drop_oldest_jobs(world_, run->queue);
}

namespace {

awaitable<void> stop_job(std::shared_ptr<container::Instance> instance) {
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  co_await instance->stop(job_stop_grace);
}

}  // namespace

/// The Job was deleted, or is another one now: what waits for its end goes on then.
void Jobs::end(const RunPointer& run) {
  if (std::exchange(run->gone, true) || !run->instance) return;
  tasks_.spawn("end of job " + run->key.name, stop_job(run->instance));
}

awaitable<void> Jobs::stop(bool stop_instances) {
  stopping_ = true;
  co_await tasks_.stop();
  const auto runs = std::move(runs_);
  runs_.clear();
  if (!stop_instances) co_return;
  TaskGroup ending(world_.with.executor);
  for (const auto& [key, run] : runs)
    if (run->instance) ending.spawn("end of job " + key.name, stop_job(run->instance));
  co_await ending.join();
}

}  // namespace wick::control
