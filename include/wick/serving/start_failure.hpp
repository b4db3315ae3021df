// The sentences of a failed start (trust-and-ux.md 2.3): the observed fact and what to do about it. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "wick/container/launcher.hpp"
#include "wick/model/failure.hpp"
#include "wick/serving/revision.hpp"

namespace wick::serving {

/// The process ended before it was ready. `usage` may be empty (the cgroup is gone): then the limit is taken from the
/// spec.
model::Failure ended_early(const container::Exit& exit, const container::Usage& usage, const RevisionSpec& spec,
                           milliseconds elapsed);
/// It listens, but not where requests go.
model::Failure listens_elsewhere(const std::vector<container::Listening>& sockets, const RevisionSpec& spec,
                                 milliseconds elapsed);
/// What the probe that was asked last saw.
struct LastProbe {
  bool startup = false;         // else readiness
  std::optional<int> answered;  // HTTP
  std::string command_failed;   // how the command ended
  std::string grpc_failed;      // what the health check saw
  std::string error;            // nobody listened
};
/// `startup_limit` passed.
model::Failure never_ready(const RevisionSpec& spec, const LastProbe& last, milliseconds elapsed);
model::Failure launch_failed(const Error& error, milliseconds elapsed);
/// An instance that was ready ended by itself.
model::Failure ended_while_serving(const container::Exit& exit, const container::Usage& usage, const RevisionSpec& spec,
                                   milliseconds elapsed);
/// An instance that was ready and does not answer its liveness probe any more.
model::Failure not_alive(const std::string& why, milliseconds elapsed);

/// Whether the port that requests go to is among `sockets`, reachable through the loopback address.
bool listens_on(const std::vector<container::Listening>& sockets, std::uint16_t port);

}  // namespace wick::serving
