// Deletion goes down by ownerReferences. In the background the owner is gone at once and what it owned follows; in the
// foreground the owner stays, with the finalizer foregroundDeletion, until what it owned is gone (Kubernetes garbage
// collection).
#include <set>

#include "control/reconcilers.hpp"
#include "wick/base/log.hpp"

namespace wick::control {

namespace {

constexpr const char* foreground = "foregroundDeletion";

std::vector<ObjectKey> children_of(World& world, const json::object& owner) {
  return world.objects().keys_by(world.indexes.by_controller, uid_of(owner));
}

std::vector<ObjectKey> keys_in(World& world, const std::string& name_space) {
  std::vector<ObjectKey> keys;
  for (const auto& kind : model::kinds())
    if (kind.namespaced && kind.stored)
      for (const auto& object : world.objects().list(kind.resource(), name_space))
        keys.push_back(key_of(kind, *object));
  return keys;
}

}  // namespace

awaitable<void> remove_owned(World& world, ObjectKey key) {
  auto removed = co_await world.objects().request_removal(key);
  if (!removed && removed.error().code() != Errc::not_found)
    log::warn("not deleted", {{"resource", key.resource}, {"name", key.name}, {"error", removed.error().what()}});
}

awaitable<void> cascade(World& world, const model::Kind& kind, ObjectValue gone) {
  auto children = kind.kind == "Namespace" ? keys_in(world, name_of(*gone)) : children_of(world, *gone);
  for (auto& child : children) co_await remove_owned(world, std::move(child));
}

bool is_being_deleted(const json::object& object) {
  return model::find_value(object, {"metadata", "deletionTimestamp"}) != nullptr;
}

awaitable<Result<void>> go_on_deleting(World& world, ObjectKey key, ObjectValue object) {
  const auto* finalizers = model::find_value(*object, {"metadata", "finalizers"});
  json::array left;
  bool waits_for_children = false;
  if (finalizers && finalizers->is_array())
    for (const auto& finalizer : finalizers->get_array())
      finalizer == foreground ? (void)(waits_for_children = true) : left.push_back(finalizer);
  if (!waits_for_children) co_return Result<void>();
  const auto children = children_of(world, *object);
  for (const auto& child : children) {
    auto removed = co_await world.objects().request_removal(child, {}, {std::string(foreground)});
    if (!removed && removed.error().code() != Errc::not_found) co_return fail(std::move(removed.error()));
  }
  // The last child's end brings us here again.
  if (!children.empty() && !children_of(world, *object).empty()) co_return Result<void>();
  auto next = *object;
  model::object_at(next, {"metadata"})["finalizers"] = std::move(left);
  auto updated = co_await world.objects().update(std::move(key), std::move(next), version_of(*object));
  if (!updated && updated.error().code() != Errc::not_found) co_return fail(std::move(updated.error()));
  co_return Result<void>();
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
  for (auto& orphan : orphans) co_await remove_owned(world, std::move(orphan));
}

}  // namespace wick::control
