// Kinds that are kept for their users (manifests apply, list and export as on a cluster) and not acted on yet: Ready is
// False and says so, so that nobody waits for events that will not come. Some need no more than to be there: an
// EventType is an entry of a registry, a Build is what BuildRuns refer to.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "control/reconcilers.hpp"

namespace wick::control {

namespace {

constexpr std::array<std::string_view, 3> kept{"EventType", "BuildStrategy", "Build"};

}  // namespace

bool is_kept_only(const model::Kind& kind) { return std::ranges::find(kept, kind.kind) != kept.end(); }

awaitable<Result<void>> reconcile_kept(World& world, const model::Kind& kind, ObjectKey key) {
  const auto object = world.objects().find(key);
  if (!object) co_return Result<void>();
  json::object status;
  model::Conditions conditions("Ready", {"Ready"}, *object, world.now());
  if (kind.kind == "EventType")
    conditions.mark_true("Ready");
  else
    conditions.mark_false("Ready", "NotSupported",
                          fmt::format("This version stores a {} and does not act on it yet.", kind.kind));
  if (kind.kind == "Build") {
    // Shipwright's word for a Build that BuildRuns may name; admission has checked the rest. What is said of its branch
    // (wick.dev/follow) stays.
    if (const auto* before = object->if_contains("status"); before && before->is_object())
      status = before->get_object();
    status["registered"] = "True";
    status["reason"] = "Succeeded";
    status["message"] = "all validations succeeded";
  } else {
    status = {{"observedGeneration", generation_of(*object)}, {"conditions", conditions.to_json()}};
  }
  auto written = co_await world.objects().update_status(std::move(key), std::move(status));
  if (!written && written.error().code() != Errc::not_found) co_return fail(std::move(written.error()));
  co_return Result<void>();
}

}  // namespace wick::control
