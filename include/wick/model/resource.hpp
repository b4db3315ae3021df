// The kinds this API serves: one table that discovery, OpenAPI, Table output, routing, admission and owner references
// share. A new kind is a new row in src/model/kinds.cpp.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace wick::model {

namespace json = boost::json;

class FieldErrors;

/// A column of `kubectl get` after NAME (CustomResourceDefinition additionalPrinterColumns).
struct PrinterColumn {
  std::string_view name;
  std::string_view type;       // "string", "integer", "date"
  std::string_view json_path;  // what cell() understands
  int priority = 0;            // above 0: with `-o wide` only
};

/// One kind at one version, and all that is particular to it. Kinds with several versions have one entry a version;
/// they share resource() and with it their stored objects, which are those of the entry with `stored`.
struct Kind {
  std::string_view group;  // "" is the core group
  std::string_view version;
  std::string_view kind;
  std::string_view plural;
  std::string_view singular;
  std::vector<std::string_view> short_names;
  bool namespaced = true;
  bool has_status = true;
  std::vector<std::string_view> categories;
  std::vector<PrinterColumn> columns;
  /// Labels of the CustomResourceDefinition: "duck.knative.dev/source" is how `kn source list-types` finds sources.
  std::vector<std::string_view> ducks;
  /// Name of Knative's webhook without the "validation." before it; "" where Kubernetes' own validation stands (422
  /// Invalid there).
  std::string_view webhook;
  bool stored = true;

  /// OpenAPI v3 (Kubernetes' structural flavour) of the whole object: what is not in it is an unknown field.
  json::object (*schema)() = nullptr;
  /// Fills what is missing, in place. What has the wrong type is left for `check`. May be null.
  void (*defaults)(json::object& object) = nullptr;
  /// Every rule of the kind; `old` is set for an update.
  void (*check)(const json::object& object, const json::object* old, FieldErrors& errors) = nullptr;
  /// Between this version and the stored one, in place; null where only apiVersion differs.
  void (*to_stored)(json::object& object) = nullptr;
  void (*from_stored)(json::object& object) = nullptr;

  /// "serving.knative.dev/v1", "v1".
  std::string api_version() const;
  /// "services.serving.knative.dev", "namespaces": the object table's name for it, the same for every version.
  std::string resource() const;
};

std::span<const Kind> kinds();
/// nullptr when unknown.
const Kind* find_kind(std::string_view group, std::string_view version, std::string_view plural);
const Kind* find_kind_by_name(std::string_view api_version, std::string_view kind);
/// The stored version of a resource() ("pingsources.sources.knative.dev"); nullptr when unknown.
const Kind* find_stored_kind(std::string_view resource);

/// The kind's schema, built once.
const json::object& schema_of(const Kind& kind);
/// What an object says in a column: a string, an integer, or null where it says nothing. Understands ".a.b",
/// ".a['k.with/dots']", ".a[?(@.type=='Ready')].b", ".a[*].b" (the first) and "count(.a)".
json::value cell(const PrinterColumn& column, const json::object& object);
/// Takes out every field that the kind's schema does not know. Their paths, in the document's order, as strict decoding
/// names them: `spec.template.spec.containers[0].imagee`.
std::vector<std::string> prune_unknown(const Kind& kind, json::object& object);
/// To the stored version and its apiVersion, and back.
void to_stored(const Kind& kind, json::object& object);
void from_stored(const Kind& kind, json::object& object);

/// The kinds as names, for code that means one in particular.
const Kind& namespace_kind();
const Kind& secret_kind();
const Kind& config_map_kind();
const Kind& service_kind();
const Kind& configuration_kind();
const Kind& revision_kind();
const Kind& route_kind();
const Kind& domain_mapping_kind();
const Kind& broker_kind();
const Kind& trigger_kind();
const Kind& channel_kind();
const Kind& in_memory_channel_kind();
const Kind& subscription_kind();
const Kind& sequence_kind();
const Kind& parallel_kind();
const Kind& ping_source_kind();
const Kind& sink_binding_kind();
const Kind& container_source_kind();
const Kind& api_server_source_kind();
const Kind& event_type_kind();
const Kind& event_policy_kind();
const Kind& job_sink_kind();
const Kind& job_kind();
const Kind& build_kind();
const Kind& build_run_kind();

/// A controlling owner reference to `owner`, whose metadata has a uid.
json::object owner_reference(const Kind& kind, const json::object& owner);
/// uid of the controlling owner, "" where there is none.
std::string controller_uid(const json::object& object);

/// Label and annotation names that the rooms share.
namespace names {
inline constexpr std::string_view service = "serving.knative.dev/service";
inline constexpr std::string_view service_uid = "serving.knative.dev/serviceUID";
inline constexpr std::string_view configuration = "serving.knative.dev/configuration";
inline constexpr std::string_view configuration_uid = "serving.knative.dev/configurationUID";
inline constexpr std::string_view configuration_generation = "serving.knative.dev/configurationGeneration";
inline constexpr std::string_view routing_state = "serving.knative.dev/routingState";
inline constexpr std::string_view routing_state_modified = "serving.knative.dev/routingStateModified";
inline constexpr std::string_view routes = "serving.knative.dev/routes";
inline constexpr std::string_view no_gc = "serving.knative.dev/no-gc";
inline constexpr std::string_view creator = "serving.knative.dev/creator";
inline constexpr std::string_view last_modifier = "serving.knative.dev/lastModifier";
inline constexpr std::string_view rollout_duration = "serving.knative.dev/rollout-duration";
inline constexpr std::string_view progress_deadline = "serving.knative.dev/progress-deadline";
inline constexpr std::string_view visibility = "networking.knative.dev/visibility";
inline constexpr std::string_view last_applied = "kubectl.kubernetes.io/last-applied-configuration";
inline constexpr std::string_view broker = "eventing.knative.dev/broker";
inline constexpr std::string_view broker_class = "eventing.knative.dev/broker.class";
/// On a BuildRun: the Service manifest (JSON text) to create or update once the image exists.
inline constexpr std::string_view deploy = "wick.dev/deploy";
/// On a Configuration and its Revisions: the number of the id range its instances run in.
inline constexpr std::string_view id_range = "wick.dev/id-range";
/// On a revision's template: its sandbox (sandbox.hpp).
inline constexpr std::string_view egress = "wick.dev/egress";
inline constexpr std::string_view tmp_size = "wick.dev/tmp-size";
inline constexpr std::string_view pids_limit = "wick.dev/pids-limit";
}  // namespace names

}  // namespace wick::model
