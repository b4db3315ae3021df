// EventPolicy (eventing.knative.dev/v1alpha1): who may send events to what (eventing.md 1.11).
#include <fmt/format.h>

#include "model/kinds.hpp"
#include "model/schema.hpp"
#include "wick/base/text.hpp"
#include "wick/model/metadata.hpp"

namespace wick::model {

namespace {

json::object event_policy_schema() {
  return resource_outline(R"(
spec
  to[]                       | Brokers, channels and sinks of this namespace; all of them where none is given.
    ref
      apiVersion
      kind
      name
    selector
      apiVersion
      kind
      matchLabels map
      matchExpressions any
  from[]                     | Who may send.
    ref                      | A source or trigger.
      apiVersion
      kind
      name
      namespace
    sub                      | A subject; with a last * all that begin so.
  filters any                | Which events: dialects all, any, not, exact, prefix, suffix, cesql.
status
  @conditions
  from[] string              | The subjects that spec.from names.
  appliedToResources[]       | What the policy guards now.
    apiVersion
    kind
    name
)",
                          "Says who may send events to what.");
}

void default_event_policy(json::object& object) {
  auto* spec = object_if(object, {"spec"});
  auto* from = spec ? spec->if_contains("from") : nullptr;
  if (!from || !from->is_array()) return;
  for (auto& element : from->get_array()) {
    if (!element.is_object() || !find_value(element.get_object(), {"ref"})) continue;
    if (auto* reference = object_if(element.get_object(), {"ref"}))
      if (auto& name_space = (*reference)["namespace"]; name_space.is_null() || name_space == "")
        name_space = text_at(object, {"metadata", "namespace"});
  }
}

void check_policy_reference(ObjectReader reference, bool with_namespace) {
  for (const auto key : {"kind", "apiVersion", "name"})
    if (reference.text(key).empty()) reference.errors().missing(reference.path(key));
  if (with_namespace) reference.text("namespace");
  reference.refuse_rest();
}

void check_from(ObjectReader from) {
  auto& errors = from.errors();
  auto reference = from.object("ref");
  const auto subject = from.text("sub");
  const std::vector<std::string> both{from.path("ref"), from.path("sub")};
  if (!reference.present() && subject.empty()) errors.add("expected exactly one, got neither", both);
  if (reference.present() && from.has("sub")) errors.add("expected exactly one, got both", both);
  if (reference.present()) check_policy_reference(std::move(reference), true);
  if (const auto star = subject.find('*'); star != subject.npos && star + 1 != subject.size())
    errors.invalid_value(printable(subject), from.path("sub"), "'*' is only allowed as suffix");
  from.refuse_rest();
}

void check_to(ObjectReader to) {
  auto reference = to.object("ref"), selector = to.object("selector");
  const std::vector<std::string> both{to.path("ref"), to.path("selector")};
  if (!reference.present() && !selector.present()) to.errors().add("expected exactly one, got neither", both);
  if (reference.present() && selector.present()) to.errors().add("expected exactly one, got both", both);
  if (reference.present()) check_policy_reference(std::move(reference), false);
  to.refuse_rest();
}

void check_event_policy(const json::object& object, const json::object*, FieldErrors& errors) {
  ObjectReader root(object, errors);
  const auto metadata = decode_metadata(root.object("metadata"));
  check_name_dns1123(metadata, errors);
  auto spec = root.object("spec");
  for (auto& from : spec.objects("from")) check_from(std::move(from));
  for (auto& to : spec.objects("to")) check_to(std::move(to));
  check_filters(spec);
  spec.refuse_rest();
}

}  // namespace

std::vector<Kind> policy_kinds() {
  return {{.group = "eventing.knative.dev",
           .version = "v1alpha1",
           .kind = "EventPolicy",
           .plural = "eventpolicies",
           .singular = "eventpolicy",
           .categories = {"all", "knative", "eventing"},
           .columns = {ready_column, reason_column},
           .webhook = "webhook.eventing.knative.dev",
           .schema = event_policy_schema,
           .defaults = default_event_policy,
           .check = check_event_policy}};
}

}  // namespace wick::model
