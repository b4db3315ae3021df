// Deletion goes down by ownerReferences (Kubernetes' background propagation): the owner is gone at once, what it owned
// follows.
#include <set>

#include "control/reconcilers.hpp"
#include "wick/base/log.hpp"

namespace wick::control {

namespace {

awaitable<void> remove(World& world, ObjectKey key) {
  auto removed = co_await world.objects().remove(key);
  if (!removed && removed.error().code() != Errc::not_found)
    log::warn("not deleted", {{"resource", key.resource}, {"name", key.name}, {"error", removed.error().what()}});
}

}  // namespace

awaitable<void> cascade(World& world, const model::Kind& kind, ObjectValue gone) {
  std::vector<ObjectKey> children;
  const bool whole_namespace = kind.kind == "Namespace";
  const auto uid = uid_of(*gone);
  const auto name_space = whole_namespace ? name_of(*gone) : namespace_of(*gone);
  for (const auto& child_kind : model::kinds()) {
    if (!child_kind.namespaced || !child_kind.stored) continue;
    for (const auto& object : world.objects().list(child_kind.resource(), name_space))
      if (whole_namespace || (!uid.empty() && model::controller_uid(*object) == uid))
        children.push_back(key_of(child_kind, *object));
  }
  for (auto& child : children) co_await remove(world, std::move(child));
}

awaitable<void> collect_orphans(World& world) {
  std::set<std::string> alive;
  for (const auto& kind : model::kinds())
    for (const auto& object : world.objects().list(kind.resource())) alive.insert(uid_of(*object));
  std::vector<ObjectKey> orphans;
  for (const auto& kind : model::kinds())
    for (const auto& object : kind.stored ? world.objects().list(kind.resource()) : std::vector<ObjectValue>())
      if (const auto owner = model::controller_uid(*object); !owner.empty() && !alive.contains(owner))
        orphans.push_back(key_of(kind, *object));
  for (auto& orphan : orphans) co_await remove(world, std::move(orphan));
}

}  // namespace wick::control
