#include "control/values.hpp"

#include <fmt/format.h>

#include "control_fixture.hpp"

using namespace wick;
using model::Truth;

TEST_CASE("values of secrets and config maps reach the process, the container's own variables win") {
  ControlFixture f;
  f.start();
  f.apply(model::secret_kind(), f.yaml("metadata: {name: keys}\nstringData: {TOKEN: s3cret, NAME: of-the-secret}"));
  f.apply(model::config_map_kind(), f.yaml("metadata: {name: settings}\ndata: {level: high, '1st': no-variable}"));
  f.apply_service(
      "envFrom: [{secretRef: {name: keys}}, {prefix: C_, configMapRef: {name: settings}}, {configMapRef: {name: none, "
      "optional: true}}], env: [{name: NAME, value: own}, {name: ONE, valueFrom: {secretKeyRef: {name: keys, key: "
      "TOKEN}}}, {name: TWO, value: \"$(ONE)!\"}, {name: NONE, valueFrom: {configMapKeyRef: {name: settings, key: "
      "absent, "
      "optional: true}}}]");
  REQUIRE(f.await_service(Truth::yes));
  const auto& environment = f.launcher.instances.at(0)->spec().process.environment;
  const auto has = [&](std::string_view text) { return std::ranges::find(environment, text) != environment.end(); };
  CHECK(has("TOKEN=s3cret"));
  CHECK(has("NAME=own"));
  CHECK(has("C_level=high"));
  CHECK(has("C_1st=no-variable"));
  CHECK(has("ONE=s3cret"));
  CHECK(has("TWO=s3cret!"));
  for (const auto& variable : environment) CHECK_FALSE(variable.starts_with("NONE="));
}

TEST_CASE("a revision waits for a secret that is not there, says so, and goes on when it comes") {
  ControlFixture f;
  f.start();
  f.apply_service("envFrom: [{secretRef: {name: keys}}]");
  REQUIRE(f.await_service(Truth::no));
  const auto healthy = f.condition(model::revision_kind(), "hello-00001", "ContainerHealthy");
  CHECK(healthy.reason == "CreateContainerConfigError");
  CHECK(healthy.message == "secret \"keys\" not found");
  CHECK(f.condition(model::service_kind(), "hello").message ==
        "Revision \"hello-00001\" failed with message: secret \"keys\" not found.");
  CHECK(f.launcher.instances.empty());
  f.apply(model::secret_kind(), f.yaml("metadata: {name: keys}\nstringData: {TOKEN: s3cret}"));
  CHECK(f.await_service(Truth::yes));
}

TEST_CASE("a key that is not in its object is named in Kubernetes' words") {
  ControlFixture f;
  f.start();
  f.apply(model::config_map_kind(), f.yaml("metadata: {name: settings}\ndata: {level: high}"));
  f.apply_service("env: [{name: A, valueFrom: {configMapKeyRef: {name: settings, key: depth}}}]");
  REQUIRE(f.await_service(Truth::no));
  CHECK(f.condition(model::revision_kind(), "hello-00001", "ContainerHealthy").message ==
        "couldn't find key depth in ConfigMap default/settings");
}

TEST_CASE("instances that start after a secret changed have its new value") {
  ControlFixture f;
  f.start();
  f.apply(model::secret_kind(), f.yaml("metadata: {name: keys}\nstringData: {TOKEN: old}"));
  f.apply_service("envFrom: [{secretRef: {name: keys}}]");
  REQUIRE(f.await_service(Truth::yes));
  f.apply(model::secret_kind(), f.yaml("metadata: {name: keys}\nstringData: {TOKEN: new}"));
  // The running instance keeps what it began with; those after it have the new value once the change is seen.
  const auto newest_has = [&](std::string_view text) {
    const auto& environment = f.launcher.instances.back()->spec().process.environment;
    return std::ranges::find(environment, text) != environment.end();
  };
  CHECK(newest_has("TOKEN=old"));
  const auto end = std::chrono::steady_clock::now() + 10s;
  while (!newest_has("TOKEN=new") && std::chrono::steady_clock::now() < end) {
    run_on(f.loop, f.launcher.instances.back()->stop(0ms));
    run_on(f.loop, f.serving->ensure_ready({"default", "hello-00001"}));
  }
  CHECK(newest_has("TOKEN=new"));
  CHECK(f.condition(model::revision_kind(), "hello-00001").status == Truth::yes);
}

namespace {

std::map<std::string, std::string> files_of(const container::Volume& volume) {
  std::map<std::string, std::string> files;
  for (const auto& file : volume.files) files[file.path] = fmt::format("{:o} {}", file.mode, file.content);
  return files;
}

}  // namespace

TEST_CASE("volumes reach the instance with the files of their secrets and config maps") {
  ControlFixture f;
  f.start();
  f.apply(model::secret_kind(), f.yaml("metadata: {name: keys}\nstringData: {a: one, b: two}"));
  f.apply(model::config_map_kind(), f.yaml("metadata: {name: settings}\ndata: {a: map}\nbinaryData: {raw: AAE=}"));
  f.apply(model::service_kind(), f.yaml(R"(
metadata: {name: hello}
spec:
  template:
    spec:
      containers:
      - image: hello
        resources: {limits: {memory: 100Mi}}
        volumeMounts:
        - {name: all, mountPath: /all/}
        - {name: some, mountPath: /some, subPath: ./deep/x}
        - {name: mixed, mountPath: /mixed}
        - {name: free, mountPath: /free}
        - {name: bound, mountPath: /bound, readOnly: true}
      volumes:
      - {name: all, configMap: {name: settings}}
      - {name: some, secret: {secretName: keys, defaultMode: 0400, items: [{key: a, path: deep/x}, {key: b, path: y, mode: 0444}]}}
      - {name: mixed, projected: {sources: [{secret: {name: keys}}, {configMap: {name: settings}}, {secret: {name: none, optional: true}}]}}
      - {name: free, emptyDir: {}}
      - {name: bound, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
)"));
  REQUIRE(f.await_service(Truth::yes));
  const auto& spec = f.launcher.instances.at(0)->spec();
  REQUIRE(spec.volumes.size() == 5);
  using Files = std::map<std::string, std::string>;
  CHECK(files_of(spec.volumes[0]) == Files{{"a", "644 map"}, {"raw", std::string("644 \0\1", 6)}});
  CHECK(files_of(spec.volumes[1]) == Files{{"deep/x", "400 one"}, {"y", "444 two"}});
  CHECK(files_of(spec.volumes[2]) == Files{{"a", "644 map"}, {"b", "644 two"}, {"raw", std::string("644 \0\1", 6)}});
  CHECK(spec.volumes[3].bytes_max == 50 << 20);
  CHECK(spec.volumes[4].bytes_max == 1 << 20);
  using Mount = container::VolumeMount;
  CHECK(spec.volume_mounts == std::vector<Mount>{{.volume = 0, .target = "/all"},
                                                 {.volume = 1, .target = "/some", .sub_path = "deep/x"},
                                                 {.volume = 2, .target = "/mixed"},
                                                 {.volume = 3, .target = "/free", .writable = true},
                                                 {.volume = 4, .target = "/bound"}});
}

TEST_CASE("a volume's missing secret or key is told as the kubelet tells it, and waited for") {
  ControlFixture f;
  f.start();
  const auto service = [&](std::string_view source) {
    f.apply(
        model::service_kind(),
        f.yaml("metadata: {name: hello}\nspec: {template: {spec: {containers: [{image: hello, volumeMounts: [{name: v, "
               "mountPath: /v}]}], volumes: [{name: v, " +
               std::string(source) + "}]}}}"));
  };
  service("secret: {secretName: keys, items: [{key: a, path: a}]}");
  REQUIRE(f.await_service(Truth::no));
  const auto message = [&] { return f.condition(model::revision_kind(), "hello-00001", "ContainerHealthy").message; };
  CHECK(message() == "MountVolume.SetUp failed for volume \"v\" : secret \"keys\" not found");
  f.apply(model::secret_kind(), f.yaml("metadata: {name: keys}\nstringData: {b: two}"));
  REQUIRE(f.until([&] {
    return message() == "MountVolume.SetUp failed for volume \"v\" : references non-existent secret key: a";
  }));
  f.apply(model::secret_kind(), f.yaml("metadata: {name: keys}\nstringData: {a: one}"));
  REQUIRE(f.await_service(Truth::yes));
  CHECK(f.launcher.instances.at(0)->spec().volumes.at(0).files.at(0).content == "one");
}

TEST_CASE("a projected volume's objects are what the revision refers to") {
  ControlFixture f;
  const auto revision = f.yaml(
      "spec: {containers: [{image: a}], volumes: [{name: v, projected: {sources: [{secret: {name: "
      "s}}, {configMap: {name: c}}]}}, {name: w, secret: {secretName: t}}]}");
  using Kind = model::ValueObject::Kind;
  CHECK(control::refers_to_values(revision, Kind::secret, "s"));
  CHECK(control::refers_to_values(revision, Kind::secret, "t"));
  CHECK(control::refers_to_values(revision, Kind::config_map, "c"));
  CHECK_FALSE(control::refers_to_values(revision, Kind::config_map, "s"));
  CHECK_FALSE(control::refers_to_values(revision, Kind::secret, "c"));
  const auto with_init =
      f.yaml("spec: {containers: [{image: a}], initContainers: [{image: b, envFrom: [{secretRef: {name: i}}]}]}");
  CHECK(control::refers_to_values(with_init, Kind::secret, "i"));
}
