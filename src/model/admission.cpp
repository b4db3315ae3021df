#include "wick/model/admission.hpp"

#include <fmt/format.h>

#include <boost/json/array.hpp>

#include "wick/base/text.hpp"
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

std::string validate(const Kind& kind, const json::object& object, const json::object* old) {
  FieldErrors errors;
  kind.check(object, old, errors);
  if (old && is_user_stamped(kind) && controller_uid(object).empty()) check_creator(object, *old, errors);
  return errors.text();
}

Result<json::object> admit(const Kind& asked, json::object object, const AdmissionRequest& request) {
  to_stored(asked, object);
  const auto& kind = *find_stored_kind(asked.resource());
  apply_defaults(kind, object);
  stamp_user(kind, object, request);
  const auto complaint = validate(kind, object, request.old);
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
