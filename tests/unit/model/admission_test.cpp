#include "wick/model/admission.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <catch2/catch.hpp>

#include "wick/model/object_reader.hpp"
#include "wick/model/service.hpp"
#include "wick/model/yaml.hpp"

using namespace wick;
using namespace wick::model;

namespace {

json::object yaml(std::string_view text) { return parse_yaml(text).value().at(0).as_object(); }

/// A Service whose container, template spec, template annotations and Service spec carry what a case adds.
json::object service(std::string_view container = "", std::string_view spec = "", std::string_view annotations = "",
                     std::string_view service_spec = "", std::string_view metadata = "name: hello") {
  return yaml("apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {" + std::string(metadata) + "}\nspec: {" +
              std::string(service_spec) + " template: {metadata: {annotations: {" + std::string(annotations) +
              "}}, spec: {" + std::string(spec) + " containers: [{image: dev.local/hello, " + std::string(container) +
              "}]}}}");
}

std::string complaint(const Kind& kind, json::object object) {
  apply_defaults(kind, object);
  return validate(kind, object, nullptr);
}

struct Case {
  const char* text;
  const char* expected;
};

}  // namespace

TEST_CASE("a container that breaks Knative's rules is refused with Knative's text") {
  const auto [text, expected] = GENERATE(table<std::string, std::string>({
      {"", ""},
      {"name: queue-proxy", "\"queue-proxy\" is a reserved container name: spec.template.spec.containers[0].name"},
      {"ports: [{containerPort: 8022}]",
       "invalid value: 8022 is a reserved port: spec.template.spec.containers[0].ports.containerPort\n8022 is a "
       "reserved port, please use a "
       "different value"},
      {"ports: [{containerPort: 70000}]",
       "expected 0 <= 70000 <= 65535: spec.template.spec.containers[0].ports.containerPort"},
      {"ports: [{containerPort: 80, name: web}]",
       "Port name web is not allowed: spec.template.spec.containers[0].ports\nName must be empty, or one of: 'h2c', "
       "'http1'"},
      {"ports: [{containerPort: 80, protocol: UDP}]",
       "invalid value: UDP: spec.template.spec.containers[0].ports.protocol"},
      {"ports: [{containerPort: 80}, {containerPort: 81}]",
       "more than one container port is set: spec.template.spec.containers[*].ports\nOnly a single port is allowed "
       "across all containers"},
      {"ports: [{containerPort: 80, hostPort: 80}]",
       "must not set the field(s): spec.template.spec.containers[0].ports[0].hostPort"},
      {"env: [{name: PORT, value: '1'}]",
       "\"PORT\" is a reserved environment variable: spec.template.spec.containers[0].env[0].name"},
      {"env: [{value: x}]", "missing field(s): spec.template.spec.containers[0].env[0].name"},
      {"env: [{name: A, valueFrom: {}}]",
       "expected exactly one, got neither: spec.template.spec.containers[0].env[0].valueFrom.configMapKeyRef, "
       "spec.template.spec.containers[0].env[0].valueFrom.secretKeyRef"},
      {"env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}, {name: B, valueFrom: {configMapKeyRef: {name: "
       "c, "
       "key: k, optional: true}}}]",
       ""},
      {"env: [{name: A, valueFrom: {secretKeyRef: {name: s}}}]",
       "missing field(s): spec.template.spec.containers[0].env[0].valueFrom.secretKeyRef.key"},
      {"env: [{name: A, valueFrom: {configMapKeyRef: {key: s}}}]",
       "missing field(s): spec.template.spec.containers[0].env[0].valueFrom.configMapKeyRef.name"},
      {"env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]",
       "must not set the field(s): spec.template.spec.containers[0].env[0].valueFrom.fieldRef"},
      {"env: [{name: A, value: x, valueFrom: {secretKeyRef: {name: s, key: k}}}]",
       "expected exactly one, got both: spec.template.spec.containers[0].env[0].value, "
       "spec.template.spec.containers[0].env[0].valueFrom"},
      {"env: [{name: K_SERVICE, value: x}]",
       "\"K_SERVICE\" is a reserved environment variable: spec.template.spec.containers[0].env[0].name"},
      {"envFrom: [{prefix: P_, secretRef: {name: s}}, {configMapRef: {name: c, optional: true}}]", ""},
      {"envFrom: [{}]",
       "expected exactly one, got neither: spec.template.spec.containers[0].envFrom[0].configMapRef, "
       "spec.template.spec.containers[0].envFrom[0].secretRef"},
      {"envFrom: [{secretRef: {}}]", "missing field(s): spec.template.spec.containers[0].envFrom[0].secretRef.name"},
      {"env: [{name: A, value: 5}]",
       "invalid value: 5: spec.template.spec.containers[0].env[0].value\nexpected a string"},
      {"stdin: true, tty: true",
       "must not set the field(s): spec.template.spec.containers[0].stdin, spec.template.spec.containers[0].tty"},
      {"lifecycle: {preStop: {}}", "must not set the field(s): spec.template.spec.containers[0].lifecycle"},
      {"securityContext: {runAsUser: -10}",
       "expected 0 <= -10 <= 2147483647: spec.template.spec.containers[0].securityContext.runAsUser"},
      {"securityContext: {runAsNonRoot: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, "
       "seccompProfile: {type: "
       "RuntimeDefault}}",
       ""},
      {"securityContext: {capabilities: {add: [NET_ADMIN]}}",
       "must not set the field(s): spec.template.spec.containers[0].securityContext.capabilities.add"},
      {"resources: {limits: {memory: 128Mi, cpu: 500m}, requests: {memory: 64Mi}}", ""},
      {"resources: {limits: {memory: lots}}",
       "invalid value: lots: spec.template.spec.containers[0].resources.limits.memory\nquantities must match the "
       "regular expression "
       "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"},
      {"resources: {limits: {memory: 1Mi}, requests: {memory: 2Mi}}",
       "invalid value: 2Mi: spec.template.spec.containers[0].resources.requests.memory\nmust be less than or equal to "
       "memory limit"},
      {"readinessProbe: {httpGet: {path: /, port: 9999}}",
       "invalid value: 9999: spec.template.spec.containers[0].readinessProbe.httpGet.port\nMay only probe "
       "containerPort"},
      {"readinessProbe: {failureThreshold: 3}",
       "failureThreshold is disallowed when periodSeconds is zero: "
       "spec.template.spec.containers[0].readinessProbe.failureThreshold"},
      {"readinessProbe: {exec: {command: [x, '']}}, livenessProbe: {exec: {command: [x]}, periodSeconds: 1}", ""},
      {"readinessProbe: {exec: {}}", "missing field(s): spec.template.spec.containers[0].readinessProbe.exec.command"},
      {"livenessProbe: {exec: {command: [x]}, httpGet: {path: /}}",
       "expected exactly one, got both: spec.template.spec.containers[0].livenessProbe.exec, "
       "spec.template.spec.containers[0].livenessProbe.httpGet"},
      {"readinessProbe: {grpc: {service: shop}}, startupProbe: {grpc: {port: 8080}}, livenessProbe: {grpc: {}}", ""},
      {"readinessProbe: {grpc: {port: 1}}",
       "invalid value: 1: spec.template.spec.containers[0].readinessProbe.grpc.port\nMay only probe containerPort"},
      {"terminationMessagePath: /tmp/end, terminationMessagePolicy: File", ""},
      {"terminationMessagePolicy: Never",
       "invalid value: Never: spec.template.spec.containers[0].terminationMessagePolicy\nFile or "
       "FallbackToLogsOnError"},
      {"terminationMessagePath: tmp/../end",
       "invalid value: tmp/../end: spec.template.spec.containers[0].terminationMessagePath\nan absolute path without "
       "'..'"},
      {"terminationMessagePath: /proc/1/fd/1",
       "invalid value: /proc/1/fd/1: spec.template.spec.containers[0].terminationMessagePath\nnothing can be mounted "
       "on or below /proc"},
      {"readinessProbe: {successThreshold: -1}",
       "expected 1 <= -1 <= 2147483647: spec.template.spec.containers[0].readinessProbe.successThreshold"},
  }));
  INFO(text);
  CHECK(complaint(service_kind(), service(text)) == expected);
}

TEST_CASE("a revision spec and its annotations are refused with Knative's text") {
  const auto [spec, annotations, expected] = GENERATE(table<std::string, std::string, std::string>({
      {"containerConcurrency: 1001,", "", "expected 0 <= 1001 <= 1000: spec.template.spec.containerConcurrency"},
      {"timeoutSeconds: 601,", "", "expected 0 <= 601 <= 600: spec.template.spec.timeoutSeconds"},
      {"volumes: [],", "", ""},
      {"serviceAccountName: foo@bar.baz,", "", "invalid value: foo@bar.baz: spec.template.spec.serviceAccountName"},
      {"serviceAccountName: builder, imagePullSecrets: [{name: registry}],", "", ""},
      {"imagePullSecrets: [{}],", "", "missing field(s): spec.template.spec.imagePullSecrets[0].name"},
      {"automountServiceAccountToken: false,", "", ""},
      {"automountServiceAccountToken: true,", "",
       "must not set the field(s): spec.template.spec.automountServiceAccountToken"},
      {"enableServiceLinks: true,", "", "invalid value: true: spec.template.spec.enableServiceLinks"},
      {"", "serving.knative.dev/progress-deadline: 1.5s",
       "progress-deadline=1.5s is not at second precision: "
       "spec.template.metadata.annotations.serving.knative.dev/progress-deadline"},
      {"", "serving.knative.dev/progress-deadline: 0s",
       "progress-deadline=0s must be positive: "
       "spec.template.metadata.annotations.serving.knative.dev/progress-deadline"},
      {"", "serving.knative.dev/progressDeadline: soon",
       "invalid value: soon: spec.template.metadata.annotations.serving.knative.dev/progressDeadline"},
      {"", "networking.knative.dev/disable-auto-tls: 'true'", ""},
      {"", "networking.knative.dev/nonsense: 'true'",
       "invalid key name \"networking.knative.dev/nonsense\": spec.template.metadata.annotations"},
      {"", "queue.sidecar.serving.knative.dev/cpu-resource-request: 100m", ""},
      {"", "queue.sidecar.serving.knative.dev/memory-resource-limit: lots",
       "invalid value: lots: "
       "spec.template.metadata.annotations.queue.sidecar.serving.knative.dev/memory-resource-limit"},
      {"", "queue.sidecar.serving.knative.dev/resource-percentage: '101'",
       "expected 0.1 <= 101 <= 100: "
       "spec.template.metadata.annotations.queue.sidecar.serving.knative.dev/resource-percentage"},
      {"", "features.knative.dev/http-full-duplex: maybe",
       "invalid value: maybe: spec.template.metadata.annotations.features.knative.dev/http-full-duplex"},
      {"nodeName: x, hostNetwork: true,", "",
       "must not set the field(s): spec.template.spec.hostNetwork, spec.template.spec.nodeName"},
      {"", "autoscaling.knative.dev/min-scale: '-1'",
       "expected 0 <= -1 <= 2147483647: spec.template.metadata.annotations.autoscaling.knative.dev/min-scale"},
      {"", "autoscaling.knative.dev/minScale: 'x'",
       "invalid value: x: spec.template.metadata.annotations.autoscaling.knative.dev/minScale"},
      {"", "autoscaling.knative.dev/min-scale: '2', autoscaling.knative.dev/max-scale: '1'",
       "max-scale=1 is less than min-scale=2: spec.template.metadata.annotations.autoscaling.knative.dev/max-scale, "
       "spec.template.metadata.annotations.autoscaling.knative.dev/min-scale"},
      {"", "autoscaling.knative.dev/window: 5s",
       "expected 6s <= 5s <= 1h0m0s: spec.template.metadata.annotations.autoscaling.knative.dev/window"},
      {"", "autoscaling.knative.dev/window: 6500ms",
       "must be specified with at most second precision: "
       "spec.template.metadata.annotations.autoscaling.knative.dev/window"},
      {"", "autoscaling.knative.dev/target: '0.001'",
       "target 0.001 should be at least 0.01: spec.template.metadata.annotations.autoscaling.knative.dev/target"},
      {"", "autoscaling.knative.dev/nonsense: '1'",
       "invalid key name \"autoscaling.knative.dev/nonsense\": spec.template.metadata.annotations"},
  }));
  INFO(spec << annotations);
  CHECK(complaint(service_kind(), service("", spec, annotations)) == expected);
}

TEST_CASE("volumes and their mounts are refused with Knative's text") {
  const auto [container, volumes, expected] = GENERATE(table<std::string, std::string, std::string>({
      {"volumeMounts: [{name: v, mountPath: /v}]", "{name: v, emptyDir: {medium: Memory, sizeLimit: 100M}}", ""},
      {"volumeMounts: [{name: v, mountPath: /v, subPath: a/b, readOnly: true}, {name: v, mountPath: /w/}]",
       "{name: v, emptyDir: {}}", ""},
      {"volumeMounts: [{name: v, mountPath: /v}]",
       "{name: v, secret: {secretName: s, optional: true, defaultMode: 256, items: [{key: k, path: a/b, mode: 256}]}}",
       ""},
      {"volumeMounts: [{name: v, mountPath: /v}]",
       "{name: v, projected: {defaultMode: 256, sources: [{secret: {name: s}}, {configMap: {name: c, optional: "
       "true}}]}}",
       ""},
      {"", "{name: v, emptyDir: {}}", "volume with name \"v\" not mounted: spec.template.spec.volumes[0].name"},
      {"volumeMounts: [{name: w, mountPath: /v}]", "",
       "volumeMount has no matching volume: spec.template.spec.containers[0].volumeMounts[0].name"},
      {"volumeMounts: [{name: v, mountPath: /v}]", "{name: v, emptyDir: {}}, {name: v, emptyDir: {}}",
       "duplicate volume name \"v\": spec.template.spec.volumes[1].name"},
      {"volumeMounts: [{name: v.v, mountPath: /v}]", "{name: v.v, emptyDir: {}}",
       "invalid value: v.v: spec.template.spec.volumes[0].name"},
      {"volumeMounts: [{name: v}]", "{name: v, emptyDir: {}}",
       "missing field(s): spec.template.spec.containers[0].volumeMounts[0].mountPath"},
      {"volumeMounts: [{name: v, mountPath: /dev/../dev/log}]", "{name: v, emptyDir: {}}",
       "mountPath \"/dev/log\" is a reserved path: spec.template.spec.containers[0].volumeMounts[0].mountPath"},
      {"volumeMounts: [{name: v, mountPath: /}]", "{name: v, emptyDir: {}}",
       "mountPath \"/\" is a reserved path: spec.template.spec.containers[0].volumeMounts[0].mountPath"},
      {"volumeMounts: [{name: v, mountPath: v}]", "{name: v, emptyDir: {}}",
       "invalid value: v: spec.template.spec.containers[0].volumeMounts[0].mountPath"},
      {"volumeMounts: [{name: v, mountPath: /proc/1}]", "{name: v, emptyDir: {}}",
       "invalid value: /proc/1: spec.template.spec.containers[0].volumeMounts[0].mountPath\nnothing can be mounted on "
       "or below /proc"},
      {"volumeMounts: [{name: v, mountPath: /v}, {name: v, mountPath: /v/}]", "{name: v, emptyDir: {}}",
       "invalid value: \"/v/\" must be unique: spec.template.spec.containers[0].volumeMounts[1].mountPath"},
      {"volumeMounts: [{name: v, mountPath: /v, readOnly: false}]", "{name: v, configMap: {name: c}}",
       "volume mount should be readOnly for this type of volume: "
       "spec.template.spec.containers[0].volumeMounts[0].readOnly"},
      {"volumeMounts: [{name: v, mountPath: /v, subPath: ../x}]", "{name: v, emptyDir: {}}",
       "invalid value: ../x: spec.template.spec.containers[0].volumeMounts[0].subPath\nmust be a relative path without "
       "'..'"},
      {"volumeMounts: [{name: v, mountPath: /v, mountPropagation: None}]", "{name: v, emptyDir: {}}",
       "must not set the field(s): spec.template.spec.containers[0].volumeMounts[0].mountPropagation"},
      {"volumeMounts: [{name: v, mountPath: /v}]", "{name: v}",
       "expected exactly one, got neither: spec.template.spec.volumes[0].configMap, "
       "spec.template.spec.volumes[0].emptyDir, spec.template.spec.volumes[0].projected, "
       "spec.template.spec.volumes[0].secret"},
      {"volumeMounts: [{name: v, mountPath: /v}]", "{name: v, emptyDir: {}, secret: {secretName: s}}",
       "expected exactly one, got both: spec.template.spec.volumes[0].emptyDir, spec.template.spec.volumes[0].secret"},
      {"volumeMounts: [{name: v, mountPath: /v}]", "{name: v, hostPath: {path: /}}",
       "must not set the field(s): spec.template.spec.volumes[0].hostPath"},
      {"volumeMounts: [{name: v, mountPath: /v}]", "{name: v, persistentVolumeClaim: {claimName: p}}",
       "Persistent volume claim support is disabled, but found persistent volume claim p: "
       "spec.template.spec.volumes[0].persistentVolumeClaim"},
      {"volumeMounts: [{name: v, mountPath: /v}]", "{name: v, emptyDir: {medium: Disk, sizeLimit: -1}}",
       "invalid value: -1: spec.template.spec.volumes[0].emptyDir.sizeLimit\ninvalid value: Disk: "
       "spec.template.spec.volumes[0].emptyDir.medium"},
      {"volumeMounts: [{name: v, mountPath: /v}]", "{name: v, secret: {items: [{}]}}",
       "missing field(s): spec.template.spec.volumes[0].items[0].key, spec.template.spec.volumes[0].items[0].path, "
       "spec.template.spec.volumes[0].secret.secretName"},
      {"volumeMounts: [{name: v, mountPath: /v}]", "{name: v, projected: {sources: [{}, {secret: {}}]}}",
       "expected exactly one, got neither: spec.template.spec.volumes[0].projected[0].configMap, "
       "spec.template.spec.volumes[0].projected[0].downwardAPI, spec.template.spec.volumes[0].projected[0].secret, "
       "spec.template.spec.volumes[0].projected[0].serviceAccountToken\nmissing field(s): "
       "spec.template.spec.volumes[0].projected[1].secret.name"},
      {"volumeMounts: [{name: v, mountPath: /v}]",
       "{name: v, configMap: {name: c, defaultMode: 512, items: [{key: k, path: /abs}]}}",
       "invalid value: /abs: spec.template.spec.volumes[0].items[0].path\nmust be a relative path without "
       "'..'\ninvalid "
       "value: 512: spec.template.spec.volumes[0].configMap.defaultMode\nmust be a number between 0 and 0777 (octal), "
       "both inclusive"},
  }));
  INFO(container << " | " << volumes);
  CHECK(complaint(service_kind(), service(container, "volumes: [" + volumes + "],")) == expected);
}

TEST_CASE("mounts of files are read-only where they do not say, those of an emptyDir are not") {
  auto object = service("volumeMounts: [{name: s, mountPath: /s}, {name: e, mountPath: /e}]",
                        "volumes: [{name: s, secret: {secretName: s}}, {name: e, emptyDir: {}}],");
  apply_defaults(service_kind(), object);
  const auto* mounts = find_value(object, {"spec", "template", "spec", "containers"});
  const auto& list = mounts->at(0).at("volumeMounts").as_array();
  CHECK(list[0].at("readOnly") == true);
  CHECK_FALSE(list[1].as_object().contains("readOnly"));
}

TEST_CASE("a traffic list is refused with Knative's text") {
  const auto [traffic, expected] = GENERATE(table<std::string, std::string>({
      {"{percent: 100}", ""},
      {"{revisionName: a, percent: 90}, {percent: 10}", ""},
      {"{percent: 101}",
       "Traffic targets sum to 101, want 100: spec.traffic\nexpected 0 <= 101 <= 100: spec.traffic[0].percent"},
      {"{percent: 90}", "Traffic targets sum to 90, want 100: spec.traffic"},
      {"{percent: 50, tag: x}, {percent: 50, tag: x}",
       "Multiple definitions for \"x\": spec.traffic[0].tag, spec.traffic[1].tag"},
      {"{percent: 100, configurationName: hello}", "must not set the field(s): spec.traffic[0].configurationName"},
      {"{percent: 100, url: 'http://x'}", "must not set the field(s): spec.traffic[0].url"},
      {"{percent: 100, revisionName: a, latestRevision: true}",
       "may not set revisionName \"a\" when latestRevision is true: spec.traffic[0].latestRevision"},
  }));
  INFO(traffic);
  CHECK(complaint(service_kind(), service("", "", "", "traffic: [" + traffic + "],")) == expected);
}

TEST_CASE("names and metadata follow Knative's rules") {
  CHECK(complaint(service_kind(), service("", "", "", "", "generateName: hello-")).empty());
  CHECK(complaint(service_kind(), service("", "", "", "", "x: y")) ==
        "name or generateName is required: metadata.name");
  CHECK(complaint(service_kind(), service("", "", "", "", "name: Hello"))
            .starts_with("not a DNS 1035 label: [a DNS-1035 label must consist of"));
  CHECK(complaint(service_kind(), service("", "", "", "", "name: " + std::string(64, 'a'))) ==
        "not a DNS 1035 label: [must be no more than 63 characters]: metadata.name");
  CHECK(complaint(service_kind(),
                  service("", "", "", "", "name: hello, annotations: {autoscaling.knative.dev/min-scale: '1'}")) ==
        "invalid key name \"autoscaling.knative.dev/min-scale\": metadata.annotations\nautoscaling annotations must be "
        "put under "
        "\"spec.template.metadata.annotations\" to work");
}

TEST_CASE("defaults do not paper over what has the wrong type") {
  CHECK(complaint(service_kind(), yaml("metadata: {name: a}\nspec: text"))
            .find("invalid value: \"text\": spec\nexpected an object") != std::string::npos);
  CHECK(complaint(service_kind(), yaml("metadata: {name: a}\nspec: {template: []}"))
            .find("invalid value: []: spec.template\n") != std::string::npos);
  CHECK(complaint(broker_kind(), yaml("metadata: {name: a}\nspec: 5")) == "invalid value: 5: spec\nexpected an object");
  CHECK(complaint(trigger_kind(), yaml("metadata: {name: a}\nspec: {filter: x, subscriber: {uri: 'http://x'}}")) ==
        "invalid value: \"x\": spec.filter\nexpected an object");
}

TEST_CASE("defaults are Knative's") {
  auto object = service();
  apply_defaults(service_kind(), object);
  CHECK(
      json::serialize(object["spec"]) ==
      R"({"template":{"metadata":{"annotations":{}},"spec":{"containers":[{"image":"dev.local/hello","name":"user-container","resources":{},)"
      R"("readinessProbe":{"tcpSocket":{"port":0},"successThreshold":1}}],"containerConcurrency":0,"timeoutSeconds":300,)"
      R"("enableServiceLinks":false}},"traffic":[{"latestRevision":true,"percent":100}]})");
  const auto once = object;
  apply_defaults(service_kind(), object);
  CHECK(object == once);
}

TEST_CASE(
    "an update keeps the creator, moves the last modifier with the spec, and needs a new name for a new template") {
  auto first = admit(service_kind(), service(), {.old = nullptr, .user = "alice"}).value();
  CHECK(text_at(first, {"metadata", "annotations", names::creator}) == "alice");

  auto same = admit(service_kind(), service(), {.old = &first, .user = "bob"}).value();
  CHECK(text_at(same, {"metadata", "annotations", names::creator}) == "alice");
  CHECK(text_at(same, {"metadata", "annotations", names::last_modifier}) == "alice");
  auto changed = admit(service_kind(), service("args: [x]"), {.old = &first, .user = "bob"}).value();
  CHECK(text_at(changed, {"metadata", "annotations", names::last_modifier}) == "bob");

  auto stolen = changed;
  object_at(stolen, {"metadata", "annotations"})[names::creator] = "bob";
  const auto refused = admit(service_kind(), stolen, {.old = &first, .user = "bob"});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message() ==
        "admission webhook \"validation.webhook.serving.knative.dev\" denied the request: validation failed: "
        "annotation value is immutable: "
        "metadata.annotations.serving.knative.dev/creator");

  auto named = service();
  object_at(named, {"spec", "template", "metadata"})["name"] = "hello-one";
  named = admit(service_kind(), named, {}).value();
  auto renamed = named;
  object_at(renamed, {"spec", "template", "spec"})["timeoutSeconds"] = 5;
  CHECK(validate(service_kind(), renamed, &named) ==
        "Saw the following changes without a name change (-old +new): "
        "spec.template.metadata.name\nspec.template.spec.timeoutSeconds:\n\t-: "
        "300\n\t+: 5");
  object_at(renamed, {"spec", "template", "metadata"})["name"] = "other";
  CHECK(validate(service_kind(), renamed, &named) ==
        "invalid value: \"other\" must have prefix \"hello-\": spec.template.metadata.name");
}

TEST_CASE("initial-scale 0 is for whoever allowed it, on a Service and on a Revision") {
  for (const std::string spelling : {"initial-scale", "initialScale"}) {
    INFO(spelling);
    auto object = service();
    object_at(object, {"spec", "template", "metadata", "annotations"})["autoscaling.knative.dev/" + spelling] = "0";
    const auto refused = admit(service_kind(), object, {});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message() ==
          "admission webhook \"validation.webhook.serving.knative.dev\" denied the request: validation failed: "
          "invalid value: 0: spec.template.metadata.annotations.autoscaling.knative.dev/initial-scale=0 not allowed by "
          "cluster\nwick serve --allow-zero-initial-scale allows it");
    CHECK(admit(service_kind(), object, {.policy = {.allow_zero_initial_scale = true}}));
  }
  auto revision = yaml(
      "metadata: {name: a, annotations: {autoscaling.knative.dev/initial-scale: '0'}}\nspec: {containers: [{image: "
      "a}]}");
  CHECK_FALSE(admit(revision_kind(), revision, {}));
  CHECK(admit(revision_kind(), revision, {.policy = {.allow_zero_initial_scale = true}}));
  object_at(revision, {"metadata", "annotations"})["autoscaling.knative.dev/initial-scale"] = "1";
  CHECK(admit(revision_kind(), revision, {}));
}

TEST_CASE("a revision's spec is immutable") {
  auto revision = yaml("metadata: {name: hello-00001}\nspec: {containers: [{image: a}]}");
  apply_defaults(revision_kind(), revision);
  CHECK(validate(revision_kind(), revision, nullptr).empty());
  auto other = revision;
  object_at(other, {"spec"})["timeoutSeconds"] = 1;
  CHECK(validate(revision_kind(), other, &revision) ==
        "Immutable fields changed (-old +new): spec\nspec.timeoutSeconds:\n\t-: 300\n\t+: 1");
}

TEST_CASE("brokers and triggers get their defaults and refuse what is wrong") {
  auto broker = admit(broker_kind(), yaml("metadata: {name: default, namespace: default}"), {}).value();
  CHECK(json::serialize(broker["spec"]) ==
        R"({"delivery":{"retry":10,"backoffPolicy":"exponential","backoffDelay":"PT0.2S"}})");
  auto reclassed = broker;
  object_at(reclassed, {"metadata", "annotations"})[names::broker_class] = "Kafka";
  CHECK(validate(broker_kind(), reclassed, &broker)
            .starts_with("Immutable fields changed (-old +new): metadata.annotations.eventing.knative.dev/"));

  const auto trigger = [](std::string spec) {
    return complaint(trigger_kind(), yaml("metadata: {name: t, namespace: default}\nspec: {" + spec + "}"));
  };
  const std::string subscriber = "subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: hello}}";
  CHECK(trigger(subscriber).empty());
  CHECK(trigger("broker: b, subscriber: {uri: 'http://x/'}").empty());
  CHECK(trigger("broker: b") == "expected at least one, got none: spec.subscriber.ref, spec.subscriber.uri");
  CHECK(trigger(subscriber + ", filter: {attributes: {Type: x}}") ==
        "Invalid attribute name: \"Type\": spec.filter.attributes");
  CHECK(trigger(subscriber +
                ", filters: [{exact: {type: x}}, {any: [{prefix: {source: /a}}, {not: {cesql: 'id > 1'}}]}, {}]")
            .empty());
  CHECK(trigger(subscriber + ", filters: [{exact: {type: x}, prefix: {type: y}}]") ==
        "multiple dialects found, filters can have only one dialect set: spec.filters[0]");
  CHECK(trigger(subscriber + ", filters: [{all: [{exact: {Type: x}}]}]") ==
        "invalid key name \"Type\": spec.filters[0].all[0].exact");
  CHECK(trigger(subscriber + ", filters: [{like: {type: x}}]") == "must not set the field(s): spec.filters[0].like");
  CHECK(trigger(subscriber + ", delivery: {format: xml, retryAfterMax: PT5S}") ==
        "invalid value: xml: spec.delivery.format");
  CHECK(trigger(subscriber + ", delivery: {retry: -1}") == "invalid value: -1: spec.delivery.retry");
  CHECK(trigger(subscriber + ", delivery: {backoffPolicy: random, backoffDelay: 1s}") ==
        "invalid value: 1s: spec.delivery.backoffDelay\ninvalid value: random: spec.delivery.backoffPolicy");
}

TEST_CASE("a build run names exactly one build, a source, and a manifest that would be accepted") {
  const auto run = [](std::string spec, std::string annotation = "") {
    return complaint(build_run_kind(), yaml("metadata: {name: b" + annotation + "}\nspec: " + spec));
  };
  CHECK(run("{build: {spec: {source: {type: Git, git: {url: 'https://x/y'}}, output: {image: hello}}}}").empty());
  CHECK(run("{build: {name: b}}").empty());
  CHECK(run("{build: {}}") == "expected exactly one, got neither: spec.build.name, spec.build.spec");
  CHECK(run("{build: {spec: {source: {type: Git, git: {}}, output: {image: hello}}}}") ==
        "missing field(s): spec.build.spec.source.git.url");
  CHECK(run("{build: {spec: {source: {type: Local, local: {name: short}}, output: {image: hello}}}}") ==
        "invalid value: short: spec.build.spec.source.local.name\nthe name an upload was given: 64 hex digits");
  CHECK(run("{build: {spec: {source: {git: {url: u}, contextDir: ../up}, output: {image: hello}}}}") ==
        "invalid value: ../up: spec.build.spec.source.contextDir\na folder below the root of the source");
  CHECK(run("{build: {spec: {source: {git: {url: u}}, output: {image: hello}, paramValues: [{name: x, value: y}]}}}") ==
        "invalid value: x: spec.build.spec.paramValues[0].name\none of: allow-local, build-args, dockerfile, target");
  CHECK(run("{build: {spec: {source: {git: {url: u}}, output: {image: hello}, strategy: {name: node}}}}").empty());
  CHECK(run("{build: {spec: {source: {git: {url: u}}, output: {image: hello}, strategy: {name: No!}}}}") ==
        "invalid value: No!: spec.build.spec.strategy.name\n\"wick\", or the name of a builder");
  const auto deploy = [](std::string manifest) { return ", annotations: {wick.dev/deploy: '" + manifest + "'}"; };
  CHECK(run("{build: {name: b}}",
            deploy(R"({"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"hello"}})"))
            .empty());
  CHECK(run("{build: {name: b}}",
            deploy(R"({"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"NO"}})"))
            .starts_with(
                "invalid value: the Service manifest: metadata.annotations.wick.dev/deploy\nnot a DNS 1035 label"));
}

TEST_CASE("a domain mapping's name is a domain of somebody else's, and it refers to one thing") {
  const auto mapping = [](std::string metadata, std::string spec) {
    return complaint(domain_mapping_kind(),
                     yaml("metadata: {namespace: default, " + metadata + "}\nspec: {" + spec + "}"));
  };
  const std::string ref = "ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: hello}";
  CHECK(mapping("name: shop.example.org", ref) == "");
  CHECK(mapping("name: shop.svc.cluster.local", ref) ==
        "invalid value: shop.svc.cluster.local: metadata.name\nmust not be a subdomain of cluster local domain "
        "\"cluster.local\"");
  CHECK(mapping("name: shop", ref)
            .starts_with("not a DNS 1123 subdomain: [should be a domain with at least two segments"));
  CHECK(mapping("generateName: shop-", ref).find("must not set the field(s): metadata.generateName") !=
        std::string::npos);
  CHECK(mapping("name: shop.example.org", "") == "missing field(s): spec.ref.apiVersion, spec.ref.kind, spec.ref.name");
  CHECK(mapping("name: shop.example.org",
                "ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: a, namespace: b}") ==
        "mismatched namespaces: spec.ref.namespace\nparent namespace: \"default\" does not match ref: \"b\"");
  CHECK(mapping("name: shop.example.org", "ref: {apiVersion: v1, kind: Pod, name: a}") ==
        "invalid value: v1 Pod: spec.ref\na domain maps to a serving.knative.dev/v1 Service or Route here");
  CHECK(mapping("name: shop.example.org", ref + ", tls: {secretName: s}") == "");
  CHECK(mapping("name: shop.example.org", ref + ", tls: {}") == "missing field(s): spec.tls.secretName");
  CHECK(mapping("name: shop.example.org", ref + ", tls: {secretName: s, more: 1}") ==
        "must not set the field(s): spec.tls.more");
}

TEST_CASE("containers without a name get one that is not taken") {
  const auto names_of = [](std::string containers) {
    auto object = yaml("metadata: {name: a}\nspec: {template: {spec: {containers: [" + containers + "]}}}");
    apply_defaults(service_kind(), object);
    std::string text;
    for (const auto& container : object.at("spec").at("template").at("spec").at("containers").as_array())
      text += text_at(container.as_object(), {"name"}) + " ";
    return text;
  };
  CHECK(names_of("{image: a}") == "user-container ");
  CHECK(names_of("{image: a}, {image: b}") == "user-container-0 user-container-1 ");
  CHECK(names_of("{image: a}, {image: b, name: user-container-0}, {image: c, name: ''}") ==
        "user-container-1 user-container-0 user-container-2 ");
}

TEST_CASE("what this version does not run is refused by name, never ignored") {
  for (const std::string field :
       {"securityContext: {runAsUser: 1}", "affinity: {}", "nodeSelector: {a: b}", "tolerations: []",
        "hostNetwork: true", "shareProcessNamespace: true", "restartPolicy: Never", "terminationGracePeriodSeconds: 5",
        "hostname: a", "priorityClassName: a", "schedulerName: a", "dnsPolicy: None", "hostAliases: []",
        "topologySpreadConstraints: []"}) {
    const auto name = field.substr(0, field.find(':'));
    CHECK(complaint(service_kind(), service("", field + ",")) ==
          "must not set the field(s): spec.template.spec." + name);
  }
  for (const std::string field :
       {"volumeDevices: []", "stdinOnce: true", "resizePolicy: []", "lifecycle: {}", "restartPolicy: Always"}) {
    const auto name = field.substr(0, field.find(':'));
    CHECK(complaint(service_kind(), service(field)) ==
          "must not set the field(s): spec.template.spec.containers[0]." + name);
  }
  CHECK(complaint(service_kind(), service("securityContext: {seLinuxOptions: {level: a}, procMount: Default}")) ==
        "must not set the field(s): spec.template.spec.containers[0].securityContext.procMount, "
        "spec.template.spec.containers[0].securityContext.seLinuxOptions");
  CHECK(complaint(service_kind(), service("resources: {claims: [{name: a}]}")) ==
        "must not set the field(s): spec.template.spec.containers[0].resources.claims");
}

namespace {

/// A service of these containers (YAML flow), and of what else its spec has.
std::string of_containers(const std::string& containers, const std::string& more = "") {
  auto object = service("", more.empty() ? "" : more + ",");
  object_at(object, {"spec", "template", "spec"})["containers"] = yaml("c: [" + containers + "]").at("c");
  return complaint(service_kind(), object);
}

}  // namespace

TEST_CASE("of several containers exactly one has a port, and it is the one that serves") {
  const std::string port = "ports: [{containerPort: 8081}]";
  CHECK(of_containers("{image: a, " + port + "}, {image: b}").empty());
  CHECK(of_containers("{image: a}, {image: b, " + port + "}, {image: c, env: [{name: PORT, value: '1'}]}").empty());
  CHECK(of_containers("{image: a}, {image: b}") == "missing field(s): spec.template.spec.containers[*].ports");
  const std::string several =
      "more than one container port is set: spec.template.spec.containers[*].ports\n"
      "Only a single port is allowed across all containers";
  CHECK(of_containers("{image: a, " + port + "}, {image: b, " + port + "}") == several);
  CHECK(of_containers("{image: a, " + port + ", env: [{name: PORT, value: '1'}]}, {image: b}") ==
        "\"PORT\" is a reserved environment variable: spec.template.spec.containers[0].env[0].name");
  CHECK(of_containers("{image: a, " + port + "}, {image: b, readinessProbe: {tcpSocket: {port: 1}}}") ==
        "must not set the field(s): spec.template.spec.containers[1].readinessProbe.tcpSocket");
  CHECK(of_containers("{name: a, image: a, " + port + "}, {name: a, image: b}") ==
        "duplicate container name \"a\": spec.template.spec.containers[1].name");
  std::string many = "{image: a, " + port + "}";
  for (int i = 0; i < 16; ++i) many += ", {image: b}";
  CHECK(of_containers(many) == "at most 16 containers run together, found 17: spec.template.spec.containers");
}

TEST_CASE("init containers have neither ports nor probes, and mount what the others do") {
  CHECK(of_containers("{image: a}", "initContainers: [{image: b, env: [{name: PORT, value: '1'}]}]").empty());
  CHECK(of_containers("{image: a}", "initContainers: [{image: b, ports: [{containerPort: 1}]}]") ==
        "field not allowed in an init container: spec.template.spec.initContainers[0].ports");
  CHECK(of_containers("{image: a}", "initContainers: [{image: b, livenessProbe: {tcpSocket: {port: 1}}}]") ==
        "field not allowed in an init container: spec.template.spec.initContainers[0].livenessProbe");
  CHECK(of_containers("{image: a, name: x}", "initContainers: [{image: b, name: x}]") ==
        "duplicate container name \"x\": spec.template.spec.initContainers[0].name");
  CHECK(of_containers("{image: a}",
                      "volumes: [{name: v, emptyDir: {}}], initContainers: [{image: b, volumeMounts: [{name: v, "
                      "mountPath: /v}]}]")
            .empty());
  CHECK(of_containers("{image: a}", "initContainers: [{}]") ==
        "missing field(s): spec.template.spec.initContainers[0].image");
}

TEST_CASE("only the container that serves is probed by default") {
  auto object = service();
  object_at(object, {"spec", "template", "spec"})["containers"] =
      yaml("c: [{image: a}, {image: b, ports: [{containerPort: 1}]}]").at("c");
  default_revision_spec(object_at(object, {"spec", "template", "spec"}));
  const auto& containers = object_at(object, {"spec", "template", "spec"})["containers"].as_array();
  CHECK_FALSE(containers[0].as_object().contains("readinessProbe"));
  CHECK(containers[1].as_object().contains("readinessProbe"));
}

TEST_CASE("visibility is cluster-local or not said") {
  CHECK(complaint(service_kind(),
                  service("", "", "", "", "name: a, labels: {networking.knative.dev/visibility: cluster-local}"))
            .empty());
  CHECK(complaint(service_kind(),
                  service("", "", "", "", "name: a, labels: {networking.knative.dev/visibility: public}")) ==
        "invalid value: public: metadata.labels.networking.knative.dev/visibility");
}
