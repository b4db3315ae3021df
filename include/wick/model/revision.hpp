// RevisionTemplate: what a revision runs. The subset of PodSpec this build runs; any other field is refused by name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "wick/model/autoscaling.hpp"
#include "wick/model/environment.hpp"
#include "wick/model/metadata.hpp"
#include "wick/model/quantity.hpp"
#include "wick/model/sandbox.hpp"
#include "wick/model/volume.hpp"

namespace wick::model {

inline constexpr std::uint16_t default_port = 8080;

struct ReadinessProbe {
  enum class Kind { tcp, http, exec, grpc } kind = Kind::tcp;
  std::string path = "/";            // http; of grpc, the service asked about
  std::vector<std::string> command;  // exec
  std::uint16_t port = 0;            // 0: the serving port
  seconds timeout{0};                // 0 with period 0: Knative's aggressive probing
  seconds period{0};
  int success_threshold = 1;
};

/// livenessProbe, and startupProbe: given up after `failure_threshold` failures in a row.
struct HealthProbe {
  ReadinessProbe::Kind kind = ReadinessProbe::Kind::tcp;
  std::string path = "/";
  std::vector<std::string> command;
  seconds initial_delay{0};
  seconds timeout{1};
  seconds period{10};
  int failure_threshold = 3;
};

struct Container {
  std::string name;
  std::string image;
  std::vector<std::string> command;
  std::vector<std::string> args;
  std::string working_folder;
  std::vector<EnvironmentVariable> environment;
  std::vector<EnvironmentSource> environment_sources;  // envFrom; `environment` wins
  std::uint16_t port = default_port;
  bool h2c = false;  // the port's name: it speaks HTTP/2 in clear
  std::optional<Quantity> memory_limit;
  std::optional<Quantity> cpu_limit;
  std::optional<ReadinessProbe> readiness;
  std::optional<HealthProbe> liveness;
  std::optional<HealthProbe> startup;
  std::optional<std::uint32_t> run_as_user;
  std::optional<std::uint32_t> run_as_group;
  bool run_as_non_root = false;
  std::vector<VolumeMount> volume_mounts;
  std::string termination_message_path;  // empty: no file is kept for it
  enum class MessageFallback { logs, none } message_fallback = MessageFallback::logs;
};

inline constexpr std::size_t containers_max = 16;  // of a revision, init containers included

struct RevisionSpec {
  Container container;  // the one that serves: with several the one that has the port
  std::vector<Container> beside;
  std::size_t container_at = 0;  // its place among all
  std::vector<Container> init;
  bool has_several() const { return !beside.empty() || !init.empty(); }
  std::vector<Volume> volumes;
  std::string service_account;
  std::vector<std::string> image_pull_secrets;
  int container_concurrency = 0;
  seconds timeout{300};
  seconds response_start_timeout{0};  // 0: as `timeout`
  seconds idle_timeout{0};            // 0: none
  std::string runtime_class;          // runtimeClassName; empty: the default
};

struct RevisionTemplate {
  Metadata metadata;
  RevisionSpec spec;
  Autoscaling autoscaling;
  Sandbox sandbox;
  seconds progress_deadline{600};
};

/// `reader` stands on the spec of a template or of a Revision.
RevisionSpec decode_revision_spec(ObjectReader reader);
/// `parent` names the Service or Configuration: a name brought along must start with it.
RevisionTemplate decode_revision_template(ObjectReader reader, const Metadata& parent);

/// Fills what Knative's config-defaults fill, in place. `spec` is that of a template or of a Revision.
void default_revision_spec(json::object& spec);

struct Revision {
  Metadata metadata;
  RevisionSpec spec;
  Autoscaling autoscaling;
  Sandbox sandbox;
  seconds progress_deadline{600};
};
Revision decode_revision(const json::object& object, FieldErrors& errors);

}  // namespace wick::model
