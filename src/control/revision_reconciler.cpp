// A Revision is started once to see that it can run; the verdict is its status for good (a Revision is immutable: what
// failed is mended by the next one). Afterwards serving scales it and the status follows.
//
//   stored ──learn──► known to serving ──ensure_ready──► Ready            (stays Ready, with instances or without)
//      │                                      └────────► Failed           (ContainerHealthy False, forgotten by
//      serving) ├──no image──► ContainerMissing, tried again with backoff
//               └──initial-scale 0──► Ready; its first request is what starts it
#include <fmt/format.h>

#include <algorithm>

#include "control/process.hpp"
#include "control/reconcilers.hpp"
#include "control/values.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/model/image_reference.hpp"
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

/// "hello" may be stored as "hello:latest", and a name pinned to a digest may have moved on: the digest is what counts.
Result<image::Image> find_image(const image::ContentStore& images, const model::ImageReference& wanted,
                                const std::string& text) {
  if (!wanted.digest.empty()) return images.image(wanted.digest);
  auto found = images.image(std::string_view(text));
  if (!found && found.error().code() == Errc::not_found && wanted.tag.empty())
    return images.image(std::string_view(text + ":latest"));
  return found;
}

/// "hello@sha256:…" of one of its containers, once the revision has been started; "" before.
std::string pinned_image(const json::object& revision, std::string_view container) {
  for (const auto list : {"containerStatuses", "initContainerStatuses"}) {
    const auto* statuses = model::find_value(revision, {"status", list});
    if (!statuses || !statuses->is_array()) continue;
    for (const auto& status : statuses->get_array())
      if (status.is_object() && model::text_at(status.get_object(), {"name"}) == container)
        return model::text_at(status.get_object(), {"imageDigest"});
  }
  return {};
}

std::string container_name(const model::Container& container) {
  return container.name.empty() ? "user-container" : container.name;
}

std::vector<const model::Container*> all_containers(const model::RevisionSpec& spec) {
  std::vector<const model::Container*> all{&spec.container};
  for (const auto* list : {&spec.beside, &spec.init})
    for (const auto& container : *list) all.push_back(&container);
  return all;
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

/// Missing things may still come; what was missing before is not a verdict.
constexpr std::string_view image_missing = "ContainerMissing";
constexpr std::string_view values_missing = "CreateContainerConfigError";  // the kubelet's word for a Secret not there

bool failed_for_good(const json::object& revision) {
  const auto healthy = model::find_condition(revision, "ContainerHealthy");
  return healthy.status == Truth::no && healthy.reason != image_missing && healthy.reason != values_missing;
}

constexpr std::string_view unable_to_fetch = "Unable to fetch image";

/// Whatever the reason: the next try may find it mended, by a push, a Secret or a cable.
bool is_fetch_failure(const Error& error) { return error.what().starts_with(unable_to_fetch); }

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

/// Copies the layers the runner has not unpacked yet out of the content store.
awaitable<Result<void>> import_layers(World& world, const image::Image& image) {
  for (const auto& layer : image.config.diff_ids) {
    auto known = co_await world.with.runner.has_layer(layer);
    if (!known) co_return fail(std::move(known.error()));
    if (*known) continue;
    auto tar = world.with.images.open_blob(layer);
    if (!tar) co_return fail(std::move(tar.error()).within("layer " + layer.text()));
    auto imported = co_await world.with.runner.import_layer(layer, std::move(*tar));
    if (!imported) co_return fail(std::move(imported.error()).within("layer " + layer.text()));
  }
  co_return Result<void>();
}

awaitable<Result<container::UserIds>> resolve_user(World& world, const image::Image& image,
                                                   const model::Container& wanted) {
  const auto user = user_of(image.config, wanted);
  container::UserIds ids;
  if (!user.empty()) {
    auto resolved = co_await world.with.runner.resolve_user(image.config.diff_ids, user);
    if (!resolved) co_return fail(std::move(resolved.error()).within("user"));
    ids = std::move(*resolved);
  }
  if (ids.uid == 0 && wanted.run_as_non_root)
    co_return fail(Errc::denied, "container has runAsNonRoot and image will run as root",
                   "add USER to the Dockerfile, or set runAsUser");
  co_return ids;
}

/// What a container needs that takes time to get: its image, unpacked, and who it runs as.
struct Fetched {
  image::Image image;
  container::UserIds ids;
  std::string pinned;  // "repo@sha256:…"
};

PullPolicy pull_policy_of(const json::object& revision, std::string_view container) {
  for (const auto list : {"containers", "initContainers"}) {
    const auto* containers = model::find_value(revision, {"spec", list});
    if (!containers || !containers->is_array()) continue;
    for (const auto& one : containers->get_array()) {
      if (!one.is_object()) continue;
      const auto name = model::text_at(one.get_object(), {"name"});
      if (name != container && !(name.empty() && container == "user-container")) continue;
      const auto policy = model::text_at(one.get_object(), {"imagePullPolicy"});
      if (policy == "Always") return PullPolicy::always;
      if (policy == "IfNotPresent") return PullPolicy::if_not_present;
      if (policy == "Never") return PullPolicy::never;
    }
  }
  return PullPolicy::unset;
}

/// Writes what the tag means before a byte of it is fetched: whenever it goes on, it is with this image, and no
/// collection takes it meanwhile.
awaitable<Result<void>> keep_digest(World& world, const ObjectKey& key, std::string uid, const model::Container& wanted,
                                    bool is_init, std::string pinned) {
  const auto object = world.objects().find(key);
  if (!object || uid_of(*object) != uid) co_return fail(Errc::conflict, "the revision went while it was read");
  json::object status;
  if (const auto* before = model::find_value(*object, {"status"}); before && before->is_object())
    status = before->get_object();
  auto& list = status[is_init ? "initContainerStatuses" : "containerStatuses"];
  if (!list.is_array()) list = json::array();
  const json::object entry{{"name", container_name(wanted)}, {"imageDigest", std::move(pinned)}};
  const auto same = std::ranges::find_if(list.get_array(), [&](const json::value& one) {
    return one.is_object() && model::text_at(one.get_object(), {"name"}) == container_name(wanted);
  });
  if (same == list.get_array().end())
    list.get_array().push_back(entry);
  else
    *same = entry;
  model::Conditions conditions("Ready", {"ContainerHealthy", "ResourcesAvailable"}, *object, world.now());
  conditions.mark_unknown("ContainerHealthy", "Deploying", "Pulling the image.");
  conditions.mark_unknown("ResourcesAvailable", "Deploying");
  if (model::find_condition(*object, "Ready").status != Truth::yes) status["conditions"] = conditions.to_json();
  auto written = co_await world.objects().update_status(key, std::move(status));
  if (!written) co_return fail(std::move(written.error()));
  co_return Result<void>();
}

/// What a fetch needs to know of the revision, whatever the container.
struct FetchedFor {
  const ObjectKey& key;
  const json::object& revision;
  const model::RevisionSpec& spec;
  Reach reach;
};

awaitable<Result<image::Image>> image_in_store(World& world, std::string name) {
  const auto reference = model::parse_image_reference(name);
  if (!reference) co_return fail(reference.error());
  auto read = [&images = world.with.images, wanted = *reference, name] { return find_image(images, wanted, name); };
  auto image = co_await world.with.workers.run(read);
  co_return image;
}

/// The image that `name` pins, from its registry when it is not here; `name` is pinned by then.
awaitable<Result<image::Image>> find_or_pull(World& world, const FetchedFor& revision, const model::Container& wanted,
                                             bool is_init, std::string& name) {
  const auto& doors = world.with.registries;
  const bool may_pull = doors.pull && revision.reach == Reach::registries;
  auto reference = model::parse_image_reference(name);
  if (!reference) co_return fail(reference.error());
  const auto policy = pull_policy_of(revision.revision, container_name(wanted));
  auto configs = docker_configs(world.objects(), revision.key.name_space, revision.spec.image_pull_secrets);
  if (reference->digest.empty() && may_pull) {
    auto digest = co_await doors.resolve(name, policy, configs);
    if (!digest) co_return fail(std::move(digest.error()).within("failed to resolve image to digest"));
    name = fmt::format("{}@{}", reference->repository, digest->text());
  }
  auto image = co_await image_in_store(world, name);
  if (image || image.error().code() != Errc::not_found || !may_pull) co_return image;
  if (policy == PullPolicy::never)
    co_return fail(Errc::not_found, "it is not here, and its pull policy is Never",
                   "wick image pull, or wick image load");
  if (pinned_image(revision.revision, container_name(wanted)) != name) {
    auto kept = co_await keep_digest(world, revision.key, uid_of(revision.revision), wanted, is_init, name);
    if (!kept) co_return fail(std::move(kept.error()));
  }
  auto pulled = co_await doors.pull(name, std::move(configs));
  if (!pulled) co_return fail(std::move(pulled.error()));
  auto there = co_await image_in_store(world, name);
  co_return there;
}

awaitable<Result<Fetched>> fetch(World& world, const FetchedFor& revision, const model::Container& wanted,
                                 bool is_init) {
  // The digest is resolved once, when the revision is made.
  auto name = pinned_image(revision.revision, container_name(wanted));
  if (name.empty()) name = wanted.image;
  auto image = co_await find_or_pull(world, revision, wanted, is_init, name);
  if (!image && image.error().code() == Errc::conflict) co_return fail(std::move(image.error()));
  if (!image) co_return fail(std::move(image.error()).within(fmt::format("{} \"{}\"", unable_to_fetch, wanted.image)));
  const auto reference = model::parse_image_reference(name);
  if (!reference) co_return fail(reference.error());
  auto imported = co_await import_layers(world, *image);
  if (!imported) co_return fail(std::move(imported.error()));
  auto ids = co_await resolve_user(world, *image, wanted);
  if (!ids) co_return fail(std::move(ids.error()));
  // As its registry calls it, where it is of one.
  const auto digest = reference->digest.empty() ? image->digest : reference->digest;
  auto pinned = fmt::format("{}@{}", reference->repository, digest.text());
  Fetched fetched{.image = std::move(*image), .ids = std::move(*ids), .pinned = std::move(pinned)};
  co_return fetched;
}

/// The first that fails names its container, where there are several.
awaitable<Result<std::vector<Fetched>>> fetch_all(World& world, FetchedFor revision) {
  std::vector<Fetched> all;
  const auto& spec = revision.spec;
  for (const auto* wanted : all_containers(spec)) {
    const bool is_init = all.size() > spec.beside.size();
    auto fetched = co_await fetch(world, revision, *wanted, is_init);
    if (!fetched && spec.has_several() && !is_fetch_failure(fetched.error()))
      co_return fail(std::move(fetched.error()).within(fmt::format("container \"{}\"", container_name(*wanted))));
    if (!fetched) co_return fail(std::move(fetched.error()));
    all.push_back(std::move(*fetched));
  }
  co_return all;
}

/// Its process, with the values of its variables. Waits for nothing.
Result<container::Process> process_for(World& world, const ObjectKey& key, model::Container& wanted,
                                       const Fetched& fetched, const RevisionNames& names, ContainerRole role) {
  auto variables = resolve_environment(world.objects(), key.name_space, wanted);
  if (!variables) return fail(std::move(variables.error()));
  wanted.environment = std::move(*variables);
  auto process = make_process(fetched.image.config, wanted, names, role);
  if (!process) return process;
  process->uid = fetched.ids.uid;
  process->gid = fetched.ids.gid;
  process->groups = fetched.ids.groups;
  return process;
}

container::Limits limits_for(const model::Container& wanted, const model::Sandbox& sandbox) {
  auto limits = limits_of(wanted);
  if (sandbox.tmp_bytes) limits.tmp_bytes = *sandbox.tmp_bytes;
  if (sandbox.pids) limits.pids = *sandbox.pids;
  return limits;
}

/// The containers beside the one that serves; `fetched` has the latter first.
Result<void> add_companions(World& world, const ObjectKey& key, model::Revision& revision,
                            const std::vector<Fetched>& fetched, const RevisionNames& names,
                            container::InstanceSpec& instance) {
  auto next = fetched.begin() + 1;
  for (auto [containers, role, into] : {std::tuple{&revision.spec.beside, ContainerRole::beside, &instance.beside},
                                        {&revision.spec.init, ContainerRole::init, &instance.init}})
    for (auto& wanted : *containers) {
      const auto& got = *next++;
      auto process = process_for(world, key, wanted, got, names, role);
      if (!process) return fail(std::move(process.error()).within(fmt::format("container \"{}\"", wanted.name)));
      // Root of its own user namespace, without a capability: what an image without USER expects, and nothing more.
      into->push_back({.name = wanted.name,
                       .layers = got.image.config.diff_ids,
                       .process = std::move(*process),
                       .limits = limits_for(wanted, revision.sandbox),
                       .allow_root = got.ids.uid == 0,
                       .volume_mounts = mounts_of(revision.spec.volumes, wanted),
                       .message_path = wanted.termination_message_path});
    }
  return {};
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
    auto written =
        co_await write_status(key, std::move(conditions),
                              failure_of(error, unfetched || error.code() == Errc::not_found ? "fetch" : "start",
                                         world_.with.clock.now() - began, world_.now()));
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
  return images;
}

}  // namespace wick::control
