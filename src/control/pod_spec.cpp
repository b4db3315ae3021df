#include "control/pod_spec.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "control/values.hpp"
#include "wick/base/text.hpp"
#include "wick/model/image_reference.hpp"

namespace wick::control {

namespace {

using model::Truth;

/// "hello" may be stored as "hello:latest", and a name pinned to a digest may have moved on: the digest is what counts.
Result<image::Image> find_image(const image::ContentStore& images, const model::ImageReference& wanted,
                                const std::string& text) {
  if (!wanted.digest.empty()) return images.image(wanted.digest);
  auto found = images.image(std::string_view(text));
  if (!found && found.error().code() == Errc::not_found && wanted.tag.empty())
    return images.image(std::string_view(text + ":latest"));
  return found;
}

constexpr std::string_view unable_to_fetch = "Unable to fetch image";

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
  if (revision.keeps_digest && pinned_image(revision.revision, container_name(wanted)) != name) {
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

}  // namespace

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

/// Whatever the reason: the next try may find it mended, by a push, a Secret or a cable.
bool is_fetch_failure(const Error& error) { return error.what().starts_with(unable_to_fetch); }

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
std::vector<std::string> images_of_pods(const store::Objects& objects) {
  std::vector<std::string> images;
  const auto add = [&](const model::Kind& kind, std::initializer_list<std::string_view> where) {
    for (const auto& object : objects.list(kind.resource())) {
      const auto* spec = model::find_value(*object, where);
      if (!spec || !spec->is_object() || model::find_value(*object, {"status", "completionTime"})) continue;
      for (const auto list : {"containers", "initContainers"})
        if (const auto* containers = model::find_value(spec->get_object(), {list});
            containers && containers->is_array())
          for (const auto& container : containers->get_array())
            if (container.is_object()) images.push_back(model::text_at(container.get_object(), {"image"}));
    }
  };
  add(model::job_kind(), {"spec", "template", "spec"});
  add(model::job_sink_kind(), {"spec", "job", "spec", "template", "spec"});
  add(model::container_source_kind(), {"spec", "template", "spec"});
  return images;
}

awaitable<Result<container::InstanceSpec>> instance_for(World& world, ObjectKey key, json::object pod_template,
                                                        std::uint32_t id_range) {
  auto& metadata = model::object_at(pod_template, {"metadata"});
  metadata["name"] = key.name;
  metadata["namespace"] = key.name_space;
  model::FieldErrors ignored;
  auto revision = model::decode_revision(pod_template, ignored);
  if (!revision.spec.beside.empty())
    co_return fail(Errc::unsupported, "one container beside another is run in Services only",
                   "one element in containers; initContainers may have more");
  const FetchedFor fetched_for{
      .key = key, .revision = pod_template, .spec = revision.spec, .reach = Reach::registries, .keeps_digest = false};
  auto fetched = co_await fetch_all(world, fetched_for);
  if (!fetched) co_return fail(std::move(fetched.error()));
  auto& wanted = revision.spec.container;
  const auto& main = fetched->front();
  const RevisionNames nothing;
  auto process = process_for(world, key, wanted, main, nothing, ContainerRole::init);
  if (!process) co_return fail(std::move(process.error()));
  const auto limits = limits_for(wanted, revision.sandbox);
  auto volumes = resolve_volumes(world.objects(), key.name_space, revision.spec, limits.memory_bytes);
  if (!volumes) co_return fail(std::move(volumes.error()));
  container::InstanceSpec instance{.id_range = id_range,
                                   .layers = main.image.config.diff_ids,
                                   .process = std::move(*process),
                                   .limits = limits,
                                   .egress = revision.sandbox.egress,
                                   .runtime = revision.spec.runtime_class,
                                   .allow_root = main.ids.uid == 0,
                                   .volumes = std::move(*volumes),
                                   .volume_mounts = mounts_of(revision.spec.volumes, wanted),
                                   .message_path = wanted.termination_message_path};
  if (revision.spec.has_several()) {
    instance.name = container_name(wanted);
    if (auto added = add_companions(world, key, revision, *fetched, nothing, instance); !added)
      co_return fail(std::move(added.error()));
  }
  co_return instance;
}

}  // namespace wick::control
