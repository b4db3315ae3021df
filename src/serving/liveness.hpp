// Whether an instance that serves still answers: Kubernetes' livenessProbe, asked through the instance's own loopback.
#pragma once

#include <functional>
#include <string>

#include "wick/container/launcher.hpp"
#include "wick/os/clock.hpp"
#include "wick/serving/revision.hpp"

namespace wick::serving {

/// Asks every `period` of the liveness probe that `spec` has, and returns, with a sentence, when `failure_threshold`
/// answers in a row were none; never otherwise: cancel it. A command runs as the program does. While `awake` says no
/// (the instance is frozen) nothing is asked and failures are forgotten.
awaitable<std::string> await_unhealthy(Clock& clock, container::Instance& instance, const RevisionSpec& spec,
                                       TimePoint launched, std::function<bool()> awake);

}  // namespace wick::serving
