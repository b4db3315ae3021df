#include "control/values.hpp"

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
  for (int i = 0; i < 100 && !newest_has("TOKEN=new"); ++i) {
    run_on(f.loop, f.launcher.instances.back()->stop(0ms));
    run_on(f.loop, f.serving->ensure_ready({"default", "hello-00001"}));
  }
  CHECK(newest_has("TOKEN=new"));
  CHECK(f.condition(model::revision_kind(), "hello-00001").status == Truth::yes);
}
