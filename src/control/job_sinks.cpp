// An event becomes a Secret that holds it and a Job that mounts it; 202 is answered when both are on disk, so nothing
// is lost from then on. A second event with the same source and id finds its Job there.
#include "control/job_sinks.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "control/container_sources.hpp"
#include "control/event_access.hpp"
#include "control/jobs.hpp"
#include "control/pod_spec.hpp"
#include "control/subscribing.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"

namespace wick::control {

namespace {

constexpr std::string_view event_volume = "jobsink-event";
constexpr std::string_view event_folder = "/etc/jobsink-event";
constexpr std::int64_t ttl_seconds_default = 24 * 3600;  // a Job that is gone is no duplicate any more

std::string location_of(const ObjectKey& sink, const std::string& source, const std::string& id) {
  return fmt::format("/namespaces/{}/name/{}/sources/{}/ids/{}", sink.name_space, sink.name,
                     http::percent_encode(source), http::percent_encode(id));
}

http::Response plain(int status, std::string text) { return {.head = {.status = status}, .body = std::move(text)}; }

void add_variable(json::object& container, std::string_view name, std::string_view value) {
  auto& env = container["env"];
  if (!env.is_array()) env = json::array();
  auto& list = env.get_array();
  const auto same = std::ranges::find_if(list, [&](const json::value& one) {
    return one.is_object() && model::text_at(one.get_object(), {"name"}) == name;
  });
  if (same == list.end()) list.push_back({{"name", name}, {"value", value}});
}

/// Mounts the event, where no mount of this name says otherwise; K_EVENT_PATH is where.
void add_event_to(json::object& container) {
  auto& mounts = container["volumeMounts"];
  if (!mounts.is_array()) mounts = json::array();
  auto& list = mounts.get_array();
  const auto own = std::ranges::find_if(list, [](const json::value& one) {
    return one.is_object() && model::text_at(one.get_object(), {"name"}) == event_volume;
  });
  std::string folder(event_folder);
  if (own == list.end())
    list.push_back({{"name", event_volume}, {"mountPath", event_folder}, {"readOnly", true}});
  else
    folder = model::text_at(own->get_object(), {"mountPath"});
  add_variable(container, "K_EVENT_PATH", folder);
  add_variable(container, "K_EXECUTION_MODE", "batch");
}

void add_event(json::object& pod, const std::string& secret) {
  auto& spec = model::object_at(pod, {"spec"});
  auto& volumes = spec["volumes"];
  if (!volumes.is_array()) volumes = json::array();
  volumes.get_array().push_back({{"name", event_volume}, {"secret", {{"secretName", secret}}}});
  for (const auto list : {"containers", "initContainers"})
    if (auto* containers = spec.if_contains(list); containers && containers->is_array())
      for (auto& container : containers->get_array())
        if (container.is_object()) add_event_to(container.get_object());
}

json::object labels_for(const ObjectKey& sink, const std::string& name) {
  return {{job_sink_name_label, sink.name}, {job_sink_id_label, name.substr(name.rfind('-') + 1)}};
}

json::object event_secret(const json::object& sink, const ObjectKey& key, const std::string& name,
                          const eventing::CloudEvent& event) {
  return {{"apiVersion", "v1"},
          {"kind", "Secret"},
          {"metadata",
           {{"name", name},
            {"namespace", key.name_space},
            {"labels", labels_for(key, name)},
            {"ownerReferences", json::array{model::owner_reference(model::job_sink_kind(), sink)}}}},
          {"type", "Opaque"},
          {"immutable", true},
          {"data", {{"event", base64_encode(eventing::encode_json(event))}}}};
}

json::object job_for(const json::object& sink, const ObjectKey& key, const std::string& name) {
  const auto* given = model::find_value(sink, {"spec", "job"});
  json::object job = given && given->is_object() ? given->get_object() : json::object();
  job["apiVersion"] = model::job_kind().api_version();
  job["kind"] = "Job";
  auto& metadata = model::object_at(job, {"metadata"});
  metadata["name"] = name;
  metadata["namespace"] = key.name_space;
  metadata["ownerReferences"] = json::array{model::owner_reference(model::job_sink_kind(), sink)};
  auto& labels = model::object_at(metadata, {"labels"});
  for (const auto& [label, value] : labels_for(key, name)) labels[label] = value;
  const auto annotations = annotations_of(sink);
  if (const auto most = annotations.find(std::string(max_in_flight_annotation)); most != annotations.end())
    model::object_at(metadata, {"annotations"})[max_in_flight_annotation] = most->second;
  auto& spec = model::object_at(job, {"spec"});
  if (!spec.contains("ttlSecondsAfterFinished")) spec["ttlSecondsAfterFinished"] = ttl_seconds_default;
  auto& pod = model::object_at(spec, {"template"});
  add_event(pod, name);
  if (const auto range = annotations.find(std::string(model::names::id_range)); range != annotations.end())
    model::object_at(pod, {"metadata", "annotations"})[model::names::id_range] = range->second;
  if (model::job_kind().defaults) model::job_kind().defaults(job);
  return job;
}

http::Response accepted(const ObjectKey& sink, const std::string& source, const std::string& id) {
  auto response = plain(202, "");
  response.head.fields.set("Location", location_of(sink, source, id));
  return response;
}

http::Response refused(const Error& error) {
  const int status = error.code() == Errc::too_large ? 413 : error.code() == Errc::overloaded ? 429 : 503;
  auto response = plain(status, error.what());
  if (status != 413) response.head.fields.set("Retry-After", "10");
  return response;
}

awaitable<http::Response> take_event(World& world, ObjectKey key, eventing::CloudEvent event) {
  const auto sink = world.objects().find(key);
  if (!sink || is_being_deleted(*sink)) co_return plain(400, fmt::format("there is no JobSink {}", key.name));
  const auto source = event.text("source"), id = event.text("id");
  const auto name = job_name(key.name, source, id);
  const auto job_key = key_of(model::job_kind(), key.name_space, name);
  if (world.objects().find(job_key)) co_return accepted(key, source, id);
  auto kept = co_await world.objects().create(key_of(model::secret_kind(), key.name_space, name),
                                              event_secret(*sink, key, name, event));
  if (!kept && kept.error().code() != Errc::already_exists) co_return refused(kept.error());
  auto made = co_await world.objects().create(job_key, job_for(*sink, key, name));
  if (!made && made.error().code() != Errc::already_exists) co_return refused(made.error());
  co_return accepted(key, source, id);
}

}  // namespace

std::string job_name(const std::string& sink, const std::string& source, const std::string& id) {
  return child_name(sink, "-" + md5_hex(source + id));
}

awaitable<Result<void>> reconcile_job_sink(World& world, ObjectKey key) {
  const auto name = eventing::sink_name(eventing::SinkKind::job, key.name);
  auto object = world.objects().find(key);
  if (!object) {
    world.with.eventing.remove_sink(key.name_space, name);
    world.with.eventing.remove_access_rules(key.name_space, name);
    co_return Result<void>();
  }
  auto ranged = co_await with_id_range(world, key, object);
  if (!ranged) co_return fail(std::move(ranged.error()));
  object = *ranged;
  model::Conditions conditions("Ready", {"Addressable", "EventPoliciesReady"}, *object, world.now());
  conditions.mark_true("Addressable");
  json::object status{
      {"observedGeneration", generation_of(*object)},
      {"job", {{"selector", fmt::format("{}={}", job_sink_name_label, key.name)}}},
      {"address", {{"name", "http"}, {"url", address_of(model::job_sink_kind(), key.name_space, key.name)}}}};
  judge_policies(world, model::job_sink_kind(), *object, name, conditions, status);
  status["conditions"] = conditions.to_json();
  world.with.eventing.set_sink(
      {.name_space = key.name_space, .name = name, .take = [&world, key](eventing::CloudEvent event, http::Fields) {
         return take_event(world, key, std::move(event));
       }});
  auto written = co_await write_status(world, std::move(key), std::move(status));
  co_return written;
}

bool runs_beside_services(const store::Objects& objects, const std::string& name_space, const std::string& name) {
  for (const auto* kind : {&model::container_source_kind(), &model::job_kind(), &model::job_sink_kind()})
    if (objects.find(key_of(*kind, name_space, name))) return true;
  return false;
}

std::vector<std::string> owners_beside_services(const store::Objects& objects, const std::string& name_space,
                                                const std::string& name) {
  std::vector<std::string> owners;
  const auto add = [&](std::string owner) { owners.push_back(owner.substr(owner.find('/') + 1)); };
  const auto source = key_of(model::container_source_kind(), name_space, name);
  if (objects.find(source)) add(ContainerSources::owner_of(source));
  for (const auto& job : objects.list(model::job_kind().resource(), name_space)) {
    if (name_of(*job) == name || job_sink_of(*job) == name) add(Jobs::owner_of(key_of(model::job_kind(), *job)));
  }
  return owners;
}

http::Response job_status(World& world, const std::string& target) {
  auto path = std::string_view(target);
  if (path.ends_with('/')) path.remove_suffix(1);
  const auto parts = split(path, '/');
  if (parts.size() != 9 || parts[1] != "namespaces" || parts[3] != "name" || parts[5] != "sources" || parts[7] != "ids")
    return plain(400, fmt::format("the path must be /namespaces/NAMESPACE/name/JOBSINK/sources/SOURCE/ids/ID, not '{}'",
                                  printable(target)));
  std::string names[4];
  for (std::size_t i = 0; i < 4; ++i) {
    const auto decoded = http::percent_decode(parts[2 + 2 * i]);
    if (!decoded) return plain(400, fmt::format("'{}' is not percent-encoded", printable(parts[2 + 2 * i])));
    names[i] = *decoded;
  }
  const auto& [name_space, sink, source, id] = names;
  const auto job = world.objects().find(key_of(model::job_kind(), name_space, job_name(sink, source, id)));
  if (!job) return plain(404, "there is no job of this event");
  auto response = plain(202, "");
  switch (end_of(*job)) {
    case JobEnd::complete:
      response.head.status = 200;
      response.head.fields.set("Reason", "Complete");
      break;
    case JobEnd::failed:
      response.head.status = 400;
      response.head.fields.set("Reason", "Failed");
      break;
    case JobEnd::none:
      response.head.fields.set("Location", location_of(key_of(model::job_sink_kind(), name_space, sink), source, id));
  }
  return response;
}

std::optional<ObjectKey> event_secret_of(World& world, const ObjectKey& job) {
  auto key = key_of(model::secret_kind(), job.name_space, job.name);
  const auto secret = world.objects().find(key);
  if (!secret || !labels_of(*secret).contains(std::string(job_sink_id_label))) return std::nullopt;
  return key;
}

awaitable<void> drop_oldest_jobs(World& world, std::string sink) {
  auto jobs = world.objects().find_by(world.indexes.finished_jobs_by_sink, sink);
  if (jobs.size() <= Jobs::finished_kept_max) co_return;
  std::ranges::sort(jobs, {}, [](const ObjectValue& job) { return version_of(*job); });
  for (std::size_t i = 0; i + Jobs::finished_kept_max < jobs.size(); ++i)
    co_await world.objects().request_removal(key_of(model::job_kind(), *jobs[i]));
}

awaitable<void> drop_jobless_events(World& world) {
  for (const auto& secret : world.objects().list(model::secret_kind().resource())) {
    if (!labels_of(*secret).contains(std::string(job_sink_id_label))) continue;
    if (world.objects().find(key_of(model::job_kind(), namespace_of(*secret), name_of(*secret)))) continue;
    log::info("event of no job dropped", {{"secret", name_of(*secret)}});
    co_await world.objects().remove(key_of(model::secret_kind(), *secret));
  }
}

}  // namespace wick::control
