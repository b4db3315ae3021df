// EventPolicies: whom they name, what they guard, and what the status of both says.
#include <boost/json/serialize.hpp>

#include "control_fixture.hpp"

namespace wick {

namespace {

using model::Truth;

struct PoliciesFixture : ControlFixture {
  explicit PoliciesFixture(std::string_view features = "authentication-oidc: enabled") {
    start();
    if (!features.empty()) set_features(features);
    apply(model::broker_kind(), yaml("metadata: {name: b, labels: {team: blue}}\nspec: {}"));
    REQUIRE(is(model::broker_kind(), "b", Truth::yes));
  }
  void set_features(std::string_view data) {
    const store::ObjectKey map{"configmaps", "knative-eventing", "config-features"};
    auto object = yaml(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: config-features, namespace: "
        "knative-eventing}, data: {" +
        std::string(data) + "}}");
    REQUIRE(
        (objects->find(map) ? run_on(loop, objects->update(map, object)) : run_on(loop, objects->create(map, object))));
  }
  bool is(const model::Kind& kind, const std::string& name, Truth truth) {
    return until([&] { return settled(kind, name, truth); });
  }
  void policy(std::string_view name, std::string_view spec) {
    apply(model::event_policy_kind(),
          yaml("metadata: {name: " + std::string(name) + "}\nspec: {" + std::string(spec) + "}"));
  }
  bool guarded_by(std::string_view policies) {
    return until([&] {
      const auto broker = get(model::broker_kind(), "b");
      const auto* found = model::find_value(broker, {"status", "policies"});
      return (found ? json::serialize(*found) : std::string()) == policies;
    });
  }
  /// What the broker answers to an event of this subject.
  Result<void> send_as(std::string subject, std::string type = "t") {
    eventing::CloudEvent event;
    event.attributes["specversion"] = std::string("1.0");
    event.attributes["id"] = std::string("1");
    event.attributes["source"] = std::string("/s");
    event.attributes["type"] = std::move(type);
    return run_on(loop, eventing.emit("default/b", std::move(event), {},
                                      {.kind = eventing::Sender::Kind::inside, .subject = std::move(subject)}));
  }
};

constexpr std::string_view to_b = "to: [{ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: b}}]";
constexpr std::string_view only_p = R"([{"apiVersion":"eventing.knative.dev/v1alpha1","name":"p"}])";

}  // namespace

TEST_CASE("a policy lets in the source that it names, and nobody else") {
  PoliciesFixture f;
  f.policy("p",
           std::string(to_b) + ", from: [{ref: {apiVersion: sources.knative.dev/v1, kind: PingSource, name: ping}}]");
  REQUIRE(f.is(model::event_policy_kind(), "p", Truth::no));
  CHECK(f.condition(model::event_policy_kind(), "p").reason == "SubjectsNotResolved");
  CHECK(f.condition(model::event_policy_kind(), "p").message ==
        "Error resolving from[].refs: pingsources.sources.knative.dev \"ping\" not found in namespace \"default\"");
  REQUIRE(f.is(model::broker_kind(), "b", Truth::no));
  CHECK(f.condition(model::broker_kind(), "b").message == "event policies p are not ready");
  const std::string ping = "system:serviceaccount:default:ping-oidc-sources.knative.dev-pingsource";
  CHECK_FALSE(f.send_as(ping));

  f.apply(model::ping_source_kind(),
          f.yaml("metadata: {name: ping}\nspec: {schedule: '@yearly', sink: {ref: {apiVersion: "
                 "eventing.knative.dev/v1, kind: Broker, name: b}}}"));
  REQUIRE(f.is(model::ping_source_kind(), "ping", Truth::yes));
  REQUIRE(f.is(model::event_policy_kind(), "p", Truth::yes));
  REQUIRE(f.is(model::broker_kind(), "b", Truth::yes));
  CHECK(f.guarded_by(only_p));
  const auto policy = f.get(model::event_policy_kind(), "p");
  CHECK(json::serialize(*model::find_value(policy, {"status", "from"})) == "[\"" + ping + "\"]");
  CHECK(json::serialize(*model::find_value(policy, {"status", "appliedToResources"})) ==
        R"([{"apiVersion":"eventing.knative.dev/v1","kind":"Broker","name":"b"}])");
  CHECK(model::text_at(f.get(model::ping_source_kind(), "ping"), {"status", "auth", "serviceAccountName"}) ==
        "ping-oidc-sources.knative.dev-pingsource");
  CHECK(model::text_at(f.get(model::broker_kind(), "b"), {"status", "address", "audience"}) ==
        "eventing.knative.dev/broker/default/b");
  CHECK(f.send_as(ping));
  CHECK_FALSE(f.send_as("system:serviceaccount:default:default"));

  REQUIRE(run_on(f.loop, f.objects->request_removal(f.key(model::event_policy_kind(), "p"))));
  CHECK(f.guarded_by(""));
  CHECK(f.send_as("system:serviceaccount:default:default"));
}

TEST_CASE("a policy picks what it guards by labels, or guards all of its namespace") {
  PoliciesFixture f;
  f.policy("p",
           "to: [{selector: {apiVersion: eventing.knative.dev/v1, kind: Broker, matchLabels: {team: red}}}], from: "
           "[{sub: x}]");
  REQUIRE(f.is(model::event_policy_kind(), "p", Truth::yes));
  CHECK(f.guarded_by(""));
  f.policy("p",
           "to: [{selector: {apiVersion: eventing.knative.dev/v1, kind: Broker, matchLabels: {team: blue}}}], from: "
           "[{sub: x}]");
  CHECK(f.guarded_by(only_p));
  CHECK(f.send_as("x"));
  f.policy("p", "from: [{sub: y}]");
  CHECK(f.until([&] { return f.send_as("y").has_value(); }));
  CHECK_FALSE(f.send_as("x"));
}

TEST_CASE("while authentication is off a policy guards nothing, and says so") {
  PoliciesFixture f("");
  CHECK(f.condition(model::broker_kind(), "b", "EventPoliciesReady").reason == "OIDCDisabled");
  f.policy("p", "from: [{sub: x}]");
  REQUIRE(f.is(model::event_policy_kind(), "p", Truth::no));
  CHECK(f.condition(model::event_policy_kind(), "p").reason == "OIDCAuthenticationDisabled");
  CHECK(f.send_as("y"));
  f.set_features("authentication-oidc: enabled");
  REQUIRE(f.is(model::event_policy_kind(), "p", Truth::yes));
  CHECK(f.guarded_by(only_p));
  CHECK_FALSE(f.send_as("y"));
  f.set_features("authentication-oidc: disabled");
  REQUIRE(f.is(model::event_policy_kind(), "p", Truth::no));
  CHECK(f.send_as("y"));
}

TEST_CASE("without a policy the default mode is in force, and the broker says which") {
  PoliciesFixture f("authentication-oidc: enabled, default-authorization-mode: deny-all");
  CHECK(f.condition(model::broker_kind(), "b", "EventPoliciesReady").message == "Default authz mode is \"Deny-All\"");
  const std::string own = "system:serviceaccount:default:default", other = "system:serviceaccount:other:default";
  CHECK_FALSE(f.send_as(own));
  f.set_features("authentication-oidc: enabled");
  REQUIRE(f.until([&] {
    return f.condition(model::broker_kind(), "b", "EventPoliciesReady").message ==
           "Default authz mode is \"Allow-Same-Namespace\"";
  }));
  CHECK(f.send_as(own));
  CHECK_FALSE(f.send_as(other));
}

TEST_CASE("what an instance sends is from its service account, or from the binding of its service") {
  PoliciesFixture f;
  f.apply_service();
  REQUIRE(f.await_service(Truth::yes));
  CHECK(control::sender_of(*f.objects, "default/hello-00001") == "system:serviceaccount:default:default");
  CHECK(control::sender_of(*f.objects, "default/gone") == "system:serviceaccount:default:default");
  f.apply_service("", "", "hello");
  f.apply(
      model::sink_binding_kind(),
      f.yaml("metadata: {name: sb}\nspec: {subject: {apiVersion: serving.knative.dev/v1, kind: Service, name: hello, "
             "namespace: default}, sink: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: b}}}"));
  CHECK(f.until([&] {
    return control::sender_of(*f.objects, "default/hello-00001") ==
           "system:serviceaccount:default:sb-oidc-sources.knative.dev-sinkbinding";
  }));
}

TEST_CASE("what a policy may say is checked as Knative checks it") {
  ControlFixture f;
  const auto [spec, text] = GENERATE(table<std::string, std::string>({
      {"from: [{}]", "expected exactly one, got neither: spec.from[0].ref, spec.from[0].sub"},
      {"from: [{sub: x, ref: {apiVersion: v1, kind: K, name: n}}]",
       "expected exactly one, got both: spec.from[0].ref, spec.from[0].sub"},
      {"from: [{ref: {name: n}}]", "missing field(s): spec.from[0].ref.apiVersion, spec.from[0].ref.kind"},
      {"from: [{sub: 'a*b'}]", "invalid value: a*b: spec.from[0].sub\n'*' is only allowed as suffix"},
      {"to: [{}]", "expected exactly one, got neither: spec.to[0].ref, spec.to[0].selector"},
      {"to: [{ref: {apiVersion: v1, kind: K, name: n}, selector: {kind: K}}]",
       "expected exactly one, got both: spec.to[0].ref, spec.to[0].selector"},
      {"filters: [{exact: {type: a}, prefix: {type: b}}]",
       "multiple dialects found, filters can have only one dialect set: spec.filters[0]"},
  }));
  auto object = f.yaml("metadata: {name: p, namespace: default}\nspec: {" + spec + "}");
  auto admitted =
      model::admit(model::event_policy_kind(), std::move(object), {.old = nullptr, .user = "test", .policy = {}});
  REQUIRE_FALSE(admitted);
  CHECK_THAT(admitted.error().what(), Catch::Contains(text));
}

}  // namespace wick
