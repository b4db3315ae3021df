// The REST surface: Kubernetes-shaped resources over the object table, and Wick's own views under /apis/wick.dev/v1.
// Handlers only write intent and read state; what has to happen, `control` does. Who may call is the socket's business:
// a unix socket that only root, the daemon and the group wick can open.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/metrics.hpp"
#include "wick/container/launcher.hpp"
#include "wick/control/control.hpp"
#include "wick/eventing/eventing.hpp"
#include "wick/http/handler.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/worker.hpp"
#include "wick/serving/serving.hpp"
#include "wick/store/objects.hpp"

namespace wick::api {

/// What GET /apis/wick.dev/v1/info says.
struct Info {
  std::string version;
  std::string listen;
  std::string events_listen;
  std::string domain;
};

/// One line of `wick doctor`.
struct Check {
  enum class Level { ok, warn, fail } level = Level::ok;
  std::string name;
  std::string because;
  std::string hint;
};

struct Doors {
  Executor executor;
  Clock& clock;
  WorkerPool& workers;
  Metrics& metrics;
  store::Objects& objects;
  control::Control& control;
  serving::Serving& serving;
  eventing::Eventing& eventing;
  /// container::RunnerLauncher::logs.
  std::function<std::vector<container::RunnerLauncher::LogFile>(std::string_view owner)> logs;
  std::function<awaitable<std::vector<Check>>()> doctor;
  std::function<bool()> ready;    // for /readyz
  std::filesystem::path uploads;  // S/uploads
  Info info;
};

/// The handler for the API listener. What it needs is copied or referenced: the references of `doors` outlive it.
http::Handler make_api(Doors doors);

/// The one table of Errc and HTTP status.
int http_status(Errc code);

}  // namespace wick::api
