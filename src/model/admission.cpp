#include "wick/model/admission.hpp"

#include <fmt/format.h>

#include <boost/json/array.hpp>

#include "wick/base/text.hpp"
#include "wick/model/autoscaling.hpp"
#include "wick/model/field_errors.hpp"
#include "wick/model/object_reader.hpp"

namespace wick::model {

namespace {

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

/// A Service, Configuration or Revision that wants to start with no instance, where that is not allowed.
void check_initial_scale(const Kind& kind, const json::object& object, FieldErrors& errors) {
  if (kind.group != "serving.knative.dev") return;
  const bool revision = kind.kind == "Revision";
  const auto* found = revision ? find_value(object, {"metadata", "annotations"})
                               : find_value(object, {"spec", "template", "metadata", "annotations"});
  if (!found || !found->is_object()) return;
  TextMap annotations;
  for (const auto& [key, value] : found->get_object())
    if (value.is_string()) annotations[std::string(key)] = value.get_string();
  const std::string path = revision ? "metadata.annotations" : "spec.template.metadata.annotations";
  FieldErrors others;
  if (decode_autoscaling(annotations, path, others).initial_scale == 0)
    errors.invalid_value("0", field_path(path, "autoscaling.knative.dev/initial-scale=0 not allowed by cluster"),
                         "wick serve --allow-zero-initial-scale allows it");
}

}  // namespace

void set_first_image(json::object& service, std::string_view image) {
  auto& containers = object_at(service, {"spec", "template", "spec"})["containers"];
  if (!containers.is_array() || containers.get_array().empty()) containers = json::array{json::object{}};
  auto& first = containers.get_array().front();
  if (!first.is_object()) first.emplace_object();
  first.get_object()["image"] = image;
}

void apply_defaults(const Kind& kind, json::object& object) {
  object_if(object, {"metadata"});  // before any pointer into `object`: an insertion moves its values
  if (kind.group.empty()) {
    if (kind.defaults) kind.defaults(object);
    return;
  }
  object_if(object, {"spec"});
  if (kind.defaults) kind.defaults(object);
}

namespace {

FieldErrors check(const Kind& kind, const json::object& object, const json::object* old) {
  FieldErrors errors;
  kind.check(object, old, errors);
  if (old && is_user_stamped(kind) && controller_uid(object).empty()) check_creator(object, *old, errors);
  return errors;
}

}  // namespace

std::string validate(const Kind& kind, const json::object& object, const json::object* old) {
  return check(kind, object, old).text();
}

Result<json::object> admit(const Kind& asked, json::object object, const AdmissionRequest& request) {
  to_stored(asked, object);
  const auto& kind = *find_stored_kind(asked.resource());
  apply_defaults(kind, object);
  stamp_user(kind, object, request);
  auto errors = check(kind, object, request.old);
  if (!request.policy.allow_zero_initial_scale) check_initial_scale(kind, object, errors);
  const auto complaint = errors.text();
  if (complaint.empty()) return object;
  if (!kind.webhook.empty())
    return fail(Errc::invalid,
                fmt::format("admission webhook \"validation.{}\" denied the request: validation failed: {}",
                            kind.webhook, complaint));
  const auto lines = split(complaint, '\n');
  return fail(Errc::invalid,
              fmt::format("{} \"{}\" is invalid: {}", kind.kind, printable(text_at(object, {"metadata", "name"})),
                          lines.size() == 1 ? complaint : fmt::format("[{}]", fmt::join(lines, ", "))));
}

}  // namespace wick::model
