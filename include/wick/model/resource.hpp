// The kinds this API serves: one table that discovery, routing, admission and owner references share.
#pragma once

#include <boost/json/object.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace wick::model {

namespace json = boost::json;

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

  /// "serving.knative.dev/v1", "v1".
  std::string api_version() const;
  /// "services.serving.knative.dev", "namespaces": the object table's name for it.
  std::string resource() const;
};

std::span<const Kind> kinds();
/// nullptr when unknown.
const Kind* find_kind(std::string_view group, std::string_view version, std::string_view plural);
const Kind* find_kind_by_name(std::string_view api_version, std::string_view kind);

/// The kinds as names, for code that means one in particular.
const Kind& namespace_kind();
const Kind& service_kind();
const Kind& configuration_kind();
const Kind& revision_kind();
const Kind& route_kind();
const Kind& broker_kind();
const Kind& trigger_kind();
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
}  // namespace names

}  // namespace wick::model
