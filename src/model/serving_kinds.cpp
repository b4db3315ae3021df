// serving.knative.dev: Service, Configuration, Revision, Route and DomainMapping as rows of the table (serving.md 1.1).
#include "model/immutable.hpp"
#include "model/kinds.hpp"
#include "model/schema.hpp"
#include "wick/model/domain_mapping.hpp"
#include "wick/model/service.hpp"

namespace wick::model {

namespace {

constexpr std::string_view group = "serving.knative.dev";
constexpr std::string_view webhook = "webhook.serving.knative.dev";

constexpr std::string_view template_lines = R"(
spec
  template                   | The Revision to make. A change of it makes a new one.
    metadata @metadata
    spec @revision
)";
constexpr std::string_view traffic_lines = R"(
  traffic[] @traffic         | How requests are split over revisions.
)";
constexpr std::string_view address_lines = R"(
  url                        | Where requests from outside go.
  address                    | Where requests from inside go.
    url
    name
    CACerts
    audience
)";
// Where a gradual rollout stands (control/rollout.hpp), on the Route and copied to its Service.
constexpr std::string_view rollout_lines = R"(
  rollout any                | How far each configuration's traffic has moved to its newest revision.
)";
constexpr std::string_view latest_lines = R"(
  latestCreatedRevisionName
  latestReadyRevisionName
)";
// What the failed-deploy contract adds: step, slug, because, lastOutput, hint.
constexpr std::string_view serving_status_lines = R"(
status
  @conditions
  lastFailure any            | Why the newest revision does not serve.
)";

json::object service_schema() {
  return resource_outline(join_outlines({template_lines, traffic_lines, serving_status_lines, address_lines,
                                         latest_lines, traffic_lines, rollout_lines}),
                          "A workload: its template stamps out revisions, its traffic list says which of them answer.");
}

json::object configuration_schema() {
  return resource_outline(join_outlines({template_lines, serving_status_lines, latest_lines}),
                          "The desired state of a workload; every change of its template makes a Revision.");
}

json::object route_schema() {
  return resource_outline(
      join_outlines({"\nspec\n", traffic_lines, serving_status_lines, address_lines, traffic_lines, rollout_lines}),
      "Names that requests come by, and the revisions that answer them.");
}

json::object revision_schema() {
  return resource_outline(join_outlines({"\nspec @revision\n", serving_status_lines, R"(
  logUrl
  containerStatuses[]
    name
    imageDigest
  initContainerStatuses[]
    name
    imageDigest
  actualReplicas int
  desiredReplicas int
)"}),
                          "A snapshot of code and configuration. It never changes.");
}

json::object domain_mapping_schema() {
  return resource_outline(join_outlines({R"(
spec
  ref                        | The Service or Route that answers for the domain.
    apiVersion
    kind
    name
    namespace
    group
    address
  tls any                    | Refused: not supported.
status
  @conditions
)",
                                         address_lines}),
                          "A domain of one's own for a Service; its name is the domain.");
}

void default_template(json::object& object) {
  if (auto* revision = object_if(object, {"spec", "template", "spec"})) default_revision_spec(*revision);
}

void default_service(json::object& object) {
  default_template(object);
  if (auto* spec = object_if(object, {"spec"}))
    default_traffic(*spec, TrafficOwner::service, text_at(object, {"metadata", "name"}));
}

void default_route(json::object& object) {
  if (auto* spec = object_if(object, {"spec"}))
    default_traffic(*spec, TrafficOwner::route, text_at(object, {"metadata", "name"}));
}

void default_revision(json::object& object) {
  if (auto* spec = object_if(object, {"spec"})) default_revision_spec(*spec);
}

void default_domain_mapping(json::object& object) {
  auto* ref = object_if(object, {"spec", "ref"});
  if (!ref) return;
  if (auto& name_space = (*ref)["namespace"]; name_space.is_null() || name_space == "")
    name_space = text_at(object, {"metadata", "namespace"});
}

void check_service(const json::object& object, const json::object* old, FieldErrors& errors) {
  decode_service(object, errors);
  if (old) check_name_change(object, *old, errors);
}

void check_configuration(const json::object& object, const json::object* old, FieldErrors& errors) {
  decode_configuration(object, errors);
  if (old) check_name_change(object, *old, errors);
}

void check_route(const json::object& object, const json::object*, FieldErrors& errors) { decode_route(object, errors); }

void check_revision(const json::object& object, const json::object* old, FieldErrors& errors) {
  if (old)
    check_immutable(object, *old, {"spec"}, "spec", errors);
  else
    decode_revision(object, errors);
}

void check_domain_mapping(const json::object& object, const json::object*, FieldErrors& errors) {
  decode_domain_mapping(object, errors);
}

Kind serving_row(std::string_view version, std::string_view kind, std::string_view plural, std::string_view singular,
                 std::vector<std::string_view> short_names, std::vector<PrinterColumn> columns,
                 std::vector<std::string_view> ducks) {
  return {.group = group,
          .version = version,
          .kind = kind,
          .plural = plural,
          .singular = singular,
          .short_names = std::move(short_names),
          .categories = {"all", "knative", "serving"},
          .columns = std::move(columns),
          .ducks = std::move(ducks),
          .webhook = webhook};
}

}  // namespace

std::vector<Kind> serving_kinds() {
  constexpr PrinterColumn url{"URL", "string", ".status.url"};
  constexpr PrinterColumn created{"LatestCreated", "string", ".status.latestCreatedRevisionName"};
  constexpr PrinterColumn ready{"LatestReady", "string", ".status.latestReadyRevisionName"};

  auto service = serving_row("v1", "Service", "services", "service", {"kservice", "ksvc"},
                             {url, created, ready, ready_column, reason_column},
                             {"duck.knative.dev/addressable", "duck.knative.dev/podspecable"});
  service.schema = service_schema;
  service.defaults = default_service;
  service.check = check_service;

  auto configuration = serving_row("v1", "Configuration", "configurations", "configuration", {"config", "cfg"},
                                   {created, ready, ready_column, reason_column}, {"duck.knative.dev/podspecable"});
  configuration.schema = configuration_schema;
  configuration.defaults = default_template;
  configuration.check = check_configuration;

  auto revision =
      serving_row("v1", "Revision", "revisions", "revision", {"rev"},
                  {{"Config Name", "string", ".metadata.labels['serving.knative.dev/configuration']"},
                   {"Generation", "string", ".metadata.labels['serving.knative.dev/configurationGeneration']"},
                   ready_column,
                   reason_column,
                   {"Actual Replicas", "integer", ".status.actualReplicas"},
                   {"Desired Replicas", "integer", ".status.desiredReplicas"}},
                  {});
  revision.schema = revision_schema;
  revision.defaults = default_revision;
  revision.check = check_revision;

  auto route = serving_row("v1", "Route", "routes", "route", {"rt"}, {url, ready_column, reason_column},
                           {"duck.knative.dev/addressable"});
  route.schema = route_schema;
  route.defaults = default_route;
  route.check = check_route;

  auto mapping = serving_row("v1beta1", "DomainMapping", "domainmappings", "domainmapping", {"dm"},
                             {url, ready_column, reason_column}, {});
  mapping.schema = domain_mapping_schema;
  mapping.defaults = default_domain_mapping;
  mapping.check = check_domain_mapping;
  return {std::move(service), std::move(configuration), std::move(revision), std::move(route), std::move(mapping)};
}

}  // namespace wick::model
