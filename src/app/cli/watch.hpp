// Waiting for one object to come to a state, by Kubernetes' watch.
#pragma once

#include <functional>
#include <string>

#include "app/cli/session.hpp"

namespace wick::app::cli {

struct WatchOptions {
  milliseconds limit{10 * 60'000};
  std::function<void(const json::value&)> on_change;  // every state seen, the first included
  std::function<void()> on_tick;
  std::function<bool()> superseded;  // asked at every tick: the wait is for nothing any more
};

/// Of a wait that was given up for something newer.
Problem superseded();

/// Reads `collection`/`name` and follows it until `done` says so; a watch that the daemon ends is begun anew.
/// Errors: not found (also when it is removed meanwhile), timed out past the limit, interrupted (also when superseded).
Outcome<json::value> await_object(Session& session, std::string collection, std::string name,
                                  std::function<bool(const json::value&)> done, WatchOptions options = {});

}  // namespace wick::app::cli
