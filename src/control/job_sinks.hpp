// JobSink (sinks.knative.dev/v1alpha1): a Job for every event (knative/eventing cmd/jobsink; eventing.md 1.8).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "control/world.hpp"
#include "wick/http/message.hpp"

namespace wick::control {

inline constexpr std::string_view job_sink_name_label = "sinks.knative.dev/job-sink-name";
inline constexpr std::string_view job_sink_id_label = "sinks.knative.dev/job-sink-id";
/// On a JobSink, and on its Jobs: how many run at once.
inline constexpr std::string_view max_in_flight_annotation = "wick.dev/max-in-flight";

awaitable<Result<void>> reconcile_job_sink(World& world, ObjectKey key);
/// GET /namespaces/NS/name/NAME/sources/SOURCE/ids/ID: where the Job of an event is.
http::Response job_status(World& world, const std::string& target);
/// "NAME-" and the MD5 of source and id: one Job for each event.
std::string job_name(const std::string& sink, const std::string& source, const std::string& id);

/// The Secret with the event of a Job that is gone; nullopt where there is none.
std::optional<ObjectKey> event_secret_of(World& world, const ObjectKey& job);
/// Keeps Jobs::finished_kept_max ended ones of a sink: "namespace/name".
awaitable<void> drop_oldest_jobs(World& world, std::string sink);
/// At the start: events whose Job was never made. Who sent them was not told that they were taken.
awaitable<void> drop_jobless_events(World& world);

}  // namespace wick::control
