// IntegrationSink (sinks.knative.dev/v1alpha1) with spec.log: every event is a line of the daemon's log.
#pragma once

#include "control/world.hpp"

namespace wick::control {

const model::Kind& integration_sink_kind();
awaitable<Result<void>> reconcile_integration_sink(World& world, ObjectKey key);

}  // namespace wick::control
