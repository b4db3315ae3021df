// When an instance may get its first request: asked as often as is useful, and given up for the reason that was seen.
#pragma once

#include <expected>

#include "wick/container/launcher.hpp"
#include "wick/model/failure.hpp"
#include "wick/os/clock.hpp"
#include "wick/serving/revision.hpp"

namespace wick::serving {

/// Waits until `instance` answers its readiness probe. TCP: as soon as it listens (Instance::await_listening); HTTP:
/// GETs, retried from 0.2 ms doubling to 10 ms (50 ms once it has taken 10 s); a command: it listens, as Knative's
/// proxy asks beside it, and the command ends with 0, run again after 100 ms doubling to 1 s; gRPC: the health check's
/// answer, asked as often as HTTP. The value is the connection of the last TCP probe where that may carry requests
/// (empty otherwise): a server that takes one connection at a time never sees a connection without a request. Failure,
/// at once when seen: the instance ended; it listens somewhere else and idles; `startup_limit` since `launched` passed.
/// Cancelling stops asking; the instance is not touched in any case.
awaitable<std::expected<Fd, model::Failure>> await_ready(Clock& clock, container::Instance& instance,
                                                         const RevisionSpec& spec, TimePoint launched);

}  // namespace wick::serving
