// From a pod template to what the runner starts: images fetched and unpacked, users resolved, values put in.
#pragma once

#include <string>
#include <vector>

#include "control/process.hpp"
#include "control/reconcilers.hpp"
#include "wick/model/revision.hpp"

namespace wick::control {

/// What a container needs that takes time to get: its image, unpacked, and who it runs as.
struct Fetched {
  image::Image image;
  container::UserIds ids;
  std::string pinned;  // "repo@sha256:…"
};

/// What a fetch needs to know of the revision, whatever the container.
struct FetchedFor {
  const ObjectKey& key;
  const json::object& revision;  // or a pod template with a name
  const model::RevisionSpec& spec;
  Reach reach;
  bool keeps_digest = true;  // in the revision's status, before a byte is fetched
};

/// "hello@sha256:…" of one of its containers, once the revision has been started; "" before.
std::string pinned_image(const json::object& revision, std::string_view container);
std::string container_name(const model::Container& container);
/// The main one first, then those beside it, then the init ones.
std::vector<const model::Container*> all_containers(const model::RevisionSpec& spec);
/// Whatever the reason: the next try may find it mended, by a push, a Secret or a cable.
bool is_fetch_failure(const Error& error);

/// In the order of all_containers(). Errors name the container where there are several.
awaitable<Result<std::vector<Fetched>>> fetch_all(World& world, FetchedFor revision);
/// Its process, with the values of its variables. Waits for nothing.
Result<container::Process> process_for(World& world, const ObjectKey& key, model::Container& wanted,
                                       const Fetched& fetched, const RevisionNames& names, ContainerRole role);
container::Limits limits_for(const model::Container& wanted, const model::Sandbox& sandbox);
/// The containers beside the one that serves; `fetched` has the latter first.
Result<void> add_companions(World& world, const ObjectKey& key, model::Revision& revision,
                            const std::vector<Fetched>& fetched, const RevisionNames& names,
                            container::InstanceSpec& instance);

/// Of a pod template {"metadata", "spec"} that runs by itself: nothing is asked of a port. Errors: unsupported for more
/// than one container that is no init container; those of the fetch (is_fetch_failure), not_found for values that are
/// missing.
awaitable<Result<container::InstanceSpec>> instance_for(World& world, ObjectKey key, json::object pod_template,
                                                        std::uint32_t id_range);

/// The images that Jobs that have not ended, JobSinks and ContainerSources name.
std::vector<std::string> images_of_pods(const store::Objects& objects);

/// The object with a range of user ids of its own (wick.dev/id-range), kept with it. Errors: overloaded.
awaitable<Result<ObjectValue>> with_id_range(World& world, ObjectKey key, ObjectValue object);
std::optional<std::uint32_t> id_range_of(const json::object& object);

}  // namespace wick::control
