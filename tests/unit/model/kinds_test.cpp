#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <catch2/catch.hpp>
#include <set>

#include "wick/model/admission.hpp"
#include "wick/model/object_reader.hpp"
#include "wick/model/resource.hpp"
#include "wick/model/yaml.hpp"

using namespace wick;
using namespace wick::model;

namespace {

json::object yaml(std::string_view text) { return parse_yaml(text).value().at(0).as_object(); }

const PrinterColumn& column(const Kind& kind, std::string_view name) {
  for (const auto& column : kind.columns)
    if (column.name == name) return column;
  FAIL("no column " << name);
  throw 0;
}

}  // namespace

TEST_CASE("every row of the kind table has names of its own, a schema, a check and one stored version") {
  std::set<std::string> seen;
  for (const auto& kind : kinds()) {
    INFO(kind.api_version() << " " << kind.kind);
    CHECK(seen.insert(kind.api_version() + " " + std::string(kind.plural)).second);
    CHECK(find_kind(kind.group, kind.version, kind.plural) == &kind);
    CHECK(find_kind_by_name(kind.api_version(), kind.kind) == &kind);
    REQUIRE(kind.check);
    const auto& properties = schema_of(kind).at("properties").as_object();
    CHECK(properties.contains("metadata"));
    CHECK(properties.contains("status") == kind.has_status);
    REQUIRE(find_stored_kind(kind.resource()));
    CHECK(find_stored_kind(kind.resource())->stored);
    // An empty object of any kind is refused or accepted, not crashed upon.
    json::object empty;
    apply_defaults(kind, empty);
    CHECK_FALSE(validate(kind, empty, nullptr).empty());
  }
}

TEST_CASE("the columns of kubectl get are Knative's") {
  const auto names = [](const Kind& kind) {
    std::string text;
    for (const auto& column : kind.columns) text += std::string(text.empty() ? "" : ", ") + std::string(column.name);
    return text;
  };
  CHECK(names(service_kind()) == "URL, LatestCreated, LatestReady, Ready, Reason");
  CHECK(names(configuration_kind()) == "LatestCreated, LatestReady, Ready, Reason");
  CHECK(names(revision_kind()) == "Config Name, Generation, Ready, Reason, Actual Replicas, Desired Replicas");
  CHECK(names(route_kind()) == "URL, Ready, Reason");
  CHECK(names(domain_mapping_kind()) == "URL, Ready, Reason");
}

TEST_CASE("a cell is read by path, by condition, by label and by count") {
  const auto revision = yaml(R"(
metadata: {labels: {serving.knative.dev/configuration: hello}}
status: {actualReplicas: 2, conditions: [{type: Active, status: "False"}, {type: Ready, status: "True"}]})");
  CHECK(cell(column(revision_kind(), "Config Name"), revision) == "hello");
  CHECK(cell(column(revision_kind(), "Ready"), revision) == "True");
  CHECK(cell(column(revision_kind(), "Reason"), revision) == nullptr);
  CHECK(cell(column(revision_kind(), "Actual Replicas"), revision) == 2);
  CHECK(cell(column(secret_kind(), "Data"), yaml("data: {a: eA==, b: eA==}")) == 2);
  CHECK(cell(column(secret_kind(), "Data"), yaml("type: Opaque")) == 0);
}

TEST_CASE("fields that no schema knows are taken out and named, those that Knative refuses by name stay") {
  auto service = yaml(R"(
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello, labels: {any: thing}, nonsense: 1}
spec:
  templete: {}
  template:
    metadata: {annotations: {a/b: c}}
    spec:
      nodeName: somewhere
      containers:
      - image: hello
        imagee: hello
        lifecycle: {preStop: {}}
        resources: {limits: {memory: 1Mi}}
        env: [{name: A, valu: 1}]
status: {anything: 1, conditions: []}
)");
  CHECK(prune_unknown(service_kind(), service) ==
        std::vector<std::string>{"metadata.nonsense", "spec.template.spec.containers[0].env[0].valu",
                                 "spec.template.spec.containers[0].imagee", "spec.templete", "status.anything"});
  const auto& pod = service.at("spec").at("template").at("spec").as_object();
  CHECK(pod.contains("nodeName"));
  CHECK(pod.at("containers").at(0).as_object().contains("lifecycle"));
  CHECK(text_at(service, {"metadata", "labels", "any"}) == "thing");
  CHECK(prune_unknown(service_kind(), service).empty());
}

TEST_CASE("an older version is stored as the newer and read back as it was") {
  const auto* older = find_kind("eventing.knative.dev", "v1beta2", "eventtypes");
  REQUIRE(older);
  auto admitted = admit(*older, yaml(R"(
metadata: {name: made, namespace: default}
spec: {type: dev.made, source: /made, schema: "http://example.com/schema", description: A thing was made., broker: default})"),
                        {});
  REQUIRE(admitted);
  CHECK(text_at(*admitted, {"apiVersion"}) == "eventing.knative.dev/v1beta3");
  CHECK(text_at(*admitted, {"spec", "reference", "kind"}) == "Broker");
  from_stored(*older, *admitted);
  CHECK(text_at(*admitted, {"apiVersion"}) == "eventing.knative.dev/v1beta2");
  CHECK(text_at(*admitted, {"spec", "type"}) == "dev.made");
  CHECK(text_at(*admitted, {"spec", "source"}) == "/made");
  CHECK(text_at(*admitted, {"spec", "schema"}) == "http://example.com/schema");
  CHECK(text_at(*admitted, {"spec", "broker"}) == "default");
  CHECK_FALSE(admitted->at("spec").as_object().contains("attributes"));
}

TEST_CASE("secrets and config maps are refused with Kubernetes' text") {
  const auto refused = [](const Kind& kind, std::string_view text) {
    const auto admitted = admit(kind, yaml(text), {});
    return admitted ? std::string() : admitted.error().message();
  };
  CHECK(refused(secret_kind(), "metadata: {name: s}\nstringData: {key: plain}") == "");
  CHECK(refused(secret_kind(), "metadata: {name: s}\ndata: {'a b': eA==}") ==
        "Secret \"s\" is invalid: data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric "
        "characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is "
        "'[-._a-zA-Z0-9]+')");
  CHECK(refused(secret_kind(), "metadata: {name: s}\ntype: kubernetes.io/tls\ndata: {tls.crt: eA==}") ==
        "Secret \"s\" is invalid: data[tls.key]: Required value");
  CHECK(refused(secret_kind(), "metadata: {name: s}\ndata: {key: '*'}") ==
        "Secret \"s\" is invalid: data[key]: Invalid value: \"\": must be base64");
  CHECK(
      refused(config_map_kind(), "metadata: {name: Not_A_Name}")
          .starts_with("ConfigMap \"Not_A_Name\" is invalid: metadata.name: Invalid value: \"Not_A_Name\": a lowercase "
                       "RFC 1123 subdomain must"));
  CHECK(refused(config_map_kind(), "metadata: {name: c}\ndata: {a: x}\nbinaryData: {a: eA==}") ==
        "ConfigMap \"c\" is invalid: data[a]: Invalid value: \"a\": duplicate of key present in binaryData");
  CHECK(refused(config_map_kind(), "metadata: {name: c}\ndata: {a: 5}") ==
        "ConfigMap \"c\" is invalid: data[a]: Invalid value: 5: must be a string");
  CHECK(refused(config_map_kind(), "metadata: {name: c}\ndata: {a: '" + std::string(1 << 20, 'x') + "yy'}")
            .find("Too long: may not be more than 1048576 bytes") != std::string::npos);
  CHECK(refused(namespace_kind(), "metadata: {name: a.b}")
            .starts_with(
                "Namespace \"a.b\" is invalid: metadata.name: Invalid value: \"a.b\": a lowercase RFC 1123 label"));
}

TEST_CASE("a secret's plain values are stored encoded, and an immutable one stays as it is") {
  auto made = admit(secret_kind(), yaml("metadata: {name: s}\nstringData: {key: plain}\nimmutable: true"), {}).value();
  CHECK(text_at(made, {"type"}) == "Opaque");
  CHECK(text_at(made, {"data", "key"}) == "cGxhaW4=");
  CHECK_FALSE(made.contains("stringData"));
  auto next = made;
  next["data"].as_object()["key"] = "eA==";
  const auto refused = admit(secret_kind(), next, {.old = &made});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message() ==
        "Secret \"s\" is invalid: data: Forbidden: field is immutable when `immutable` is set");
  next = made;
  next["type"] = "other";
  CHECK(admit(secret_kind(), next, {.old = &made}).error().message() ==
        "Secret \"s\" is invalid: type: Invalid value: \"other\": field is immutable");
}

TEST_CASE("kinds of eventing are defaulted and refused with Knative's text") {
  const auto [resource, text, expected] = GENERATE(table<std::string, std::string, std::string>({
      {"channels.messaging.knative.dev", "", ""},
      {"channels.messaging.knative.dev", "channelTemplate: {kind: X}",
       "missing field(s): spec.channelTemplate.apiVersion"},
      {"channels.messaging.knative.dev", "delivery: {retry: -1}", "invalid value: -1: spec.delivery.retry"},
      {"inmemorychannels.messaging.knative.dev", "delivery: {backoffPolicy: random}",
       "invalid value: random: spec.delivery.backoffPolicy"},
      {"subscriptions.messaging.knative.dev", "subscriber: {uri: 'http://x'}",
       "missing field(s): spec.channel\nthe Subscription must reference a channel"},
      {"subscriptions.messaging.knative.dev", "channel: {apiVersion: messaging.knative.dev/v1, kind: Channel, name: c}",
       "missing field(s): spec.reply, spec.subscriber\nthe Subscription must reference at least one of (reply or a "
       "subscriber)"},
      {"subscriptions.messaging.knative.dev",
       "channel: {apiVersion: messaging.knative.dev/v1, kind: Channel}, subscriber: {uri: 'http://x'}",
       "missing field(s): spec.channel.name"},
      {"sequences.flows.knative.dev", "", "missing field(s): spec.steps"},
      {"sequences.flows.knative.dev", "steps: [{}]",
       "expected at least one, got none: spec.steps[0].ref, spec.steps[0].uri"},
      {"sequences.flows.knative.dev", "steps: [{uri: 'http://a'}], reply: {uri: b}",
       "invalid value: Relative URI is not allowed when Ref and [apiVersion, kind, name] is absent: spec.reply.uri"},
      {"parallels.flows.knative.dev", "", "missing field(s): spec.branches"},
      {"parallels.flows.knative.dev", "branches: [{}]",
       "expected at least one, got none: spec.branches[0].subscriber.ref, spec.branches[0].subscriber.uri"},
      {"pingsources.sources.knative.dev", "sink: {uri: 'http://x'}", ""},
      {"pingsources.sources.knative.dev", "sink: {uri: 'http://x'}, schedule: '*/2 * * * 1-5'", ""},
      {"pingsources.sources.knative.dev", "sink: {uri: 'http://x'}, schedule: '@hourly', timezone: Europe/Nowhere",
       "invalid value: Europe/Nowhere: spec.timezone\nunknown time zone Europe/Nowhere"},
      {"pingsources.sources.knative.dev", "sink: {uri: 'http://x'}, schedule: '@every 5s'",
       "invalid value: @every 5s: spec.schedule\nunsupported descriptor @every"},
      {"pingsources.sources.knative.dev", "sink: {uri: 'http://x'}, schedule: '61 * * * *'",
       "invalid value: 61 * * * *: spec.schedule\n'61' is no minute: 0 to 59"},
      {"pingsources.sources.knative.dev", "sink: {uri: 'http://x'}, schedule: '* *'",
       "invalid value: * *: spec.schedule\nexpected 5 to 6 fields, found 2: [* *]"},
      {"pingsources.sources.knative.dev", "sink: {uri: 'http://x'}, data: a, dataBase64: eA==",
       "expected exactly one, got both: spec.data, spec.dataBase64"},
      {"pingsources.sources.knative.dev", "sink: {uri: 'http://x'}, contentType: application/json, data: '[1]'",
       "invalid value: [1]: spec.data\nwith contentType application/json the data is a JSON object"},
      {"pingsources.sources.knative.dev", "", "expected at least one, got none: spec.sink.ref, spec.sink.uri"},
      {"containersources.sources.knative.dev", "sink: {uri: 'http://x'}",
       "missing field(s): spec.template.spec.containers"},
      {"containersources.sources.knative.dev", "sink: {uri: 'http://x'}, template: {spec: {containers: [{}]}}",
       "missing field(s): spec.template.spec.containers[0].image, spec.template.spec.containers[0].name"},
      {"sinkbindings.sources.knative.dev", "sink: {uri: 'http://x'}, subject: {apiVersion: v1, kind: Pod}",
       "expected exactly one, got neither: spec.subject.name, spec.subject.selector"},
      {"sinkbindings.sources.knative.dev", "sink: {uri: 'http://x'}, subject: {name: a}",
       "missing field(s): spec.subject.apiVersion, spec.subject.kind"},
      {"apiserversources.sources.knative.dev", "sink: {uri: 'http://x'}", "missing field(s): spec.resources"},
      {"apiserversources.sources.knative.dev",
       "sink: {uri: 'http://x'}, mode: Odd, resources: [{apiVersion: v1, kind: Event}]",
       "invalid value: Odd: spec.mode"},
      {"apiserversources.sources.knative.dev",
       "sink: {uri: 'http://x'}, resources: [{apiVersion: v1, kind: Event}], ceOverrides: {extensions: {a-b: c}}",
       "invalid key name \"a-b\": spec.ceOverrides.extensions\nkeys are expected to be alphanumeric"},
      {"jobsinks.sinks.knative.dev", "", "missing field(s): spec.job"},
      {"jobsinks.sinks.knative.dev", "job: {spec: {template: {spec: {containers: [{name: a}]}}}}",
       "missing field(s): spec.job.spec.template.spec.containers[0].image"},
      {"mqttsources.sources.wick.dev", "sink: {uri: 'http://x'}", "missing field(s): spec.topics, spec.url"},
      {"mqttsources.sources.wick.dev", "sink: {uri: 'http://x'}, url: 'mqtts://[::1]:8884', topics: [{topic: 'a/+/#'}]",
       ""},
      {"mqttsources.sources.wick.dev", "sink: {uri: 'http://x'}, url: 'tcp://h', topics: [{topic: a}]",
       "invalid value: tcp://h: spec.url\nmqtt://HOST[:PORT] or mqtts://HOST[:PORT] is expected, credentials in a "
       "Secret"},
      {"mqttsources.sources.wick.dev", "sink: {uri: 'http://x'}, url: 'mqtt://h', topics: [{topic: 'a/#/b', qos: 3}]",
       "expected 0 <= 3 <= 2: spec.topics[0].qos\ninvalid value: a/#/b: spec.topics[0].topic\n'#' is the last level, "
       "and alone in it"},
      {"mqttsources.sources.wick.dev",
       "sink: {uri: 'http://x'}, url: 'mqtt://h', topics: [{topic: a}], session: {expirySeconds: 0}, auth: {secret: "
       "{}}",
       "expected 1 <= 0 <= 4294967294: spec.session.expirySeconds\nmissing field(s): spec.auth.secret.ref.name"},
      {"mqttsinks.sinks.wick.dev", "url: 'mqtt://h'", "missing field(s): spec.topic"},
      {"webhooksources.sources.wick.dev", "sink: {uri: 'http://x'}, secret: {ref: {name: s}}", ""},
      {"webhooksources.sources.wick.dev", "sink: {uri: 'http://x'}", "missing field(s): spec.secret.ref.name"},
      {"webhooksources.sources.wick.dev",
       "provider: svn, events: [''], secret: {ref: {name: s}}, sink: {uri: 'http://x'}",
       "invalid value: : spec.events\ninvalid value: svn: spec.provider\ngithub, gitlab, gitea or generic"},
      {"mqttsinks.sinks.wick.dev", "url: 'mqtt://h', topic: 'rooms/{room}'", ""},
      {"mqttsinks.sinks.wick.dev", "url: 'mqtt://h', topic: 'rooms/+'",
       "invalid value: rooms/+: spec.topic\na topic to publish to has no wildcards"},
      {"mqttsinks.sinks.wick.dev", "url: 'mqtt://h', topic: 'rooms/{Room}'",
       "invalid value: rooms/{Room}: spec.topic\n{NAME} names an attribute of the event: {type}, {subject}"},
      {"mqttsinks.sinks.wick.dev", "url: 'mqtt://h', topic: a, version: 3.1.1, contentMode: binary",
       "invalid value: binary: spec.contentMode\nversion 3.1.1 has no properties: structured is expected"},
      {"mqttsinks.sinks.wick.dev", "url: 'mqtt://h:0', topic: a, version: '4'",
       "invalid value: 4: spec.version\n5 or 3.1.1\ninvalid value: mqtt://h:0: spec.url\nmqtt://HOST[:PORT] or "
       "mqtts://HOST[:PORT] is expected, credentials in a Secret"},
      {"eventtransforms.eventing.knative.dev", "", "expected exactly one, got neither: spec.jsonata"},
      {"eventtransforms.eventing.knative.dev", "jsonata: {}", "missing field(s): spec.jsonata.expression"},
      {"eventtransforms.eventing.knative.dev", "jsonata: {expression: a}", ""},
      {"eventtransforms.eventing.knative.dev", "jsonata: {expression: a}, reply: {discard: true}",
       "reply is set without spec.sink: spec.reply"},
      {"eventtransforms.eventing.knative.dev", "jsonata: {expression: a}, sink: {uri: 'http://x'}, reply: {}",
       "expected exactly one, got neither: spec.reply.discard, spec.reply.jsonata"},
      {"eventtransforms.eventing.knative.dev",
       "jsonata: {expression: a}, sink: {uri: 'http://x'}, reply: {discard: true, jsonata: {expression: b}}",
       "expected exactly one, got both: spec.reply.discard, spec.reply.jsonata"},
      {"eventtypes.eventing.knative.dev", "", "missing field(s): spec.attributes.type"},
      {"buildstrategies.shipwright.io", "", "missing field(s): spec.steps"},
  }));
  INFO(resource << " " << text);
  const auto* kind = find_stored_kind(resource);
  REQUIRE(kind);
  const auto admitted = admit(*kind, yaml("metadata: {name: a, namespace: default}\nspec: {" + text + "}"), {});
  const auto prefix =
      "admission webhook \"validation." + std::string(kind->webhook) + "\" denied the request: validation failed: ";
  CHECK((admitted ? std::string() : admitted.error().message()) == (expected.empty() ? "" : prefix + expected));
}

TEST_CASE("what eventing's kinds may not change is refused, with what changed") {
  const auto change = [](std::string_view resource, std::string_view before, std::string_view after) {
    const auto& kind = *find_stored_kind(resource);
    const auto made =
        admit(kind, yaml("metadata: {name: a, namespace: default}\nspec: {" + std::string(before) + "}"), {}).value();
    const auto next = admit(kind, yaml("metadata: {name: a, namespace: default}\nspec: {" + std::string(after) + "}"),
                            {.old = &made});
    REQUIRE_FALSE(next);
    const auto text = next.error().message();
    return text.substr(text.find("validation failed: ") + 19);
  };
  CHECK(change("channels.messaging.knative.dev", "", "channelTemplate: {apiVersion: a/v1, kind: K}")
            .starts_with("Immutable fields changed (-old +new): spec.channelTemplate\n"));
  CHECK(change("subscriptions.messaging.knative.dev",
               "channel: {apiVersion: m/v1, kind: Channel, name: a}, subscriber: {uri: 'http://x'}",
               "channel: {apiVersion: m/v1, kind: Channel, name: b}, subscriber: {uri: 'http://x'}") ==
        "Immutable fields changed (-old +new): spec.channel\nspec.channel.name:\n\t-: \"a\"\n\t+: \"b\"");
  CHECK(change("eventtypes.eventing.knative.dev", "attributes: [{name: type, value: a}]",
               "attributes: [{name: type, value: b}]")
            .starts_with("Immutable fields changed (-old +new): spec\nspec.attributes[0].value:"));
}
