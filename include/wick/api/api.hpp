// The REST surface: Kubernetes-shaped resources over the object table, and Wick's own views under /apis/wick.dev/v1.
// Handlers only write intent and read state; what has to happen, `control` does. Whoever can open the unix socket
// (root, the daemon, the group wick) may do everything; on TCP a bearer token says who may do what.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "wick/api/images.hpp"
#include "wick/base/metrics.hpp"
#include "wick/container/launcher.hpp"
#include "wick/control/control.hpp"
#include "wick/eventing/eventing.hpp"
#include "wick/http/handler.hpp"
#include "wick/image/registry_store.hpp"
#include "wick/model/admission.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/worker.hpp"
#include "wick/serving/serving.hpp"
#include "wick/store/database.hpp"
#include "wick/store/objects.hpp"

namespace wick::api {

/// What GET /apis/wick.dev/v1/info says.
struct Info {
  std::string version;
  std::string listen;
  std::string https_listen;  // empty where https is not spoken
  std::string events_listen;
  std::string domain;
  std::string api_listen;     // the TCP listener of this API; empty without one
  std::string api_authority;  // PEM: what signed the API's certificate, and those of names without one
  std::string secret_key;     // fingerprint of the key that every Secret is sealed with; empty without one
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
  store::Database& database;  // opened with migrations() too: tokens and the audit trail
  store::Objects& objects;
  control::Control& control;
  serving::Serving& serving;
  eventing::Eventing& eventing;
  Images& images;
  /// container::RunnerLauncher::logs.
  std::function<std::vector<container::RunnerLauncher::LogFile>(std::string_view owner)> logs;
  std::function<awaitable<std::vector<Check>>()> doctor;
  std::function<bool()> ready;    // for /readyz
  std::filesystem::path uploads;  // S/uploads
  Info info;
  model::AdmissionPolicy admission{};
  /// Keeps the secrets of one build, in memory, and gives the ticket that its BuildRun shows. Errors: overloaded.
  std::function<Result<std::string>(const std::string& name_space, std::map<std::string, std::string> values)>
      keep_build_secrets{};
  image::RegistryStore* registry = nullptr;  // what is pushed to /v2/; nullptr: there is no registry
  std::filesystem::path builders{};          // the files of all builders, for who wants to know what a build would do
  std::string bases{};                       // "auto", "debian" or "registry"
  std::filesystem::path git{};               // S/git: what is pushed with git; empty: nothing is
};

/// What the API keeps in the control database, to be applied after the object table's.
std::vector<std::string_view> migrations();

/// The handler for the API's listeners, TCP and unix. What it needs is copied or referenced: the references of `doors`
/// outlive it. Errors: of the database.
Result<http::Handler> make_api(Doors doors);

/// The one table of Errc and HTTP status.
int http_status(Errc code);

}  // namespace wick::api
