// sources.knative.dev and sinks.knative.dev: kept, checked and defaulted (eventing.md 1.1, 1.7, 1.8).
#include <fmt/format.h>

#include <boost/json/parse.hpp>

#include "model/immutable.hpp"
#include "model/kinds.hpp"
#include "model/schema.hpp"
#include "wick/base/text.hpp"
#include "wick/model/cron.hpp"
#include "wick/model/metadata.hpp"

namespace wick::model {

namespace {

constexpr std::string_view sources = "sources.knative.dev";

json::object ping_source_schema() {
  return resource_outline(join_outlines({R"(
spec
  schedule                   | Cron: five fields, or six with seconds first, or @hourly and the like.
  timezone                   | An IANA name; UTC where none is given.
  contentType
  data
  dataBase64
)",
                                         sink_lines, source_status_lines}),
                          "Sends an event on a schedule.");
}

json::object container_source_schema() {
  return resource_outline(join_outlines({R"(
spec
  template                   | What runs; it finds the sink in K_SINK.
    metadata @metadata
    spec
      containers[] @container
      initContainers[] @container
      volumes[] @volume
      restartPolicy
      serviceAccountName
      runtimeClassName
      enableServiceLinks bool
      automountServiceAccountToken bool
      imagePullSecrets[]
        name
)",
                                         sink_lines, source_status_lines, "\n  instance\n  restarts int\n"}),
                          "Runs a container that sends events.");
}

json::object sink_binding_schema() {
  return resource_outline(join_outlines({R"(
spec
  subject                    | The workloads that get K_SINK.
    apiVersion
    kind
    name
    namespace
    selector
      matchLabels map
      matchExpressions any
)",
                                         sink_lines, source_status_lines}),
                          "Tells a workload where its events go.");
}

json::object api_server_source_schema() {
  return resource_outline(join_outlines({R"(
spec
  resources[]                | What to watch.
    apiVersion
    kind
    selector
      matchLabels map
      matchExpressions any
  owner
    apiVersion
    kind
  mode                       | Reference or Resource.
  serviceAccountName
  namespaceSelector any
  filters any
  skipPermissions any
)",
                                         sink_lines, source_status_lines, "\n  namespaces[]\n"}),
                          "Turns changes of objects into events.");
}

json::object job_sink_schema() {
  return resource_outline(R"(
spec
  job any                    | A batch/v1 Job to run for every event.
status
  @conditions
  job
    selector
  address @address
  policies any
)",
                          "Runs a job for every event.");
}

json::object integration_sink_schema() {
  return resource_outline(R"(
spec
  log                        | Every event is a line of the daemon's log.
    loggerName               | What the line begins with; log-sink where none is given.
    level                    | INFO, WARN or ERROR.
    showBody bool            | The data; true where nothing is said.
    showHeaders bool         | All attributes.
status
  @conditions
  address @address
  policies any
)",
                          "Writes events to a log.");
}

std::string namespace_of(const json::object& object) { return text_at(object, {"metadata", "namespace"}); }

void fill_namespace(json::object& object, std::initializer_list<std::string_view> keys) {
  if (!find_value(object, keys)) return;
  if (auto* reference = object_if(object, keys))
    if (auto& name_space = (*reference)["namespace"]; name_space.is_null() || name_space == "")
      name_space = namespace_of(object);
}

void default_ping_source(json::object& object) {
  default_sink(object);
  if (auto* spec = object_if(object, {"spec"}))
    if (auto& schedule = (*spec)["schedule"]; schedule.is_null() || schedule == "") schedule = "* * * * *";
}

void default_sink_binding(json::object& object) {
  default_sink(object);
  fill_namespace(object, {"spec", "subject"});
}

void default_api_server_source(json::object& object) {
  default_sink(object);
  auto* spec = object_if(object, {"spec"});
  if (!spec) return;
  if (auto& mode = (*spec)["mode"]; mode.is_null() || mode == "") mode = "Reference";
  if (auto& account = (*spec)["serviceAccountName"]; account.is_null() || account == "") account = "default";
}

ObjectReader begin(ObjectReader& root, Metadata& metadata) {
  metadata = decode_metadata(root.object("metadata"));
  check_name_dns1123(metadata, root.errors());
  return root.object("spec");
}

void check_data(ObjectReader& spec) {
  auto& errors = spec.errors();
  const auto data = spec.text("data"), encoded = spec.text("dataBase64"), type = spec.text("contentType");
  if (!data.empty() && !encoded.empty())
    errors.add("expected exactly one, got both", {spec.path("data"), spec.path("dataBase64")});
  const auto decoded = encoded.empty() ? std::optional(data) : base64_decode(encoded);
  if (!decoded) {
    errors.invalid_value(printable(encoded), spec.path("dataBase64"), "must be base64");
    return;
  }
  if (type != "application/json" || decoded->empty()) return;
  boost::system::error_code error;
  const auto value = json::parse(*decoded, error);
  if (error || !value.is_object())
    errors.invalid_value(printable(*decoded), spec.path(encoded.empty() ? "data" : "dataBase64"),
                         "with contentType application/json the data is a JSON object");
}

void check_ping_source(const json::object& object, const json::object*, FieldErrors& errors) {
  ObjectReader root(object, errors);
  Metadata metadata;
  auto spec = begin(root, metadata);
  const auto schedule = spec.text("schedule");
  if (const auto complaint = cron_complaint(schedule); !complaint.empty())
    errors.invalid_value(printable(schedule), spec.path("schedule"), complaint);
  const auto zone = spec.text("timezone");
  if (!zone.empty() && !is_time_zone(zone))
    errors.invalid_value(printable(zone), spec.path("timezone"), "unknown time zone " + printable(zone));
  check_data(spec);
  check_source(spec, metadata.name_space);
}

void check_container_source(const json::object& object, const json::object*, FieldErrors& errors) {
  ObjectReader root(object, errors);
  Metadata metadata;
  auto spec = begin(root, metadata);
  auto pod = spec.object("template");
  if (!pod.present()) errors.missing("spec.template.spec.containers");
  if (pod.present()) check_pod_template(std::move(pod));
  ObjectReader names(object, errors);
  for (auto& container : names.object("spec").object("template").object("spec").objects("containers"))
    if (container.text("name").empty()) errors.missing(container.path("name"));
  check_source(spec, metadata.name_space);
}

void check_sink_binding(const json::object& object, const json::object*, FieldErrors& errors) {
  ObjectReader root(object, errors);
  Metadata metadata;
  auto spec = begin(root, metadata);
  auto subject = spec.object("subject");
  for (const auto key : {"apiVersion", "kind"})
    if (subject.text(key).empty()) errors.missing(subject.path(key));
  const bool selects = subject.has("selector");
  const auto name = subject.text("name");
  if (name.empty() && !selects)
    errors.add("expected exactly one, got neither", {subject.path("name"), subject.path("selector")});
  if (!name.empty() && selects)
    errors.add("expected exactly one, got both", {subject.path("name"), subject.path("selector")});
  if (const auto where = subject.text("namespace"); where != metadata.name_space && !metadata.name_space.empty())
    errors.invalid_value(printable(where), subject.path("namespace"));
  subject.refuse_rest();
  check_source(spec, metadata.name_space);
}

void check_api_server_source(const json::object& object, const json::object*, FieldErrors& errors) {
  ObjectReader root(object, errors);
  Metadata metadata;
  auto spec = begin(root, metadata);
  auto resources = spec.objects("resources");
  if (resources.empty()) errors.missing(spec.path("resources"));
  for (auto& resource : resources) {
    const auto version = resource.text("apiVersion");
    if (version.empty())
      errors.missing(resource.path("apiVersion"));
    else if (std::count(version.begin(), version.end(), '/') > 1)
      errors.invalid_value(printable(version), resource.path("apiVersion"));
    if (resource.text("kind").empty()) errors.missing(resource.path("kind"));
    resource.ignore("selector");
    resource.refuse_rest();
  }
  if (const auto mode = spec.text("mode"); mode != "Reference" && mode != "Resource")
    errors.invalid_value(printable(mode), spec.path("mode"));
  spec.text("serviceAccountName");
  for (const auto key : {"owner", "namespaceSelector", "filters", "skipPermissions"}) spec.ignore(key);
  check_source(spec, metadata.name_space);
}

void check_job_sink(const json::object& object, const json::object* old, FieldErrors& errors) {
  ObjectReader root(object, errors);
  Metadata metadata;
  auto spec = begin(root, metadata);
  auto job = spec.object("job");
  if (!job.present()) {
    errors.missing(spec.path("job"));
  } else {
    for (const auto key : {"apiVersion", "kind", "status"}) job.ignore(key);
    if (auto own = job.object("metadata"); own.present()) decode_metadata(std::move(own));
    check_job_spec(job.object("spec"));
    job.refuse_rest();
  }
  spec.refuse_rest();
  if (old) check_immutable(object, *old, {"spec", "job"}, "spec.job", errors);
}

void check_integration_sink(const json::object& object, const json::object*, FieldErrors& errors) {
  ObjectReader root(object, errors);
  Metadata metadata;
  auto spec = begin(root, metadata);
  auto log = spec.object("log");
  if (!log.present()) errors.missing(spec.path("log"));
  log.text("loggerName");
  if (const auto level = to_lower(log.text("level"));
      !level.empty() && level != "info" && level != "warn" && level != "error")
    errors.invalid_value(printable(level), log.path("level"), "INFO, WARN or ERROR");
  for (const auto key : {"showBody", "showHeaders"}) log.boolean(key);
  log.refuse_rest();
  spec.refuse_rest();
}

Kind source_row(std::string_view version, std::string_view kind, std::string_view plural, std::string_view singular) {
  return {.group = sources,
          .version = version,
          .kind = kind,
          .plural = plural,
          .singular = singular,
          .categories = {"all", "knative", "sources"},
          .columns = {{"Sink", "string", ".status.sinkUri"}, age_column, ready_column, reason_column},
          .ducks = {"duck.knative.dev/source"},
          .webhook = "webhook.eventing.knative.dev"};
}

}  // namespace

const std::string_view sink_lines = R"(
  sink @destination          | Gets the events.
  ceOverrides                | Extensions that every event gets.
    extensions map
)";

const std::string_view source_status_lines = R"(
status
  @conditions
  sinkUri
  sinkCACerts
  sinkAudience
  auth any
  ceAttributes any
)";

void default_sink(json::object& object) { fill_namespace(object, {"spec", "sink", "ref"}); }

void check_source(ObjectReader& spec, std::string_view own_namespace) {
  check_destination(spec.object("sink"), own_namespace);
  auto overrides = spec.object("ceOverrides");
  for (const auto& [name, value] : overrides.text_map("extensions"))
    for (const char c : name)
      if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))) {
        spec.errors().invalid_key(printable(name), overrides.path("extensions"),
                                  "keys are expected to be alphanumeric");
        break;
      }
  overrides.refuse_rest();
  spec.refuse_rest();
}

std::vector<Kind> source_kinds() {
  auto ping = source_row("v1", "PingSource", "pingsources", "pingsource");
  ping.columns = {{"Sink", "string", ".status.sinkUri"},
                  {"Schedule", "string", ".spec.schedule"},
                  age_column,
                  ready_column,
                  reason_column};
  ping.schema = ping_source_schema;
  ping.defaults = default_ping_source;
  ping.check = check_ping_source;
  auto older_ping = ping;  // the same fields; kn up to 1.16 asks for it
  older_ping.version = "v1beta2";
  older_ping.stored = false;
  auto container = source_row("v1", "ContainerSource", "containersources", "containersource");
  container.schema = container_source_schema;
  container.defaults = default_sink;
  container.check = check_container_source;
  auto binding = source_row("v1", "SinkBinding", "sinkbindings", "sinkbinding");
  binding.ducks.push_back("duck.knative.dev/binding");
  binding.schema = sink_binding_schema;
  binding.defaults = default_sink_binding;
  binding.check = check_sink_binding;
  auto server = source_row("v1", "ApiServerSource", "apiserversources", "apiserversource");
  server.schema = api_server_source_schema;
  server.defaults = default_api_server_source;
  server.check = check_api_server_source;
  auto job = source_row("v1alpha1", "JobSink", "jobsinks", "jobsink");
  job.group = "sinks.knative.dev";
  job.categories = {"all", "knative", "sinks"};
  job.columns = {{"URL", "string", ".status.address.url"}, age_column, ready_column, reason_column};
  job.ducks = {"duck.knative.dev/addressable"};
  job.schema = job_sink_schema;
  job.check = check_job_sink;
  auto log = job;
  log.kind = "IntegrationSink";
  log.plural = "integrationsinks";
  log.singular = "integrationsink";
  log.schema = integration_sink_schema;
  log.check = check_integration_sink;
  return {std::move(ping),   std::move(older_ping), std::move(container), std::move(binding),
          std::move(server), std::move(job),        std::move(log)};
}

}  // namespace wick::model
