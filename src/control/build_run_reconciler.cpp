// A BuildRun is run once, in a task of its own; the deploy it carries is applied by the daemon, so that it goes on when
// the client goes away. A run that the end of the daemon cut off is run again at the next start.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/parse.hpp>

#include "control/previews.hpp"
#include "control/reconcilers.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/model/admission.hpp"
#include "wick/model/build.hpp"
#include "wick/model/image_reference.hpp"
#include "wick/os/files.hpp"

namespace wick::control {

namespace {

using model::Truth;

constexpr std::size_t waiting_builds_max = 1000;
constexpr std::size_t finished_runs_kept = 50;  // a namespace; older ones go with their logs

bool is_done(const json::object& run) { return model::find_condition(run, "Succeeded").status != Truth::unknown; }

/// BuildRun's own spec, or that of the Build it names.
Result<model::BuildSpec> spec_of(World& world, const model::BuildRun& run, const std::string& name_space) {
  auto spec = run.spec;
  if (!spec) {
    const auto build = world.objects().find(key_of(model::build_kind(), name_space, run.build_name));
    if (!build) return fail(Errc::not_found, fmt::format("build.shipwright.io \"{}\" not found", run.build_name));
    model::FieldErrors ignored;
    spec = model::decode_build_spec(model::ObjectReader(build->if_contains("spec"), "spec", ignored));
  }
  if (run.output_image) spec->output_image = *run.output_image;
  if (run.timeout) spec->timeout = *run.timeout;
  return *spec;
}

Result<build::BuildRequest> request_of(World& world, const std::string& name_space, const model::BuildSpec& spec,
                                       const model::BuildRun& run) {
  build::BuildRequest request{.subpath = spec.context_dir,
                              .dockerfile = spec.dockerfile,
                              .builder = spec.builder,
                              .target = spec.target,
                              .build_args = spec.build_args,
                              .secrets_name_space = name_space,
                              .secrets_ticket = run.metadata.annotation("wick.dev/build-secrets"),
                              .reference = spec.output_image,
                              .limit = spec.timeout};
  if (spec.source == model::BuildSpec::Source::git) {
    auto credentials = git_credentials(world.objects(), name_space, spec.git_secret);
    if (!credentials) return fail(std::move(credentials.error()));
    request.source = build::GitSource{.url = spec.git_url,
                                      .ref = spec.git_revision,
                                      .allow_local = spec.allow_local,
                                      .credentials = std::move(*credentials)};
    return request;
  }
  const auto path = world.options.uploads / spec.upload;
  std::error_code error;
  if (!std::filesystem::exists(path, error))
    return fail(Errc::not_found, fmt::format("upload {} is not here", spec.upload),
                "upload the source again: wick deploy does");
  build::ArchiveSource source{.path = path};
  // Who uploads says what commit it is: with the upload, or on the run.
  if (const auto about = read_file(path.string() + ".json", 4096)) {
    boost::system::error_code parse_error;
    if (const auto value = json::parse(*about, parse_error); !parse_error && value.is_object()) {
      source.commit = model::text_at(value.get_object(), {"commit"});
      const auto* dirty = value.get_object().if_contains("dirty");
      source.dirty = dirty && *dirty == true;
    }
  }
  if (auto commit = run.metadata.annotation("wick.dev/source-commit"); source.commit.empty() && !commit.empty()) {
    source.dirty = commit.ends_with("-dirty");
    if (source.dirty) commit.resize(commit.size() - std::string_view("-dirty").size());
    source.commit = commit;
  }
  request.source = std::move(source);
  return request;
}

model::Failure failure_of(const Error& error, std::string step, WallTime now) {
  return {.step = std::move(step),
          .slug = slug(error.code()),
          .because = error.what(),
          .last_output = {},
          .hint = error.hint(),
          .elapsed = 0ms,
          .when = now};
}

json::array condition(const json::object& run, Truth status, std::string reason, std::string message, WallTime now) {
  model::Conditions conditions("Succeeded", {"Succeeded"}, run, now);
  conditions.mark("Succeeded", status, std::move(reason), std::move(message));
  return conditions.to_json();
}

/// The status as it is, with a new verdict.
json::object with_verdict(const json::object& run, Truth status, std::string reason, std::string message,
                          WallTime now) {
  json::object next;
  if (const auto* before = model::find_value(run, {"status"}); before && before->is_object())
    next = before->get_object();
  next["conditions"] = condition(run, status, std::move(reason), std::move(message), now);
  next["observedGeneration"] = generation_of(run);
  return next;
}

awaitable<void> write_verdict(World& world, ObjectKey key, json::object status) {
  auto written = co_await world.objects().update_status(key, std::move(status));
  if (!written && written.error().code() != Errc::not_found)
    log::warn("build run status not written", {{"name", key.name}, {"error", written.error().what()}});
}

awaitable<void> write_failure(World& world, ObjectKey key, model::Failure failure) {
  const auto run = world.objects().find(key);
  if (!run) co_return;
  auto status = with_verdict(*run, Truth::no, reason_of(failure.slug), failure.because, world.now());
  status["completionTime"] = to_rfc3339(world.now());
  status["failure"] = failure.to_json();
  co_await write_verdict(world, key, std::move(status));
}

/// Creates the Service, or gives the existing one this spec; its labels and annotations are kept and added to.
awaitable<Result<ObjectValue>> apply_service(World& world, std::string name_space, std::string manifest,
                                             std::string image) {
  boost::system::error_code error;
  auto parsed = json::parse(manifest, error);
  if (error || !parsed.is_object()) co_return fail(Errc::invalid, "wick.dev/deploy is not a JSON object");
  auto service = std::move(parsed.get_object());
  const auto& kind = model::service_kind();
  model::object_at(service, {"metadata"})["namespace"] = name_space;
  model::object_at(service, {"metadata"}).erase("resourceVersion");
  service.erase("status");
  service["apiVersion"] = kind.api_version();
  service["kind"] = kind.kind;
  model::set_first_image(service, image);
  const auto key = key_of(kind, service);

  constexpr int attempts = 5;  // another writer may come between read and write
  for (int attempt = 1;; ++attempt) {
    const auto old = world.objects().find(key);
    auto wanted = service;
    if (old)
      for (const auto field : {"labels", "annotations"})
        if (const auto* before = model::find_value(*old, {"metadata", field}); before && before->is_object())
          for (const auto& [name, value] : before->get_object())
            if (auto& map = model::object_at(wanted, {"metadata", field}); !map.contains(name)) map[name] = value;
    auto admitted = model::admit(kind, std::move(wanted),
                                 {.old = old.get(), .user = "wick-deploy", .policy = world.options.admission});
    if (!admitted) co_return fail(std::move(admitted.error()));
    if (!old) {
      auto created = co_await world.objects().create(key, std::move(*admitted));
      if (created || created.error().code() != Errc::already_exists || attempt == attempts) co_return created;
      continue;
    }
    if (const auto* status = old->if_contains("status")) (*admitted)["status"] = *status;
    if (const auto* owners = model::find_value(*old, {"metadata", "ownerReferences"}))
      model::object_at(*admitted, {"metadata"})["ownerReferences"] = *owners;
    const auto version = version_of(*old);
    auto updated = co_await world.objects().update(key, std::move(*admitted), version);
    if (updated || updated.error().code() != Errc::conflict || attempt == attempts) co_return updated;
  }
}

/// "hello" and the digest: what the Service's revision is pinned to.
std::string pinned(const std::string& reference, const Digest& digest) {
  const auto parsed = model::parse_image_reference(reference);
  return fmt::format("{}@{}", parsed ? parsed->repository : reference, digest.text());
}

/// The oldest finished runs of a namespace go, with their logs.
awaitable<void> collect_finished(World& world, std::string name_space) {
  std::vector<std::pair<std::string, ObjectKey>> finished;
  for (const auto& run : world.objects().list(model::build_run_kind().resource(), name_space))
    if (is_done(*run))
      finished.emplace_back(model::text_at(*run, {"metadata", "creationTimestamp"}),
                            key_of(model::build_run_kind(), *run));
  if (finished.size() <= finished_runs_kept) co_return;
  std::ranges::sort(finished);
  finished.resize(finished.size() - finished_runs_kept);
  for (auto& [created, key] : finished) co_await world.objects().remove(std::move(key));
}

}  // namespace

Result<build::GitCredentials> git_credentials(const store::Objects& objects, const std::string& name_space,
                                              const std::string& name) {
  if (name.empty()) return build::GitCredentials{};
  const auto secret = objects.find(key_of(model::secret_kind(), name_space, name));
  if (!secret)
    return fail(
        Errc::not_found, fmt::format("secrets \"{}\" not found", name),
        fmt::format("wick secret set {} ssh-privatekey=@FILE known_hosts=@FILE, or username=… password=@FILE", name));
  const auto value = [&](std::string_view key) {
    return base64_decode(model::text_at(*secret, {"data", key})).value_or(std::string());
  };
  build::GitCredentials credentials{.username = value("username"),
                                    .password = value("password"),
                                    .ssh_private_key = value("ssh-privatekey"),
                                    .known_hosts = value("known_hosts")};
  if (credentials.password.empty() && credentials.ssh_private_key.empty())
    return fail(Errc::invalid, fmt::format("secret {} has neither password nor ssh-privatekey", name),
                "both are looked for by these names");
  return credentials;
}

BuildRunReconciler::BuildRunReconciler(World& world)
    : world_(world),
      slots_(world.with.executor, std::max<std::size_t>(world.options.builds_at_once, 1), waiting_builds_max) {}

awaitable<Result<void>> BuildRunReconciler::reconcile(ObjectKey key) {
  const auto object = world_.objects().find(key);
  const auto found = runs_.find(key);
  if (found != runs_.end() && (!object || uid_of(*object) != found->second->uid)) co_await cancel(key);
  if (!object) co_return Result<void>();
  if (is_done(*object)) {
    co_await cancel(key);
    co_await collect_finished(world_, key.name_space);
    co_return Result<void>();
  }
  model::FieldErrors ignored;
  if (model::decode_build_run(*object, ignored).cancelled) {
    co_await cancel(key);
    model::Failure failure{.step = "build",
                           .slug = "E_CANCELLED",
                           .because = "the build run was cancelled",
                           .last_output = {},
                           .hint = {},
                           .elapsed = 0ms,
                           .when = world_.now()};
    co_await write_failure(world_, key, std::move(failure));
    world_.build_logs.close(uid_of(*object));
    co_return Result<void>();
  }
  if (runs_.contains(key)) co_return Result<void>();
  auto run = std::make_shared<Run>(world_.with.executor);
  run->uid = uid_of(*object);
  if (auto opened = world_.build_logs.open(run->uid); !opened) co_return opened;
  runs_[key] = run;
  run->task.spawn("build " + key.name, this->run(key, run->uid));
  co_return Result<void>();
}

/// Ends the run's task, if there is one, and forgets it.
awaitable<void> BuildRunReconciler::cancel(ObjectKey key) {
  const auto found = runs_.find(key);
  if (found == runs_.end()) co_return;
  const auto run = found->second;
  runs_.erase(found);
  co_await run->task.stop();
}

awaitable<void> BuildRunReconciler::run(ObjectKey key, std::string uid) {
  struct CloseLog {
    BuildLogs& logs;
    std::string uid;
    ~CloseLog() { logs.close(uid); }
  } close_log{world_.build_logs, uid};

  auto slot = co_await slots_.acquire();
  auto object = world_.objects().find(key);
  if (!object) co_return;
  if (!slot) {
    co_await write_failure(world_, key, failure_of(slot.error(), "build", world_.now()));
    co_return;
  }
  auto running = with_verdict(*object, Truth::unknown, "Running", "the build is running", world_.now());
  running["startTime"] = to_rfc3339(world_.now());
  co_await write_verdict(world_, key, std::move(running));

  model::FieldErrors ignored;
  const auto wanted = model::decode_build_run(*object, ignored);
  const auto spec = spec_of(world_, wanted, key.name_space);
  if (!spec) {
    co_await write_failure(world_, key, failure_of(spec.error(), "fetch", world_.now()));
    co_return;
  }
  auto request = request_of(world_, key.name_space, *spec, wanted);
  if (!request) {
    co_await write_failure(world_, key, failure_of(request.error(), "fetch", world_.now()));
    co_return;
  }
  build::OnProgress on_progress = [this, uid](const build::Progress& progress) {
    world_.build_logs.append(uid, progress);
  };
  auto built = co_await world_.with.run_build(std::move(*request), on_progress);
  object = world_.objects().find(key);
  if (!object) co_return;
  if (!built) {
    log::warn("build failed", {{"run", key.name_space + "/" + key.name}, {"because", built.error().failure.because}});
    co_await write_failure(world_, key, std::move(built.error().failure));
    co_return;
  }

  auto status = with_verdict(*object, Truth::yes, "Succeeded", "All Steps have completed executing", world_.now());
  status["output"] = {{"digest", built->image.digest.text()},
                      {"image", pinned(spec->output_image, built->image.digest)}};
  if (!built->commit.empty()) {
    status["commit"] = built->commit;
    status["source"] = {{"git", {{"commitSha", built->commit}}}};
  }
  status["detected"] = built->detected;
  status["unchanged"] = built->unchanged;
  json::array warnings;
  for (const auto& warning : built->warnings) warnings.emplace_back(warning);
  status["warnings"] = std::move(warnings);

  if (const auto manifest = wanted.metadata.annotation(model::names::deploy); !manifest.empty()) {
    auto applied =
        co_await apply_service(world_, key.name_space, manifest, pinned(spec->output_image, built->image.digest));
    if (!applied) {
      co_await write_failure(world_, key, failure_of(applied.error(), "route", world_.now()));
      co_return;
    }
    status["service"] = {
        {"name", name_of(**applied)}, {"namespace", key.name_space}, {"generation", generation_of(**applied)}};
  }
  if (const auto order = model::parse_preview_order(wanted.metadata.annotation(model::names::preview))) {
    auto applied = co_await apply_preview(world_, key.name_space, *order,
                                          pinned(spec->output_image, built->image.digest), built->commit);
    if (!applied) {
      co_await write_failure(world_, key, failure_of(applied.error(), "route", world_.now()));
      co_return;
    }
    status["preview"] = {{"service", order->service},
                         {"tag", model::text_at(**applied, {"metadata", "labels", model::names::preview})},
                         {"branch", order->branch},
                         {"configuration", name_of(**applied)},
                         {"generation", generation_of(**applied)}};
  }
  status["completionTime"] = to_rfc3339(world_.now());
  log::info("built", {{"run", key.name_space + "/" + key.name}, {"image", built->image.digest.text()}});
  co_await write_verdict(world_, key, std::move(status));
}

awaitable<void> BuildRunReconciler::stop() {
  while (!runs_.empty()) co_await cancel(runs_.begin()->first);
}

}  // namespace wick::control
