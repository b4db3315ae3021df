// MQTTSource (sources.wick.dev) and MQTTSink (sinks.wick.dev): kept, checked and defaulted. Knative has no kinds for
// MQTT; these are shaped as its own are, and as KafkaSink names what is the same (auth.secret.ref, contentMode).
#include <fmt/format.h>

#include "model/kinds.hpp"
#include "model/schema.hpp"
#include "wick/base/text.hpp"
#include "wick/model/metadata.hpp"
#include "wick/model/mqtt.hpp"
#include "wick/model/object_reader.hpp"

namespace wick::model {

namespace {

constexpr std::int64_t session_seconds_max = 4'294'967'294;  // MQTT 5.0 3.1.2.11.2: one more is for ever

constexpr std::string_view server_lines = R"(
spec
  url                        | mqtt://HOST[:PORT], or mqtts:// for TLS.
  version                    | 5 (where none is given) or 3.1.1.
  clientID                   | Of the object's uid where none is given.
  auth
    secret
      ref
        name                 | A Secret with username, password, ca.crt, tls.crt and tls.key: those that are needed.
)";

json::object mqtt_source_schema() {
  return resource_outline(join_outlines({server_lines, R"(
  topics[]                   | What to subscribe to.
    topic                    | A topic filter; + is one level, # all that follow.
    qos int                  | 0, 1 (where none is given) or 2.
  session
    persistent bool          | The server keeps what comes while nobody is connected; true where nothing is said.
    expirySeconds int        | For so long (version 5); 604800 where none is given.
)",
                                         sink_lines, source_status_lines, "\n  topics[]\n"}),
                          "Turns messages of an MQTT server into events.");
}

json::object mqtt_sink_schema() {
  return resource_outline(join_outlines({server_lines, R"(
  topic                      | Where events are published; {NAME} is the event's attribute of that name.
  qos int                    | 0, 1 (where none is given) or 2.
  retain bool
  contentMode                | binary (where none is given) or structured; version 3.1.1 is always structured.
status
  @conditions
  address @address
  policies any
)"}),
                          "Publishes events on an MQTT server.");
}

void default_server(json::object& object) {
  if (auto* spec = object_if(object, {"spec"}))
    if (auto& version = (*spec)["version"]; version.is_null() || version == "") version = "5";
}

void default_mqtt_source(json::object& object) {
  default_sink(object);
  default_server(object);
}

void default_mqtt_sink(json::object& object) {
  default_server(object);
  if (auto* spec = object_if(object, {"spec"}))
    if (auto& mode = (*spec)["contentMode"]; mode.is_null() || mode == "")
      mode = text_at(*spec, {"version"}) == "3.1.1" ? "structured" : "binary";
}

void check_qos(ObjectReader& reader) {
  if (const auto qos = reader.integer("qos"); qos && (*qos < 0 || *qos > 2))
    reader.errors().out_of_bounds(std::to_string(*qos), "0", "2", reader.path("qos"));
}

void check_server(ObjectReader& spec) {
  auto& errors = spec.errors();
  if (const auto url = spec.text("url"); url.empty())
    errors.missing(spec.path("url"));
  else if (const auto server = parse_mqtt_url(url); !server)
    errors.invalid_value(printable(url), spec.path("url"), server.error().message());
  if (const auto version = spec.text("version"); version != "5" && version != "3.1.1" && !version.empty())
    errors.invalid_value(printable(version), spec.path("version"), "5 or 3.1.1");
  if (const auto id = spec.text("clientID"); id.size() > mqtt_topic_bytes_max || id.find('\0') != id.npos)
    errors.invalid_value(printable(id), spec.path("clientID"));
  auto auth = spec.object("auth"), secret = auth.object("secret"), ref = secret.object("ref");
  if (auth.present() && ref.text("name").empty()) errors.missing("spec.auth.secret.ref.name");
  ref.refuse_rest();
  secret.refuse_rest();
  auth.refuse_rest();
}

void check_mqtt_source(const json::object& object, const json::object*, FieldErrors& errors) {
  ObjectReader root(object, errors);
  const auto metadata = decode_metadata(root.object("metadata"));
  check_name_dns1123(metadata, errors);
  auto spec = root.object("spec");
  check_server(spec);
  auto topics = spec.objects("topics");
  if (topics.empty()) errors.missing(spec.path("topics"));
  for (auto& topic : topics) {
    if (const auto filter = topic.text("topic"); filter.empty())
      errors.missing(topic.path("topic"));
    else if (const auto complaint = mqtt_filter_complaint(filter); !complaint.empty())
      errors.invalid_value(printable(filter), topic.path("topic"), complaint);
    check_qos(topic);
    topic.refuse_rest();
  }
  auto session = spec.object("session");
  session.boolean("persistent");
  if (const auto expiry = session.integer("expirySeconds"); expiry && (*expiry < 1 || *expiry > session_seconds_max))
    errors.out_of_bounds(std::to_string(*expiry), "1", std::to_string(session_seconds_max),
                         session.path("expirySeconds"));
  session.refuse_rest();
  check_source(spec, metadata.name_space);
}

void check_mqtt_sink(const json::object& object, const json::object*, FieldErrors& errors) {
  ObjectReader root(object, errors);
  check_name_dns1123(decode_metadata(root.object("metadata")), errors);
  auto spec = root.object("spec");
  check_server(spec);
  if (const auto topic = spec.text("topic"); topic.empty())
    errors.missing(spec.path("topic"));
  else if (const auto complaint = mqtt_pattern_complaint(topic); !complaint.empty())
    errors.invalid_value(printable(topic), spec.path("topic"), complaint);
  check_qos(spec);
  spec.boolean("retain");
  if (const auto mode = spec.text("contentMode"); !mode.empty() && mode != "binary" && mode != "structured")
    errors.invalid_value(printable(mode), spec.path("contentMode"), "binary or structured");
  else if (mode == "binary" && spec.text("version") == "3.1.1")
    errors.invalid_value(mode, spec.path("contentMode"), "version 3.1.1 has no properties: structured is expected");
  spec.refuse_rest();
}

}  // namespace

std::vector<Kind> mqtt_kinds() {
  Kind source{.group = "sources.wick.dev",
              .version = "v1alpha1",
              .kind = "MQTTSource",
              .plural = "mqttsources",
              .singular = "mqttsource",
              .categories = {"all", "sources"},
              .columns = {{"Sink", "string", ".status.sinkUri"},
                          {"Server", "string", ".spec.url"},
                          age_column,
                          ready_column,
                          reason_column},
              .ducks = {"duck.knative.dev/source"},
              .webhook = "webhook.eventing.wick.dev",
              .schema = mqtt_source_schema,
              .defaults = default_mqtt_source,
              .check = check_mqtt_source};
  Kind sink{.group = "sinks.wick.dev",
            .version = "v1alpha1",
            .kind = "MQTTSink",
            .plural = "mqttsinks",
            .singular = "mqttsink",
            .categories = {"all", "sinks"},
            .columns = {{"URL", "string", ".status.address.url"},
                        {"Server", "string", ".spec.url"},
                        age_column,
                        ready_column,
                        reason_column},
            .ducks = {"duck.knative.dev/addressable"},
            .webhook = "webhook.eventing.wick.dev",
            .schema = mqtt_sink_schema,
            .defaults = default_mqtt_sink,
            .check = check_mqtt_sink};
  return {std::move(source), std::move(sink)};
}

}  // namespace wick::model
