// The control plane: watches the object table and makes the world match it. API handlers only write intent; everything
// that happens because of it happens here, one reconciler a kind.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "wick/base/metrics.hpp"
#include "wick/build/build.hpp"
#include "wick/container/launcher.hpp"
#include "wick/control/build_log.hpp"
#include "wick/eventing/eventing.hpp"
#include "wick/http/client_certificates.hpp"
#include "wick/http/tls.hpp"
#include "wick/image/content_store.hpp"
#include "wick/model/admission.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/worker.hpp"
#include "wick/serving/serving.hpp"
#include "wick/store/objects.hpp"

namespace wick::control {

/// build::Builder::run, as a door: tests put a function of their own in its place.
using RunBuild = std::function<awaitable<std::expected<build::BuiltImage, build::BuildFailure>>(build::BuildRequest,
                                                                                                build::OnProgress)>;
/// container::RunnerLauncher::adopt.
using Adopt = std::function<awaitable<Result<std::vector<container::RunnerLauncher::Adopted>>>()>;

/// imagePullPolicy of a container. Knative resolves a tag whatever it says; a single box has images of its own as well,
/// and is offline now and then.
enum class PullPolicy {
  unset,           // what was built or loaded here is taken as it is; anything else is looked up at its registry
  always,          // looked up at its registry
  if_not_present,  // what is here is taken as it is
  never,
};

/// Images of registries, as doors. Empty ones: an image is here or it is not. `configs` are docker's config.json texts
/// of the revision's imagePullSecrets.
struct RegistryDoors {
  /// The digest of what the name means now: of an image that is here, or at its registry. Errors: not_found and those
  /// of build::resolve_image.
  std::function<awaitable<Result<Digest>>(std::string reference, PullPolicy policy, std::vector<std::string> configs)>
      resolve;
  /// Brings "repo@sha256:…" into the store. Errors: those of build::pull_image.
  std::function<awaitable<Result<void>>(std::string reference, std::vector<std::string> configs)> pull;
};

/// What the Secrets of these names say of registries (kubernetes.io/dockerconfigjson and the older dockercfg). As the
/// kubelet does, one that is missing or another thing is passed over.
std::vector<std::string> docker_configs(const store::Objects& objects, const std::string& name_space,
                                        const std::vector<std::string>& secrets);

/// What the Secret of a repository holds, by the types that Shipwright and Tekton read (ssh-auth, basic-auth); nothing
/// for no name. Errors: not_found, invalid.
Result<build::GitCredentials> git_credentials(const store::Objects& objects, const std::string& name_space,
                                              const std::string& name);

/// What the names of services ask of TLS; every name in lower case.
struct HttpsHosts {
  std::set<std::string, std::less<>> outside;     // all names that clients outside the box use
  std::set<std::string, std::less<>> redirected;  // of these, the ones that answer http with the way to https
  std::map<std::string, http::Certificate, std::less<>> certificates;  // of mappings that bring theirs (spec.tls)
  /// Names of mappings that bring none, each with what its annotation wick.dev/certificate-requested says.
  std::map<std::string, std::string> uncertified;
};

/// All names, those inside the box too, of services that want their clients to show certificates (wick.dev/client-ca),
/// with whose. An error: why nobody can be let in.
using ClientHosts = std::map<std::string, Result<http::ClientAuthorities>, std::less<>>;

/// A certificate that the daemon gets from an authority by itself.
struct IssuedCertificate {
  enum class State { none, pending, ready, failed };  // none: it does not try
  State state = State::none;
  std::string message;  // what happens, or why it failed and what comes next
};

struct ControlOptions {
  std::string domain = "localhost";  // NAME.NAMESPACE.<domain>
  std::string events_address;        // host:port of the broker ingress, for status.address
  std::filesystem::path uploads;     // S/uploads
  std::filesystem::path build_logs;  // S/logs/builds
  std::size_t builds_at_once = 2;
  milliseconds startup_limit{0};  // 0: the revision's progress-deadline
  milliseconds retry_first{100};  // backoff of a reconciler that failed: doubled up to retry_max
  milliseconds retry_max{30'000};
  model::AdmissionPolicy admission{};  // of the Services that builds make
  /// Asked by stop(): whether what Jobs and ContainerSources run ends too. Jobs are then run anew at the next start.
  std::function<bool()> stop_instances{};
};

/// What the reconcilers act on; all of it outlives the Control.
struct Collaborators {
  Executor executor;
  Clock& clock;
  WorkerPool& workers;
  Metrics& metrics;
  store::Objects& objects;
  const image::ContentStore& images;
  container::Runner& runner;
  serving::Serving& serving;
  eventing::Eventing& eventing;
  RunBuild run_build;
  Adopt adopt;  // may be empty: nothing is adopted
  RegistryDoors registries{};
  /// Told with each change of the routes; empty where https is not spoken.
  std::function<void(HttpsHosts)> show_https{};
  /// Told before each change of the routes; may be empty.
  std::function<void(ClientHosts)> show_clients{};
  /// Of a name among `uncertified`; empty where none are got. A change is told with Control::certificate_changed.
  std::function<IssuedCertificate(const std::string& host)> issued_certificate{};
  /// Runs Jobs and the containers of ContainerSources; without one they wait.
  container::Launcher* launcher = nullptr;
};

/// The subject of the events that an instance of `owner` ("namespace/revision") sends: its service account, or the
/// SinkBinding that its service is bound by.
std::string sender_of(const store::Objects& objects, std::string_view owner);

/// What runs beside the Services under this name: a ContainerSource, a Job, or the Jobs of a JobSink. Their logs are
/// those of "namespace/" and each of these; none for a name that is nothing of the kind.
std::vector<std::string> owners_beside_services(const store::Objects& objects, const std::string& name_space,
                                                const std::string& name);
/// True for a ContainerSource, Job or JobSink of this name.
bool runs_beside_services(const store::Objects& objects, const std::string& name_space, const std::string& name);

/// The images that stored revisions run: by digest where that is known, else by name. For a garbage collection.
std::vector<std::string> images_of_revisions(const store::Objects& objects);

class Control {
 public:
  Control(Collaborators collaborators, ControlOptions options);
  /// co_await stop() first.
  ~Control();
  Control(const Control&) = delete;

  /// Returns when the stored state is in force: revisions known to serving, instances of an earlier life adopted,
  /// routes published, triggers set. Then it goes on in the background. Call before the listeners open.
  awaitable<Result<void>> start();
  /// Ends the reconcilers. A build that runs is cancelled and starts again at the next start.
  awaitable<void> stop();

  /// Has the DomainMappings of this name say what issued_certificate() says now. Nothing after stop().
  void certificate_changed(const std::string& host);

  BuildLogs& build_logs();
  /// Creates what is missing: NamespaceAutoProvision, and the default broker of a namespace on its first use.
  awaitable<Result<void>> ensure_namespace(std::string name);
  awaitable<Result<void>> ensure_broker(std::string name_space, std::string name);
  /// What was delivered to a WebhookSource; it is on disk when this returns. Errors: unavailable (its sink is not
  /// there yet), and those of Eventing::emit.
  awaitable<Result<void>> send_from_webhook(store::ObjectKey source, eventing::CloudEvent event);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace wick::control
