// eventing.knative.dev: Broker, Trigger and EventType as rows of the table (eventing.md 1.1, 1.5, 1.9).
#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <set>

#include "model/immutable.hpp"
#include "model/kinds.hpp"
#include "model/schema.hpp"
#include "wick/base/text.hpp"
#include "wick/model/eventing.hpp"

namespace wick::model {

namespace {

constexpr std::string_view group = "eventing.knative.dev";

json::object broker_schema() {
  return resource_outline(R"(
spec
  config any                 | Refused: brokers are durable here and need no configuration.
  delivery @delivery         | For triggers that have none of their own.
status
  @conditions
  address @address
  addresses any
  deadLetterSinkUri
  policies any
)",
                          "An event hub: send to its address, subscribe with Triggers.");
}

json::object trigger_schema() {
  return resource_outline(R"(
spec
  broker                     | default where none is given. It cannot be changed.
  brokerRef any              | Refused: not supported.
  filter
    attributes map           | All have to match; "" means that the attribute is there.
  filters any                | Dialects: all, any, not, exact, prefix, suffix, cesql.
  subscriber @destination    | Gets the events.
  delivery @delivery
status
  @conditions
  subscriberUri
  deadLetterSinkUri
)",
                          "A subscription to the events of a Broker.");
}

json::object event_type_schema() {
  return resource_outline(R"(
spec
  reference                  | The addressable that events of this type come from.
    apiVersion
    kind
    name
    namespace
    group
    address
  description
  attributes[]               | What events of this type look like.
    name
    required bool
    value                    | May hold {variables}.
  variables any
status
  @conditions
)",
                          "An entry in the registry of event types.");
}

json::object event_type_v1beta2_schema() {
  return resource_outline(R"(
spec
  type                       | The event's type attribute.
  source                     | The event's source attribute.
  schema                     | A URI of the schema of the data.
  schemaData
  broker                     | Deprecated: use reference.
  reference                  | The addressable that events of this type come from.
    apiVersion
    kind
    name
    namespace
    group
    address
  description
status
  @conditions
)",
                          "An entry in the registry of event types.");
}

void default_broker(json::object& object) {
  if (auto* annotations = object_if(object, {"metadata", "annotations"}))
    if (auto& broker_class = (*annotations)[names::broker_class]; broker_class.is_null()) broker_class = "Wick";
  // config-br-defaults: a Broker made without delivery retries.
  if (auto* spec = object_if(object, {"spec"}))
    if (auto& delivery = (*spec)["delivery"]; delivery.is_null())
      delivery = {{"retry", 10}, {"backoffPolicy", "exponential"}, {"backoffDelay", "PT0.2S"}};
}

void check_broker(const json::object& object, const json::object* old, FieldErrors& errors) {
  decode_broker(object, errors);
  if (old)
    check_immutable(object, *old, {"metadata", "annotations", names::broker_class},
                    field_path("metadata.annotations", names::broker_class), errors);
}

void default_trigger(json::object& object) {
  auto* spec = object_if(object, {"spec"});
  if (!spec) return;
  if (auto& broker = (*spec)["broker"]; broker.is_null() || broker == "") broker = "default";
  object_if(*spec, {"filter"});
  if (auto* labels = object_if(object, {"metadata", "labels"}))
    (*labels)[names::broker] = text_at(object, {"spec", "broker"});
  const auto* ref = find_value(object, {"spec", "subscriber", "ref"});
  if (!ref || !ref->is_object()) return;
  auto& name_space = object_at(object, {"spec", "subscriber", "ref"})["namespace"];
  if (name_space.is_null()) name_space = text_at(object, {"metadata", "namespace"});
}

void check_trigger(const json::object& object, const json::object* old, FieldErrors& errors) {
  decode_trigger(object, errors);
  if (old) check_immutable(object, *old, {"spec", "broker"}, "spec.broker", errors);
}

void default_event_type(json::object& object) {
  // Every CloudEvent has these two, whatever its type.
  auto* spec = object_if(object, {"spec"});
  if (!spec) return;
  auto& attributes = (*spec)["attributes"];
  if (attributes.is_null()) attributes.emplace_array();
  auto* list = attributes.if_array();
  if (!list) return;
  const auto has = [&](std::string_view name) {
    for (const auto& attribute : *list)
      if (attribute.is_object() && text_at(attribute.get_object(), {"name"}) == name) return true;
    return false;
  };
  if (!has("specversion")) list->push_back({{"name", "specversion"}, {"required", true}, {"value", "1.0"}});
  if (!has("id")) list->push_back({{"name", "id"}, {"required", true}});
}

void check_event_type(const json::object& object, const json::object* old, FieldErrors& errors) {
  ObjectReader root(object, errors);
  const auto metadata = decode_metadata(root.object("metadata"));
  check_name_dns1123(metadata, errors);
  auto spec = root.object("spec");
  if (auto reference = spec.object("reference"); reference.present())
    check_reference(std::move(reference), metadata.name_space);
  spec.text("description");
  std::set<std::string> seen;
  for (auto& attribute : spec.objects("attributes")) {
    const auto name = attribute.text("name");
    if (name.empty()) errors.missing(attribute.path("name"));
    if (!seen.insert(name).second)
      errors.add(fmt::format("Multiple definitions for \"{}\"", printable(name)), {spec.path("attributes")});
    attribute.boolean("required");
    attribute.text("value");
    attribute.refuse_rest();
  }
  if (!seen.contains("type")) errors.missing(spec.path("attributes.type"));
  spec.ignore("variables");
  spec.refuse_rest();
  if (old) check_immutable(object, *old, {"spec"}, "spec", errors);
}

/// An attribute of the registry's own names in v1beta2: its field there and its name here.
constexpr std::pair<std::string_view, std::string_view> fields_v1beta2[]{
    {"type", "type"}, {"source", "source"}, {"schema", "dataschema"}, {"schemaData", "schemadata"}};

void event_type_to_stored(json::object& object) {
  auto* spec = object_if(object, {"spec"});
  if (!spec) return;
  json::array attributes;
  for (const auto& [field, name] : fields_v1beta2) {
    if (const auto value = text_at(*spec, {field}); !value.empty())
      attributes.push_back({{"name", name}, {"required", true}, {"value", value}});
    spec->erase(field);
  }
  if (const auto broker = text_at(*spec, {"broker"}); !broker.empty() && !find_value(*spec, {"reference"}))
    (*spec)["reference"] = {{"apiVersion", "eventing.knative.dev/v1"}, {"kind", "Broker"}, {"name", broker}};
  spec->erase("broker");
  (*spec)["attributes"] = std::move(attributes);
}

void event_type_from_stored(json::object& object) {
  auto* spec = object_if(object, {"spec"});
  if (!spec) return;
  if (const auto* attributes = find_value(*spec, {"attributes"}); attributes && attributes->is_array()) {
    const auto list = attributes->get_array();
    for (const auto& attribute : list)
      for (const auto& [field, name] : fields_v1beta2)
        if (attribute.is_object() && text_at(attribute.get_object(), {"name"}) == name)
          (*spec)[field] = text_at(attribute.get_object(), {"value"});
  }
  spec->erase("attributes");
  if (text_at(*spec, {"reference", "kind"}) == "Broker") (*spec)["broker"] = text_at(*spec, {"reference", "name"});
}

Kind eventing_row(std::string_view version, std::string_view kind, std::string_view plural, std::string_view singular,
                  std::vector<PrinterColumn> columns) {
  return {.group = group,
          .version = version,
          .kind = kind,
          .plural = plural,
          .singular = singular,
          .categories = {"all", "knative", "eventing"},
          .columns = std::move(columns),
          .webhook = "webhook.eventing.knative.dev"};
}

}  // namespace

std::vector<Kind> eventing_kinds() {
  auto broker = eventing_row("v1", "Broker", "brokers", "broker",
                             {{"URL", "string", ".status.address.url"}, age_column, ready_column, reason_column});
  broker.ducks = {"duck.knative.dev/addressable"};
  broker.schema = broker_schema;
  broker.defaults = default_broker;
  broker.check = check_broker;

  auto trigger = eventing_row("v1", "Trigger", "triggers", "trigger",
                              {{"Broker", "string", ".spec.broker"},
                               {"Subscriber_URI", "string", ".status.subscriberUri"},
                               age_column,
                               ready_column,
                               reason_column});
  trigger.schema = trigger_schema;
  trigger.defaults = default_trigger;
  trigger.check = check_trigger;

  auto type = eventing_row("v1beta3", "EventType", "eventtypes", "eventtype",
                           {{"Type", "string", ".spec.attributes[?(@.name=='type')].value"},
                            {"Source", "string", ".spec.attributes[?(@.name=='source')].value"},
                            {"Reference Kind", "string", ".spec.reference.kind"},
                            {"Reference Name", "string", ".spec.reference.name"},
                            {"Description", "string", ".spec.description"},
                            ready_column,
                            reason_column});
  type.schema = event_type_schema;
  type.defaults = default_event_type;
  type.check = check_event_type;

  auto older = eventing_row("v1beta2", "EventType", "eventtypes", "eventtype",
                            {{"Type", "string", ".spec.type"},
                             {"Source", "string", ".spec.source"},
                             {"Schema", "string", ".spec.schema"},
                             {"Reference Kind", "string", ".spec.reference.kind"},
                             {"Reference Name", "string", ".spec.reference.name"},
                             {"Description", "string", ".spec.description"},
                             ready_column,
                             reason_column});
  older.stored = false;
  older.schema = event_type_v1beta2_schema;
  older.defaults = default_event_type;
  older.check = check_event_type;
  older.to_stored = event_type_to_stored;
  older.from_stored = event_type_from_stored;
  return {std::move(broker), std::move(trigger), std::move(type), std::move(older)};
}

}  // namespace wick::model
