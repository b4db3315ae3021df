// A Revision is started once to see that it can run; the verdict is its status for good (a Revision is immutable: what
// failed is mended by the next one). Afterwards serving scales it and the status follows.
//
//   stored ──learn──► known to serving ──ensure_ready──► Ready            (stays Ready, with instances or without)
//      │                                      └────────► Failed           (ContainerHealthy False, forgotten by
//      serving) ├──no image──► ContainerMissing, tried again with backoff
//               └──initial-scale 0──► Ready; its first request is what starts it
#include <fmt/format.h>

#include <algorithm>

#include "control/pod_spec.hpp"
#include "control/reconcilers.hpp"
#include "control/values.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/model/revision.hpp"

namespace wick::control {

namespace {

using model::Truth;

// How long a revision that could not be started for a passing reason is tried again before that is its verdict.
constexpr milliseconds start_wait_max = std::chrono::minutes(2);

// Waiting helps: the runner restarts, a queue drains. But not for longer than a start may take.
bool is_passing(std::string_view slug_text) {
  return slug_text == slug(Errc::unavailable) || slug_text == slug(Errc::overloaded);
}

bool may_wait(const json::object& revision, milliseconds limit, WallTime now) {
  const auto created = parse_rfc3339(model::text_at(revision, {"metadata", "creationTimestamp"}));
  return created && now - *created < limit;
}

/// With initial-scale 0 a revision is ready as soon as its image is there; its first request starts it.
bool starts_with_none(const serving::Scaling& scaling) { return scaling.initial_scale == 0 && scaling.min_scale == 0; }

std::string joined(const std::vector<std::string>& lines) { return fmt::format("{}", fmt::join(lines, "\n")); }

/// Kubernetes' termination message: the program's own, or where it has none and its policy says so the last output.
std::string termination_message(const model::Failure& failure, bool from_log) {
  return failure.message.empty() && from_log ? joined(failure.last_output) : failure.message;
}

/// Reason and message as Knative's users know them.
std::pair<std::string, std::string> told(const model::Failure& failure, bool message_from_log) {
  if (failure.slug == "E_EXITED" && !failure.container.empty()) {
    const auto message = termination_message(failure, message_from_log);
    return {failure.exit_code ? fmt::format("ExitCode{}", *failure.exit_code) : "Exited",
            failure.because + (message.empty() ? "" : ": " + message)};
  }
  if (failure.slug == "E_EXITED") {
    const auto message = termination_message(failure, message_from_log);
    if (failure.exit_code == 0 && message.empty()) return {"ExitCode0", "container exited with no error"};
    return {failure.exit_code ? fmt::format("ExitCode{}", *failure.exit_code) : "Exited",
            "Container failed with: " + (message.empty() ? failure.because : message)};
  }
  if (failure.slug == "E_OUT_OF_MEMORY")
    return {"OOMKilled", failure.message.empty() ? failure.because : failure.because + ": " + failure.message};
  if (failure.slug == "E_NOT_READY")
    return {"ProgressDeadlineExceeded", "Initial scale was never achieved: " + failure.because};
  if (failure.slug == "E_NOT_FOUND") return {"ContainerMissing", failure.because};
  return {reason_of(failure.slug), failure.because};
}

model::Failure failure_of(const Error& error, std::string step, Duration elapsed, WallTime now) {
  return {.step = std::move(step),
          .slug = slug(error.code()),
          .because = error.what(),
          .last_output = {},
          .hint = error.hint(),
          .elapsed = std::chrono::duration_cast<milliseconds>(elapsed),
          .when = now};
}

/// One that was told before, and no more than tried again since, keeps the time it began: repeating it writes nothing.
model::Failure since_before(model::Failure failure, const json::object& revision) {
  const auto* told = model::find_value(revision, {"status", "lastFailure"});
  const auto before = told ? model::Failure::from_json(*told) : fail(Errc::not_found, "none");
  if (before && before->step == failure.step && before->slug == failure.slug && before->because == failure.because) {
    failure.when = before->when;
    failure.elapsed = before->elapsed;
  }
  return failure;
}

/// Missing things may still come; what was missing before is not a verdict.
constexpr std::string_view image_missing = "ContainerMissing";
constexpr std::string_view values_missing = "CreateContainerConfigError";  // the kubelet's word for a Secret not there

bool failed_for_good(const json::object& revision) {
  const auto healthy = model::find_condition(revision, "ContainerHealthy");
  return healthy.status == Truth::no && healthy.reason != image_missing && healthy.reason != values_missing;
}

std::string reason_not_learnt(const Error& error) {
  if (is_fetch_failure(error)) return std::string(image_missing);
  return error.code() == Errc::not_found ? std::string(values_missing) : reason_of(slug(error.code()));
}

/// Serving's word for the deployment that a cluster would have.
void mark_active(model::Conditions& conditions, const std::optional<serving::RevisionView>& view) {
  if (view && view->ready > 0)
    conditions.mark_info("Active", Truth::yes);
  else if (view && (view->starting > 0 || view->queued > 0))
    conditions.mark_info("Active", Truth::unknown, "Queued",
                         "Requests to the target are being buffered as resources are provisioned.");
  else
    conditions.mark_info("Active", Truth::no, "NoTraffic", "The target is not receiving traffic.");
}

json::object image_status(const model::Container& container, const Fetched& fetched) {
  return {{"name", container_name(container)}, {"imageDigest", fetched.pinned}};
}

}  // namespace

awaitable<Result<void>> RevisionReconciler::learn(const ObjectKey& key, const json::object& object, Reach reach) {
  const auto uid = uid_of(object);
  if (const auto found = known_.find(key); found != known_.end() && found->second.uid == uid && !found->second.stale)
    co_return Result<void>();
  model::FieldErrors ignored;
  auto revision = model::decode_revision(object, ignored);
  auto& wanted = revision.spec.container;
  const auto labels = labels_of(object);
  const auto label = [&](std::string_view name) {
    const auto found = labels.find(std::string(name));
    return found == labels.end() ? std::string() : found->second;
  };

  const FetchedFor fetched_for{.key = key, .revision = object, .spec = revision.spec, .reach = reach};
  auto fetched = co_await fetch_all(world_, fetched_for);
  if (!fetched) co_return fail(std::move(fetched.error()));
  const auto& main = fetched->front();
  // Nothing is awaited from here to known_: a value that changes later finds what it makes stale.
  const RevisionNames names{.service = label(model::names::service),
                            .configuration = label(model::names::configuration),
                            .revision = key.name};
  auto process = process_for(world_, key, wanted, main, names, ContainerRole::serving);
  if (!process) co_return fail(std::move(process.error()));
  const auto limits = limits_for(wanted, revision.sandbox);
  auto volumes = resolve_volumes(world_.objects(), key.name_space, revision.spec, limits.memory_bytes);
  if (!volumes) co_return fail(std::move(volumes.error()));

  serving::RevisionSpec spec{.key = {key.name_space, key.name},
                             .service = label(model::names::service),
                             .configuration = label(model::names::configuration),
                             .port = wanted.port,
                             .protocol = wanted.h2c ? http::UpstreamProtocol::h2c : http::UpstreamProtocol::http1,
                             .container_concurrency = revision.spec.container_concurrency,
                             .timeout = revision.spec.timeout,
                             .response_start_limit = revision.spec.response_start_timeout,
                             .idle_limit = revision.spec.idle_timeout,
                             .startup_limit = startup_limit_of(wanted, revision.progress_deadline),
                             .startup = startup_of(wanted),
                             .readiness = probe_of(wanted),
                             .liveness = liveness_of(wanted),
                             .scaling = scaling_of(revision.autoscaling),
                             .ladder = ladder_of(model::decode_ladder(revision.metadata.annotations, "", ignored)),
                             .was_ready = model::find_condition(object, "Ready").status == Truth::yes,
                             .weight = weight_of(revision.metadata.annotation(box_weight))};
  if (revision.metadata.annotation(keep_warm) == "predicted")
    spec.scaling.keep_warm = serving::Scaling::KeepWarm::predicted;
  if (world_.options.startup_limit > 0ms) spec.startup_limit = world_.options.startup_limit;
  spec.instance.layers = main.image.config.diff_ids;
  spec.instance.process = std::move(*process);
  spec.instance.limits = limits;
  spec.instance.volumes = std::move(*volumes);
  spec.instance.volume_mounts = mounts_of(revision.spec.volumes, wanted);
  spec.instance.message_path = wanted.termination_message_path;
  spec.message_from_log = wanted.message_fallback == model::Container::MessageFallback::logs;
  spec.instance.egress = revision.sandbox.egress;
  spec.instance.runtime = revision.spec.runtime_class;
  spec.instance.id_range =
      static_cast<std::uint32_t>(parse_unsigned(revision.metadata.annotation(model::names::id_range)).value_or(1));
  // Root of its own user namespace, without a capability: what an image without USER expects, and nothing more.
  spec.instance.allow_root = main.ids.uid == 0;
  if (revision.spec.has_several()) {
    spec.instance.name = container_name(wanted);
    spec.ladder.spares = 0;  // what is made ahead has one container
    if (auto added = add_companions(world_, key, revision, *fetched, names, spec.instance); !added) co_return added;
  }

  // The world may have changed while we waited.
  const auto now = world_.objects().find(key);
  if (!now || uid_of(*now) != uid) co_return fail(Errc::conflict, "the revision went while it was read");
  Known known{.uid = uid, .spec = std::move(spec)};
  for (std::size_t i = 0; i < revision.spec.beside.size(); ++i)
    known.statuses.push_back(image_status(revision.spec.beside[i], (*fetched)[1 + i]));
  known.statuses.insert(known.statuses.begin() + static_cast<std::ptrdiff_t>(revision.spec.container_at),
                        image_status(wanted, main));
  for (std::size_t i = 0; i < revision.spec.init.size(); ++i)
    known.init_statuses.push_back(image_status(revision.spec.init[i], (*fetched)[1 + revision.spec.beside.size() + i]));
  known_[key] = std::move(known);
  set_in_force(key, *now);
  co_return Result<void>();
}

/// Tells serving. A revision without a route keeps no instance for its min-scale (Knative's "unreachable"), and no
/// spare.
void RevisionReconciler::set_in_force(const ObjectKey& key, const json::object& object) {
  auto& known = known_.at(key);
  const bool reachable = model::text_at(object, {"metadata", "labels", model::names::routing_state}) != "reserve";
  if (known.told_reachable == reachable) return;
  known.told_reachable = reachable;
  auto spec = known.spec;
  if (!reachable) spec.scaling.min_scale = spec.ladder.spares = 0;
  world_.with.serving.set_revision(std::move(spec));
}

void RevisionReconciler::values_changed(const ObjectKey& key) {
  if (const auto found = known_.find(key); found != known_.end()) found->second.stale = true;
  world_.enqueue(key);
}

void RevisionReconciler::forget(const ObjectKey& key) {
  known_.erase(key);
  world_.with.serving.remove_revision({key.name_space, key.name});
}

awaitable<Result<void>> RevisionReconciler::restore(ObjectKey key) {
  const auto object = world_.objects().find(key);
  if (!object || failed_for_good(*object)) co_return Result<void>();
  auto learned = co_await learn(key, *object, Reach::this_machine);
  co_return learned;
}

awaitable<Result<void>> RevisionReconciler::reconcile(ObjectKey key) {
  auto object = world_.objects().find(key);
  if (!object) {
    forget(key);
    co_return Result<void>();
  }
  if (failed_for_good(*object)) co_return Result<void>();
  const bool was_ready = model::find_condition(*object, "Ready").status == Truth::yes;
  const auto fresh = [&] {
    model::Conditions conditions("Ready", {"ContainerHealthy", "ResourcesAvailable"}, *object, world_.now());
    if (was_ready) {
      conditions.mark_true("ContainerHealthy");
      conditions.mark_true("ResourcesAvailable");
    } else {
      conditions.mark_unknown("ContainerHealthy", "Deploying");
      conditions.mark_unknown("ResourcesAvailable", "Deploying");
    }
    return conditions;
  };

  const auto began = world_.with.clock.now();
  auto learned = co_await learn(key, *object, Reach::registries);
  if (!learned) {
    const auto& error = learned.error();
    if (error.code() == Errc::conflict || was_ready) co_return learned;
    object = world_.objects().find(key);
    if (!object) co_return Result<void>();
    auto conditions = fresh();
    const bool unfetched = is_fetch_failure(error);
    if (!unfetched && is_passing(slug(error.code())) && may_wait(*object, start_wait_max, world_.now())) {
      conditions.mark_unknown("ResourcesAvailable", "Deploying", error.what());
      auto written = co_await write_status(key, std::move(conditions), std::nullopt);
      co_return written ? learned : written;
    }
    conditions.mark_false("ContainerHealthy", reason_not_learnt(error), error.what());
    auto failure = failure_of(error, unfetched || error.code() == Errc::not_found ? "fetch" : "start",
                              world_.with.clock.now() - began, world_.now());
    auto written = co_await write_status(key, std::move(conditions), since_before(std::move(failure), *object));
    if (!written) co_return written;
    // An image or a Secret may still come; the rest stays as it is.
    if (unfetched || error.code() == Errc::not_found) co_return learned;
    co_return Result<void>();
  }
  set_in_force(key, *object);
  if (was_ready) {
    auto written = co_await write_status(key, fresh(), std::nullopt);
    co_return written;
  }

  auto started = co_await write_status(key, fresh(), std::nullopt);
  if (!started) co_return started;
  std::expected<void, model::Failure> ready;
  if (const auto known = known_.find(key); known == known_.end() || !starts_with_none(known->second.spec.scaling))
    ready = co_await world_.with.serving.ensure_ready({key.name_space, key.name});
  object = world_.objects().find(key);
  if (!object) co_return Result<void>();
  model::Conditions conditions("Ready", {"ContainerHealthy", "ResourcesAvailable"}, *object, world_.now());
  conditions.mark_true("ResourcesAvailable");
  if (ready) {
    conditions.mark_true("ContainerHealthy");
    auto written = co_await write_status(key, std::move(conditions), std::nullopt);
    co_return written;
  }
  if (is_passing(ready.error().slug) && may_wait(*object, start_wait_max, world_.now()))
    co_return fail(Errc::unavailable, ready.error().because);
  const auto known = known_.find(key);
  const auto [reason, message] = told(ready.error(), known == known_.end() || known->second.spec.message_from_log);
  log::warn("revision failed",
            {{"revision", key.name_space + "/" + key.name}, {"reason", reason}, {"because", ready.error().because}});
  conditions.mark_false("ContainerHealthy", reason, message);
  auto written = co_await write_status(key, std::move(conditions), ready.error());
  if (!written) co_return written;
  forget(key);
  co_return Result<void>();
}

awaitable<Result<void>> RevisionReconciler::write_status(ObjectKey key, model::Conditions conditions,
                                                         std::optional<model::Failure> failure) {
  const auto object = world_.objects().find(key);
  if (!object) co_return Result<void>();
  const auto view = world_.with.serving.revision({key.name_space, key.name});
  mark_active(conditions, view);
  json::object status{{"observedGeneration", generation_of(*object)},
                      {"conditions", conditions.to_json()},
                      {"actualReplicas", view ? view->ready : 0},
                      {"desiredReplicas", view ? view->desired : 0}};
  if (const auto found = known_.find(key); found != known_.end()) {
    status["containerStatuses"] = found->second.statuses;
    if (!found->second.init_statuses.empty()) status["initContainerStatuses"] = found->second.init_statuses;
  } else {
    for (const auto list : {"containerStatuses", "initContainerStatuses"})
      if (const auto* before = model::find_value(*object, {"status", list})) status[list] = *before;
  }
  // An instance that failed after the revision had been ready is worth telling too.
  if (!failure && view) failure = view->last_failure;
  if (failure) status["lastFailure"] = failure->to_json();
  auto written = co_await world_.objects().update_status(std::move(key), std::move(status));
  if (!written && written.error().code() != Errc::not_found) co_return fail(std::move(written.error()));
  co_return Result<void>();
}

std::vector<std::string> images_of_revisions(const store::Objects& objects) {
  std::vector<std::string> images;
  for (const auto& revision : objects.list(model::revision_kind().resource())) {
    model::FieldErrors ignored;
    const auto decoded = model::decode_revision(*revision, ignored);
    for (const auto* container : all_containers(decoded.spec)) {
      auto image = pinned_image(*revision, container_name(*container));
      if (image.empty()) image = container->image;
      if (!image.empty()) images.push_back(std::move(image));
    }
  }
  for (auto& image : images_of_pods(objects)) images.push_back(std::move(image));
  return images;
}

}  // namespace wick::control
