#include "wick/model/revision.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <set>

#include "model/template_annotations.hpp"
#include "wick/base/text.hpp"
#include "wick/model/image_reference.hpp"
#include "wick/model/ladder.hpp"
#include "wick/model/resource.hpp"

namespace wick::model {

namespace {

// Ports of Knative's queue-proxy: reserved so that a manifest means the same on a cluster.
constexpr std::array<std::int64_t, 6> reserved_ports{8008, 8012, 8013, 8022, 9090, 9091};
constexpr std::int64_t id_max = 2147483647;
constexpr std::int64_t concurrency_max = 1000;
constexpr std::int64_t timeout_seconds_max = 600;
constexpr std::string_view default_message_path = "/dev/termination-log";
constexpr std::size_t grpc_service_bytes_max = 253;
constexpr std::string_view int_max = "2147483647";

void decode_port(ObjectReader port, Container& container) {
  auto& errors = port.errors();
  // Knative reports what is wrong in the one port it looks at without an index.
  const auto at = port.path().substr(0, port.path().rfind('['));
  if (const auto number = port.integer("containerPort")) {
    const auto path = at + ".containerPort";
    if (std::ranges::find(reserved_ports, *number) != reserved_ports.end())
      errors.invalid_value(fmt::format("{} is a reserved port", *number), path,
                           fmt::format("{} is a reserved port, please use a different value", *number));
    else if (*number < 0 || *number > 65535)
      errors.out_of_bounds(std::to_string(*number), "0", "65535", path);
    else if (*number != 0)
      container.port = static_cast<std::uint16_t>(*number);
  }
  if (const auto protocol = port.text("protocol"); !protocol.empty() && protocol != "TCP")
    errors.invalid_value(printable(protocol), at + ".protocol");
  const auto name = port.text("name");
  container.h2c = name == "h2c";
  if (!name.empty() && name != "http1" && name != "h2c")
    errors.add(fmt::format("Port name {} is not allowed", printable(name)), {at},
               "Name must be empty, or one of: 'h2c', 'http1'");
  port.refuse_rest();
}

std::optional<Quantity> decode_quantity(ObjectReader& reader, std::string_view key) {
  const auto* value = reader.value(key);
  if (!value) return std::nullopt;
  // Kubernetes takes 1 and "1".
  const auto text = value->is_string() ? std::string(value->get_string()) : boost::json::serialize(*value);
  auto quantity = parse_quantity(text);
  if (quantity) return *quantity;
  reader.errors().invalid_value(printable(text), reader.path(key), quantity.error().message());
  return std::nullopt;
}

void decode_resources(ObjectReader resources, Container& container) {
  auto limits = resources.object("limits");
  container.memory_limit = decode_quantity(limits, "memory");
  container.cpu_limit = decode_quantity(limits, "cpu");
  limits.refuse_rest();
  // Requests tell a scheduler where there is room. Here there is one place, so they only have to make sense.
  auto requests = resources.object("requests");
  const auto check = [&](std::string_view key, const std::optional<Quantity>& limit) {
    const auto request = decode_quantity(requests, key);
    if (request && limit && request->milli > limit->milli)
      requests.errors().invalid_value(text_at(json::object{{"v", *requests.value(key)}}, {"v"}), requests.path(key),
                                      fmt::format("must be less than or equal to {} limit", key));
  };
  check("memory", container.memory_limit);
  check("cpu", container.cpu_limit);
  requests.refuse_rest();
  resources.refuse_rest();
}

std::optional<std::uint32_t> decode_id(ObjectReader& reader, std::string_view key) {
  const auto id = reader.integer(key);
  if (!id) return std::nullopt;
  if (*id < 0 || *id > id_max) {
    reader.errors().out_of_bounds(std::to_string(*id), "0", int_max, reader.path(key));
    return std::nullopt;
  }
  return static_cast<std::uint32_t>(*id);
}

/// What every instance has anyway may be asked for; what it never has may not.
void decode_security(ObjectReader security, Container& container) {
  auto& errors = security.errors();
  const auto fixed = [&](std::string_view key, bool value) {
    if (const auto asked = security.boolean(key); asked && *asked != value)
      errors.invalid_value(*asked ? "true" : "false", security.path(key), fmt::format("always {} here", value));
  };
  container.run_as_user = decode_id(security, "runAsUser");
  container.run_as_group = decode_id(security, "runAsGroup");
  container.run_as_non_root = security.boolean("runAsNonRoot").value_or(false);
  fixed("allowPrivilegeEscalation", false);
  fixed("privileged", false);
  fixed("readOnlyRootFilesystem", true);
  auto capabilities = security.object("capabilities");
  capabilities.texts("drop");
  capabilities.refuse_rest();
  auto seccomp = security.object("seccompProfile");
  if (const auto type = seccomp.text("type"); !type.empty() && type != "RuntimeDefault")
    errors.invalid_value(printable(type), seccomp.path("type"), "always RuntimeDefault here");
  seccomp.refuse_rest();
  security.refuse_rest();
}

std::uint16_t decode_probe_port(ObjectReader& handler, std::uint16_t serving_port) {
  const auto* value = handler.value("port");
  if (!value) return 0;
  const auto text = value->is_string() ? std::string(value->get_string()) : boost::json::serialize(*value);
  if (text == "0" || text.empty() || text == std::to_string(serving_port) || text == "http1" || text == "user-port")
    return 0;
  handler.errors().invalid_value(printable(text), handler.path("port"), "May only probe containerPort");
  return 0;
}

int decode_at_least(ObjectReader& probe, std::string_view key, std::int64_t low) {
  const auto number = probe.integer(key).value_or(low);
  if (number < low || number > id_max)
    probe.errors().out_of_bounds(std::to_string(number), std::to_string(low), int_max, probe.path(key));
  return static_cast<int>(std::clamp<std::int64_t>(number, low, id_max));
}

/// httpGet, tcpSocket, exec or grpc, into what any probe has.
void decode_handler(ObjectReader& probe, std::uint16_t serving_port, ReadinessProbe& readiness) {
  auto& errors = probe.errors();
  auto http = probe.object("httpGet");
  auto tcp = probe.object("tcpSocket");
  auto exec = probe.object("exec");
  auto grpc = probe.object("grpc");
  std::vector<std::string> given;
  for (const auto handler : {"exec", "grpc", "httpGet", "tcpSocket"})
    if (probe.object(handler).present()) given.push_back(probe.path(handler));
  if (given.size() > 1) errors.add("expected exactly one, got both", std::move(given));
  if (exec.present()) {
    readiness.kind = ReadinessProbe::Kind::exec;
    readiness.command = exec.texts("command");
    if (readiness.command.empty() || readiness.command.front().empty()) errors.missing(exec.path("command"));
    exec.refuse_rest();
  } else if (grpc.present()) {
    readiness.kind = ReadinessProbe::Kind::grpc;
    readiness.path = grpc.text("service");
    if (readiness.path.size() > grpc_service_bytes_max)
      errors.invalid_value(printable(readiness.path), grpc.path("service"),
                           fmt::format("at most {} bytes", grpc_service_bytes_max));
    readiness.port = decode_probe_port(grpc, serving_port);
    grpc.refuse_rest();
  } else if (http.present()) {
    readiness.kind = ReadinessProbe::Kind::http;
    if (const auto path = http.text("path"); !path.empty()) readiness.path = path.starts_with('/') ? path : "/" + path;
    readiness.port = decode_probe_port(http, serving_port);
    if (const auto scheme = http.text("scheme"); !scheme.empty() && scheme != "HTTP")
      errors.invalid_value(printable(scheme), http.path("scheme"), "the probe here is plain HTTP");
    http.refuse_rest();
  } else {
    readiness.port = decode_probe_port(tcp, serving_port);
    tcp.refuse_rest();
  }
}

HealthProbe decode_health(ObjectReader probe, std::uint16_t serving_port) {
  ReadinessProbe handler;
  decode_handler(probe, serving_port, handler);
  HealthProbe health{.kind = handler.kind, .path = std::move(handler.path), .command = std::move(handler.command)};
  const auto at_least = [&](std::string_view key, std::int64_t low, auto otherwise) {
    const bool given = probe.value(key) && probe.integer(key).value_or(0) != 0;
    return given ? decltype(otherwise)(decode_at_least(probe, key, low)) : (decode_at_least(probe, key, 0), otherwise);
  };
  health.initial_delay = at_least("initialDelaySeconds", 0, health.initial_delay);
  health.timeout = at_least("timeoutSeconds", 1, health.timeout);
  health.period = at_least("periodSeconds", 1, health.period);
  health.failure_threshold = at_least("failureThreshold", 1, health.failure_threshold);
  if (const auto successes = probe.integer("successThreshold").value_or(1); successes != 1 && successes != 0)
    probe.errors().out_of_bounds(std::to_string(successes), "1", "1", probe.path("successThreshold"));
  probe.refuse_rest();
  return health;
}

ReadinessProbe decode_readiness(ObjectReader probe, std::uint16_t serving_port) {
  auto& errors = probe.errors();
  ReadinessProbe readiness;
  decode_handler(probe, serving_port, readiness);
  readiness.success_threshold = decode_at_least(probe, "successThreshold", 1);
  readiness.period = seconds(decode_at_least(probe, "periodSeconds", 0));
  const auto failures = probe.integer("failureThreshold").value_or(0);
  const auto timeout = probe.integer("timeoutSeconds").value_or(0);
  if (readiness.period == 0s) {
    if (failures != 0)
      errors.add("failureThreshold is disallowed when periodSeconds is zero", {probe.path("failureThreshold")});
    if (timeout != 0)
      errors.add("timeoutSeconds is disallowed when periodSeconds is zero", {probe.path("timeoutSeconds")});
  } else {
    decode_at_least(probe, "failureThreshold", 1);
    readiness.timeout = seconds(decode_at_least(probe, "timeoutSeconds", 1));
  }
  if (const auto delay = probe.integer("initialDelaySeconds").value_or(0); delay != 0)
    errors.not_allowed(probe.path("initialDelaySeconds"));
  probe.refuse_rest();
  return readiness;
}

/// The file is there for who asks for it in one of the two fields: it costs a start a mount.
void decode_termination_message(ObjectReader& reader, Container& container) {
  auto& errors = reader.errors();
  const auto path = reader.text("terminationMessagePath");
  const auto policy = reader.text("terminationMessagePolicy");
  if (policy == "File")
    container.message_fallback = Container::MessageFallback::none;
  else if (!policy.empty() && policy != "FallbackToLogsOnError")
    errors.invalid_value(printable(policy), reader.path("terminationMessagePolicy"), "File or FallbackToLogsOnError");
  if (path.empty() && policy.empty()) return;
  container.termination_message_path = path.empty() ? default_message_path : path;
  const auto parts = split(container.termination_message_path, '/');
  const bool plain = parts.size() >= 2 && parts[0].empty() && container.termination_message_path.size() <= 1024 &&
                     std::ranges::none_of(parts.begin() + 1, parts.end(), [](std::string_view part) {
                       return part.empty() || part == "." || part == ".." || part.find('\0') != part.npos;
                     });
  if (!plain)
    errors.invalid_value(printable(path), reader.path("terminationMessagePath"), "an absolute path without '..'");
  else if (parts[1] == "proc" || parts[1] == "sys" || parts[1] == ".wick")
    errors.invalid_value(printable(path), reader.path("terminationMessagePath"),
                         fmt::format("nothing can be mounted on or below /{}", parts[1]));
}

enum class Role { serving, beside, init };

/// Knative without multi-container-probing: an empty probe is one that asks nothing.
void refuse_probe(ObjectReader probe) {
  for (const auto field : {"exec", "failureThreshold", "grpc", "httpGet", "initialDelaySeconds", "periodSeconds",
                           "successThreshold", "tcpSocket", "terminationGracePeriodSeconds", "timeoutSeconds"})
    if (const auto* value = probe.value(field); value && !value->is_null())
      probe.errors().not_allowed(probe.path(field));
  probe.refuse_rest();
}

void decode_probes(ObjectReader& reader, Role role, Container& container) {
  if (role == Role::init) {
    for (const auto field : {"livenessProbe", "readinessProbe", "startupProbe", "ports"})
      if (const auto* value = reader.value(field); value && !value->is_null())
        reader.errors().add("field not allowed in an init container", {reader.path(field)});
    return;
  }
  if (role == Role::beside) {
    for (const auto field : {"livenessProbe", "readinessProbe", "startupProbe"})
      if (auto probe = reader.object(field); probe.present()) refuse_probe(std::move(probe));
    return;
  }
  if (auto probe = reader.object("readinessProbe"); probe.present())
    container.readiness = decode_readiness(std::move(probe), container.port);
  if (auto probe = reader.object("livenessProbe"); probe.present())
    container.liveness = decode_health(std::move(probe), container.port);
  if (auto probe = reader.object("startupProbe"); probe.present())
    container.startup = decode_health(std::move(probe), container.port);
}

Container decode_container(ObjectReader reader, const std::vector<Volume>& volumes, Role role) {
  auto& errors = reader.errors();
  Container container;
  container.name = reader.text("name");
  if (container.name == "queue-proxy")
    errors.add("\"queue-proxy\" is a reserved container name", {reader.path("name")});
  container.image = reader.text("image");
  if (container.image.empty())
    errors.missing(reader.path("image"));
  else if (!is_image_reference(container.image))
    errors.invalid_value(printable(container.image), reader.path("image"), image_reference_complaint(container.image));
  container.command = reader.texts("command");
  container.args = reader.texts("args");
  container.working_folder = reader.text("workingDir");
  if (!container.working_folder.empty() && !container.working_folder.starts_with('/'))
    errors.invalid_value(printable(container.working_folder), reader.path("workingDir"), "an absolute path");
  container.environment =
      decode_environment(reader, role == Role::serving ? PortVariable::reserved : PortVariable::allowed);
  container.environment_sources = decode_environment_sources(reader);
  container.volume_mounts = decode_volume_mounts(reader, volumes);
  if (role == Role::serving)
    if (auto ports = reader.objects("ports"); !ports.empty()) decode_port(std::move(ports.front()), container);
  decode_resources(reader.object("resources"), container);
  decode_security(reader.object("securityContext"), container);
  decode_probes(reader, role, container);
  // What it does is control's to know (control.hpp, PullPolicy).
  if (const auto policy = reader.text("imagePullPolicy");
      !policy.empty() && policy != "Always" && policy != "IfNotPresent" && policy != "Never")
    errors.invalid_value(printable(policy), reader.path("imagePullPolicy"));
  decode_termination_message(reader, container);
  reader.refuse_rest();
  return container;
}

/// The containers of a spec, each in its role: among several the one with the port serves.
void decode_containers(ObjectReader& reader, RevisionSpec& spec) {
  auto& errors = reader.errors();
  auto containers = reader.objects("containers");
  auto init = reader.objects("initContainers");
  if (containers.empty()) return errors.missing(reader.path("containers"));
  if (containers.size() + init.size() > containers_max)
    errors.add(
        fmt::format("at most {} containers run together, found {}", containers_max, containers.size() + init.size()),
        {reader.path("containers")});
  std::size_t ports = 0;
  for (std::size_t i = 0; i < containers.size(); ++i)
    if (const auto own = containers[i].objects("ports").size(); own > 0) {
      if (ports == 0) spec.container_at = i;
      ports += own;
    }
  const auto all = reader.path("containers") + "[*].ports";
  if (ports > 1)
    errors.add("more than one container port is set", {all}, "Only a single port is allowed across all containers");
  if (ports == 0 && containers.size() > 1) errors.missing(all);
  for (std::size_t i = 0; i < containers.size(); ++i) {
    // Of two with a port, which is refused, each is looked at as one that serves.
    const bool serves = i == spec.container_at || !containers[i].objects("ports").empty();
    auto container = decode_container(std::move(containers[i]), spec.volumes, serves ? Role::serving : Role::beside);
    if (i == spec.container_at)
      spec.container = std::move(container);
    else
      spec.beside.push_back(std::move(container));
  }
  for (auto& one : init) spec.init.push_back(decode_container(std::move(one), spec.volumes, Role::init));

  std::set<std::string> names{spec.container.name};
  const auto add_name = [&](const Container& container, std::string_view list, std::size_t at) {
    if (!container.name.empty() && !names.insert(container.name).second)
      errors.add(fmt::format("duplicate container name \"{}\"", container.name),
                 {fmt::format("{}[{}].name", reader.path(list), at)});
    if (!container.name.empty() && !is_dns_label(container.name))
      errors.invalid_value(printable(container.name), fmt::format("{}[{}].name", reader.path(list), at),
                           "a lower case RFC 1123 label");
  };
  for (std::size_t i = 0; i < spec.beside.size(); ++i)
    add_name(spec.beside[i], "containers", i < spec.container_at ? i : i + 1);
  for (std::size_t i = 0; i < spec.init.size(); ++i) add_name(spec.init[i], "initContainers", i);
}

std::vector<VolumeMount> all_mounts(const RevisionSpec& spec) {
  auto mounts = spec.container.volume_mounts;
  for (const auto* list : {&spec.beside, &spec.init})
    for (const auto& container : *list)
      mounts.insert(mounts.end(), container.volume_mounts.begin(), container.volume_mounts.end());
  return mounts;
}

}  // namespace

RevisionSpec decode_revision_spec(ObjectReader reader) {
  auto& errors = reader.errors();
  RevisionSpec spec;
  spec.volumes = decode_volumes(reader);
  decode_containers(reader, spec);
  check_all_mounted(reader, spec.volumes, all_mounts(spec));

  const auto concurrency = reader.integer("containerConcurrency").value_or(0);
  if (concurrency < 0 || concurrency > concurrency_max)
    errors.out_of_bounds(std::to_string(concurrency), "0", std::to_string(concurrency_max),
                         reader.path("containerConcurrency"));
  else
    spec.container_concurrency = static_cast<int>(concurrency);
  const auto timeout = reader.integer("timeoutSeconds").value_or(0);
  if (timeout < 0 || timeout > timeout_seconds_max)
    errors.out_of_bounds(std::to_string(timeout), "0", std::to_string(timeout_seconds_max),
                         reader.path("timeoutSeconds"));
  else if (timeout > 0)
    spec.timeout = seconds(timeout);
  spec.service_account = reader.text("serviceAccountName");
  if (!spec.service_account.empty() && !is_dns_subdomain(spec.service_account))
    errors.invalid_value(printable(spec.service_account), reader.path("serviceAccountName"));
  for (auto& secret : reader.objects("imagePullSecrets")) {
    auto name = secret.text("name");
    if (name.empty()) errors.missing(secret.path("name"));
    spec.image_pull_secrets.push_back(std::move(name));
    secret.refuse_rest();
  }
  const auto limit = [&](std::string_view key) {
    const auto given = reader.integer(key).value_or(0);
    if (given < 0 || given > timeout_seconds_max)
      errors.out_of_bounds(std::to_string(given), "0", std::to_string(timeout_seconds_max), reader.path(key));
    return seconds(std::clamp<std::int64_t>(given, 0, timeout_seconds_max));
  };
  spec.response_start_timeout = limit("responseStartTimeoutSeconds");
  spec.idle_timeout = limit("idleTimeoutSeconds");
  spec.runtime_class = reader.text("runtimeClassName");
  if (!spec.runtime_class.empty() && (!is_dns_label(spec.runtime_class) || spec.runtime_class.size() > 28))
    errors.invalid_value(printable(spec.runtime_class), reader.path("runtimeClassName"),
                         "a name of 1 to 28 of [a-z0-9-]");
  if (reader.boolean("enableServiceLinks").value_or(false))
    errors.invalid_value("true", reader.path("enableServiceLinks"));
  if (reader.boolean("automountServiceAccountToken").value_or(false))
    errors.not_allowed(reader.path("automountServiceAccountToken"));
  reader.refuse_rest();
  return spec;
}

RevisionTemplate decode_revision_template(ObjectReader reader, const Metadata& parent) {
  auto& errors = reader.errors();
  RevisionTemplate revision{.metadata = decode_metadata(reader.object("metadata"))};
  revision.spec = decode_revision_spec(reader.object("spec"));
  const auto annotations = reader.path("metadata.annotations");
  revision.autoscaling = decode_autoscaling(revision.metadata.annotations, annotations, errors);
  revision.sandbox = decode_sandbox(revision.metadata, annotations, errors);
  if (const auto deadline = check_template_annotations(revision.metadata.annotations, annotations, errors))
    revision.progress_deadline = *deadline;
  (void)decode_ladder(revision.metadata.annotations, annotations, errors);  // read where it is used, checked here
  if (const auto& name = revision.metadata.name; !name.empty()) {
    const auto path = reader.path("metadata.name");
    if (const auto complaint = dns1035_complaint(name); !complaint.empty())
      errors.invalid_value(fmt::format("not a DNS 1035 label: [{}]", complaint), path);
    else if (parent.name.empty())
      errors.not_allowed(path);
    else if (!name.starts_with(parent.name + "-"))
      errors.invalid_value(fmt::format("\"{}\" must have prefix \"{}-\"", name, parent.name), path);
  }
  reader.refuse_rest();
  return revision;
}

namespace {

/// Names what has none: "user-container" where there is one of them, else user-container-0, -1, … past those taken.
void default_names(json::object& spec, std::string_view key, std::string_view base) {
  auto* list = spec.contains(key) ? spec[key].if_array() : nullptr;
  if (!list) return;
  std::set<std::string> taken;
  for (const auto& element : *list)
    if (element.is_object()) taken.insert(text_at(element.get_object(), {"name"}));
  std::size_t next = 0;
  for (auto& element : *list) {
    auto* container = element.if_object();
    if (!container || !text_at(*container, {"name"}).empty() ||
        (container->contains("name") && !container->at("name").is_string() && !container->at("name").is_null()))
      continue;
    auto name = std::string(base);
    if (list->size() > 1) do
        name = fmt::format("{}-{}", base, next++);
      while (taken.contains(name));
    (*container)["name"] = name;
  }
}

}  // namespace

void default_revision_spec(json::object& spec) {
  const auto absent = [](const json::object& object, std::string_view key) {
    const auto* value = object.if_contains(key);
    return !value || value->is_null();
  };
  if (absent(spec, "containerConcurrency")) spec["containerConcurrency"] = 0;
  if (absent(spec, "timeoutSeconds") || spec["timeoutSeconds"] == 0) spec["timeoutSeconds"] = 300;
  if (absent(spec, "enableServiceLinks")) spec["enableServiceLinks"] = false;
  default_volume_mounts(spec);
  default_names(spec, "containers", "user-container");
  default_names(spec, "initContainers", "init-container");
  auto* containers = spec.contains("containers") ? spec["containers"].if_array() : nullptr;
  if (!containers) {
    if (find_value(spec, {"containers"}) == nullptr) spec.erase("containers");
    return;
  }
  for (auto& element : *containers) {
    auto* container = element.if_object();
    if (!container) continue;
    if (absent(*container, "resources")) (*container)["resources"].emplace_object();
    // Of several the one that has the port is probed.
    const auto* ports = container->if_contains("ports");
    if (containers->size() > 1 && (!ports || !ports->is_array() || ports->get_array().empty())) continue;
    auto& value = (*container)["readinessProbe"];
    if (value.is_null()) value.emplace_object();
    auto* probe = value.if_object();
    if (!probe) continue;
    if (absent(*probe, "httpGet") && absent(*probe, "tcpSocket") && absent(*probe, "exec") && absent(*probe, "grpc"))
      (*probe)["tcpSocket"] = {{"port", 0}};
    if (absent(*probe, "successThreshold") || (*probe)["successThreshold"] == 0) (*probe)["successThreshold"] = 1;
    if (!absent(*probe, "periodSeconds") && (*probe)["periodSeconds"] != 0) {
      if (absent(*probe, "timeoutSeconds") || (*probe)["timeoutSeconds"] == 0) (*probe)["timeoutSeconds"] = 1;
      if (absent(*probe, "failureThreshold") || (*probe)["failureThreshold"] == 0) (*probe)["failureThreshold"] = 3;
    }
  }
}

Revision decode_revision(const json::object& object, FieldErrors& errors) {
  ObjectReader root(object, errors);
  Revision revision{.metadata = decode_metadata(root.object("metadata")),
                    .spec = decode_revision_spec(root.object("spec"))};
  revision.autoscaling = decode_autoscaling(revision.metadata.annotations, "metadata.annotations", errors);
  revision.sandbox = decode_sandbox(revision.metadata, "metadata.annotations", errors);
  if (const auto deadline = parse_go_duration(revision.metadata.annotation(names::progress_deadline));
      deadline && *deadline > 0s)
    revision.progress_deadline = std::chrono::duration_cast<seconds>(*deadline);
  return revision;
}

}  // namespace wick::model
