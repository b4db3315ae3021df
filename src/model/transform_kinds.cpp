// EventTransform (eventing.knative.dev/v1alpha1): an expression that every event goes through (eventing.md 1.10). That
// the expression itself is one is checked by who knows its language (api/writes.cpp).
#include <fmt/format.h>

#include "model/kinds.hpp"
#include "model/schema.hpp"
#include "wick/model/metadata.hpp"
#include "wick/model/object_reader.hpp"

namespace wick::model {

namespace {

json::object event_transform_schema() {
  return resource_outline(R"(
spec
  sink @destination          | Gets what comes out; where none is given, it is the answer to the sender.
  jsonata                    | The transformation.
    expression               | JSONata, over the event in the JSON event format.
  reply                      | What happens to the sink's answer; where nothing is said, the sender gets it.
    jsonata                  | The transformation.
      expression             | JSONata, over the answer.
    discard bool             | The sender gets no body.
status
  @conditions
  address @address
  sinkUri
  policies any
)",
                          "Changes events by an expression.");
}

void default_event_transform(json::object& object) {
  if (!find_value(object, {"spec", "sink", "ref"})) return;
  if (auto* reference = object_if(object, {"spec", "sink", "ref"}))
    if (auto& name_space = (*reference)["namespace"]; name_space.is_null() || name_space == "")
      name_space = text_at(object, {"metadata", "namespace"});
}

void check_jsonata(ObjectReader jsonata) {
  if (jsonata.text("expression").empty()) jsonata.errors().missing(jsonata.path("expression"));
  jsonata.refuse_rest();
}

void check_event_transform(const json::object& object, const json::object*, FieldErrors& errors) {
  ObjectReader root(object, errors);
  const auto metadata = decode_metadata(root.object("metadata"));
  check_name_dns1123(metadata, errors);
  auto spec = root.object("spec");
  auto jsonata = spec.object("jsonata");
  if (jsonata.present())
    check_jsonata(std::move(jsonata));
  else
    errors.add("expected exactly one, got neither", {spec.path("jsonata")});
  auto sink = spec.object("sink");
  const bool has_sink = sink.present();
  if (has_sink) check_destination(std::move(sink), metadata.name_space);
  auto reply = spec.object("reply");
  if (reply.present()) {
    if (!has_sink) errors.add("reply is set without spec.sink", {spec.path("reply")});
    auto transformation = reply.object("jsonata");
    const bool discards = reply.boolean("discard").value_or(false);
    if (transformation.present() == discards)
      errors.add(fmt::format("expected exactly one, got {}", discards ? "both" : "neither"),
                 {reply.path("discard"), reply.path("jsonata")});
    if (transformation.present()) check_jsonata(std::move(transformation));
    reply.refuse_rest();
  }
  spec.refuse_rest();
}

}  // namespace

std::vector<Kind> transform_kinds() {
  return {{.group = "eventing.knative.dev",
           .version = "v1alpha1",
           .kind = "EventTransform",
           .plural = "eventtransforms",
           .singular = "eventtransform",
           .categories = {"all", "knative", "eventing"},
           .columns = {{"URL", "string", ".status.address.url"}, age_column, ready_column, reason_column},
           .ducks = {"duck.knative.dev/addressable"},
           .webhook = "webhook.eventing.knative.dev",
           .schema = event_transform_schema,
           .defaults = default_event_transform,
           .check = check_event_transform}};
}

}  // namespace wick::model
