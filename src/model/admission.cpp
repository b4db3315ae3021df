#include "wick/model/admission.hpp"

#include <fmt/format.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "wick/base/text.hpp"
#include "wick/model/build.hpp"
#include "wick/model/eventing.hpp"
#include "wick/model/field_errors.hpp"
#include "wick/model/service.hpp"

namespace wick::model {

namespace {

constexpr std::size_t diff_lines_max = 20;

/// What changed, a few lines a change, as Knative's details have it.
void describe_changes(const std::string& path, const json::value& old_value, const json::value& new_value,
                      std::string& text, std::size_t& lines) {
  if (old_value == new_value || lines >= diff_lines_max) return;
  const auto* old_object = old_value.if_object();
  const auto* new_object = new_value.if_object();
  const auto* old_array = old_value.if_array();
  const auto* new_array = new_value.if_array();
  if (old_object && new_object) {
    for (const auto& [key, value] : *old_object) {
      const auto* other = new_object->if_contains(key);
      describe_changes(field_path(path, key), value, other ? *other : json::value(), text, lines);
    }
    for (const auto& [key, value] : *new_object)
      if (!old_object->contains(key)) describe_changes(field_path(path, key), json::value(), value, text, lines);
  } else if (old_array && new_array && old_array->size() == new_array->size()) {
    for (std::size_t i = 0; i < old_array->size(); ++i)
      describe_changes(index_path(path, i), (*old_array)[i], (*new_array)[i], text, lines);
  } else {
    ++lines;
    text += fmt::format("{}:\n\t-: {}\n\t+: {}\n", path, printable(json::serialize(old_value)),
                        printable(json::serialize(new_value)));
  }
}

std::string changes(const std::string& path, const json::value* old_value, const json::value* new_value) {
  std::string text;
  std::size_t lines = 0;
  describe_changes(path, old_value ? *old_value : json::value(), new_value ? *new_value : json::value(), text, lines);
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

/// A template that changed must change the name it brings along too.
void check_name_change(const json::object& object, const json::object& old, FieldErrors& errors) {
  const auto name = text_at(object, {"spec", "template", "metadata", "name"});
  if (name.empty() || name != text_at(old, {"spec", "template", "metadata", "name"})) return;
  const auto diff =
      changes("spec.template", find_value(old, {"spec", "template"}), find_value(object, {"spec", "template"}));
  if (!diff.empty())
    errors.add("Saw the following changes without a name change (-old +new)", {"spec.template.metadata.name"}, diff);
}

void check_immutable(const json::object& object, const json::object& old, std::initializer_list<std::string_view> keys,
                     const std::string& path, FieldErrors& errors) {
  const auto diff = changes(path, find_value(old, keys), find_value(object, keys));
  if (!diff.empty()) errors.add("Immutable fields changed (-old +new)", {path}, diff);
}

void check_creator(const json::object& object, const json::object& old, FieldErrors& errors) {
  const auto before = text_at(old, {"metadata", "annotations", names::creator});
  if (before != text_at(object, {"metadata", "annotations", names::creator}))
    errors.add("annotation value is immutable", {field_path("metadata.annotations", names::creator)});
}

bool is_user_stamped(const Kind& kind) { return kind.group == "serving.knative.dev" && kind.kind != "Revision"; }

void stamp_user(const Kind& kind, json::object& object, const AdmissionRequest& request) {
  if (!is_user_stamped(kind) || !controller_uid(object).empty()) return;
  auto* found = object_if(object, {"metadata", "annotations"});
  if (!found) return;
  auto& annotations = *found;
  const auto stamp = [&](std::string_view key, const std::string& value) {
    if (!annotations.contains(key) && !value.empty()) annotations[key] = value;
  };
  if (!request.old) {
    annotations[names::creator] = request.user;
    annotations[names::last_modifier] = request.user;
    return;
  }
  // A client that left them out (a plain PUT of a manifest) keeps them; one that changes the creator is told.
  stamp(names::creator, text_at(*request.old, {"metadata", "annotations", names::creator}));
  const auto* before = find_value(*request.old, {"spec"});
  const auto* after = find_value(object, {"spec"});
  const bool same = before && after && *before == *after;
  annotations[names::last_modifier] =
      same ? text_at(*request.old, {"metadata", "annotations", names::last_modifier}) : request.user;
}

void default_subscriber_namespace(json::object& object) {
  const auto* ref = find_value(object, {"spec", "subscriber", "ref"});
  if (!ref || !ref->is_object()) return;
  auto& reference = object_at(object, {"spec", "subscriber", "ref"});
  auto& name_space = reference["namespace"];
  if (name_space.is_null()) name_space = text_at(object, {"metadata", "namespace"});
}

void check_deploy_annotation(const Metadata& metadata, FieldErrors& errors) {
  const auto text = metadata.annotation(names::deploy);
  if (text.empty()) return;
  const auto path = field_path("metadata.annotations", names::deploy);
  boost::system::error_code error;
  auto manifest = json::parse(text, error);
  if (error || !manifest.is_object()) {
    errors.invalid_value(printable(text, 40), path, "expected a Service manifest as JSON");
    return;
  }
  auto& service = manifest.get_object();
  if (text_at(service, {"kind"}) != "Service" || text_at(service, {"apiVersion"}) != service_kind().api_version()) {
    errors.invalid_value(printable(text_at(service, {"kind"})), path, "expected a serving.knative.dev/v1 Service");
    return;
  }
  object_at(service, {"metadata"})["namespace"] = metadata.name_space;
  set_first_image(service, "built.image/placeholder");
  apply_defaults(service_kind(), service);
  if (const auto complaint = validate(service_kind(), service, nullptr); !complaint.empty())
    errors.invalid_value("the Service manifest", path, complaint);
}

void check_namespace(const json::object& object, FieldErrors& errors) {
  ObjectReader root(object, errors);
  const auto metadata = decode_metadata(root.object("metadata"));
  if (!is_dns_label(metadata.name))
    errors.invalid_value(printable(metadata.name), "metadata.name", "a namespace is an RFC 1123 label");
  root.object("spec");
}

std::string webhook_of(const Kind& kind) {
  if (kind.group == "serving.knative.dev") return "validation.webhook.serving.knative.dev";
  if (kind.group == "eventing.knative.dev") return "validation.webhook.eventing.knative.dev";
  if (kind.group == "shipwright.io") return "validation.webhook.shipwright.io";
  return {};
}

}  // namespace

void set_first_image(json::object& service, std::string_view image) {
  auto& containers = object_at(service, {"spec", "template", "spec"})["containers"];
  if (!containers.is_array() || containers.get_array().empty()) containers = json::array{json::object{}};
  auto& first = containers.get_array().front();
  if (!first.is_object()) first.emplace_object();
  first.get_object()["image"] = image;
}

// What has the wrong type is left for validation to complain of.
void apply_defaults(const Kind& kind, json::object& object) {
  const auto name = text_at(object, {"metadata", "name"});
  object_if(object, {"metadata"});  // before any pointer into `object`: an insertion moves its values
  auto* spec = kind.kind == "Namespace" ? nullptr : object_if(object, {"spec"});
  if (!spec) return;
  if (kind.kind == "Service" || kind.kind == "Configuration") {
    if (auto* revision = object_if(*spec, {"template", "spec"})) default_revision_spec(*revision);
    if (kind.kind == "Service") default_traffic(*spec, TrafficOwner::service, name);
  } else if (kind.kind == "Revision") {
    default_revision_spec(*spec);
  } else if (kind.kind == "Route") {
    default_traffic(*spec, TrafficOwner::route, name);
  } else if (kind.kind == "Broker") {
    if (auto* annotations = object_if(object, {"metadata", "annotations"}))
      if (auto& broker_class = (*annotations)[names::broker_class]; broker_class.is_null()) broker_class = "Wick";
    // config-br-defaults: a Broker made without delivery retries.
    auto& delivery = (*spec)["delivery"];
    if (delivery.is_null()) delivery = {{"retry", 10}, {"backoffPolicy", "exponential"}, {"backoffDelay", "PT0.2S"}};
  } else if (kind.kind == "Trigger") {
    if (auto& broker = (*spec)["broker"]; broker.is_null() || broker == "") broker = "default";
    object_if(*spec, {"filter"});
    if (auto* labels = object_if(object, {"metadata", "labels"}))
      (*labels)[names::broker] = text_at(object, {"spec", "broker"});
    default_subscriber_namespace(object);
  }
}

std::string validate(const Kind& kind, const json::object& object, const json::object* old) {
  FieldErrors errors;
  if (kind.kind == "Service") {
    decode_service(object, errors);
    if (old) check_name_change(object, *old, errors);
  } else if (kind.kind == "Configuration") {
    decode_configuration(object, errors);
    if (old) check_name_change(object, *old, errors);
  } else if (kind.kind == "Route") {
    decode_route(object, errors);
  } else if (kind.kind == "Revision") {
    if (old)
      check_immutable(object, *old, {"spec"}, "spec", errors);
    else
      decode_revision(object, errors);
  } else if (kind.kind == "Broker") {
    decode_broker(object, errors);
    if (old)
      check_immutable(object, *old, {"metadata", "annotations", names::broker_class},
                      field_path("metadata.annotations", names::broker_class), errors);
  } else if (kind.kind == "Trigger") {
    decode_trigger(object, errors);
    if (old) check_immutable(object, *old, {"spec", "broker"}, "spec.broker", errors);
  } else if (kind.kind == "Build") {
    ObjectReader root(object, errors);
    check_name_dns1123(decode_metadata(root.object("metadata")), errors);
    decode_build_spec(root.object("spec"));
  } else if (kind.kind == "BuildRun") {
    const auto run = decode_build_run(object, errors);
    check_name_dns1123(run.metadata, errors);
    check_deploy_annotation(run.metadata, errors);
    if (old) check_immutable(object, *old, {"spec", "build"}, "spec.build", errors);
  } else if (kind.kind == "Namespace") {
    check_namespace(object, errors);
  }
  if (old && is_user_stamped(kind) && controller_uid(object).empty()) check_creator(object, *old, errors);
  return errors.text();
}

Result<json::object> admit(const Kind& kind, json::object object, const AdmissionRequest& request) {
  apply_defaults(kind, object);
  stamp_user(kind, object, request);
  const auto complaint = validate(kind, object, request.old);
  if (complaint.empty()) return object;
  const auto webhook = webhook_of(kind);
  if (webhook.empty()) return fail(Errc::invalid, complaint);
  return fail(Errc::invalid,
              fmt::format("admission webhook \"{}\" denied the request: validation failed: {}", webhook, complaint));
}

}  // namespace wick::model
