// Kinds that are kept for their users (manifests apply, list and export as on a cluster) and not acted on yet: Ready is
// False and says so, so that nobody waits for events that will not come.
#include <fmt/format.h>

#include <array>

#include "control/reconcilers.hpp"

namespace wick::control {

namespace {

constexpr std::array<std::string_view, 9> kept{"Channel",     "InMemoryChannel", "Subscription",
                                               "Sequence",    "Parallel",        "PingSource",
                                               "SinkBinding", "ApiServerSource", "ContainerSource"};

}  // namespace

bool is_kept_only(const model::Kind& kind) {
  return std::ranges::find(kept, kind.kind) != kept.end() || kind.kind == "JobSink" || kind.kind == "EventType";
}

awaitable<Result<void>> reconcile_kept(World& world, const model::Kind& kind, ObjectKey key) {
  const auto object = world.objects().find(key);
  if (!object) co_return Result<void>();
  model::Conditions conditions("Ready", {"Ready"}, *object, world.now());
  if (kind.kind == "EventType")
    conditions.mark_true("Ready");  // a registry entry does nothing but be there
  else
    conditions.mark_false("Ready", "NotSupported",
                          fmt::format("This version stores a {} and does not act on it yet.", kind.kind));
  json::object status{{"observedGeneration", generation_of(*object)}, {"conditions", conditions.to_json()}};
  auto written = co_await world.objects().update_status(std::move(key), std::move(status));
  if (!written && written.error().code() != Errc::not_found) co_return fail(std::move(written.error()));
  co_return Result<void>();
}

}  // namespace wick::control
