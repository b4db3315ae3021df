// EventTransform (eventing.knative.dev/v1alpha1): JSONata that every event goes through (eventing.md 1.10).
//
// Without a sink the result is the answer: a broker whose trigger sent the event takes it in. With one the result is
// sent on, and the sink's answer is the answer, transformed or without its body where spec.reply says so. An expression
// that gives nothing ends the event there: 202. One that fails answers 422, which no broker tries again: the event goes
// to the dead letters with the reason.
#pragma once

#include "control/world.hpp"

namespace wick::control {

const model::Kind& event_transform_kind();
awaitable<Result<void>> reconcile_event_transform(World& world, ObjectKey key);

}  // namespace wick::control
