// PingSource, SinkBinding and ApiServerSource: what they send, to whom, and what their status says.
#include <boost/json/serialize.hpp>

#include "control_fixture.hpp"

namespace wick {

namespace {

using model::Truth;

/// A Broker `b`, and what comes into it.
struct SourcesFixture : ControlFixture {
  SourcesFixture() {
    start();
    apply(model::broker_kind(), yaml("metadata: {name: b}\nspec: {}"));
    REQUIRE(until([&] { return settled(model::broker_kind(), "b", Truth::yes); }));
  }
  bool is(const model::Kind& kind, const std::string& name, Truth truth) {
    return until([&] { return settled(kind, name, truth); });
  }
  void remove(const model::Kind& kind, const std::string& name) {
    REQUIRE(run_on(loop, objects->request_removal(key(kind, name))));
    REQUIRE(until([&] { return get(kind, name).empty(); }));
  }
  json::array events() { return run_on(loop, eventing.list("default", "b", 0, 1000)); }
  json::array of_type(std::string_view type) {
    json::array found;
    for (const auto& event : events())
      if (event.at("type").as_string() == type) found.push_back(event);
    return found;
  }
  std::string variable(const model::Kind& kind, const std::string& name, std::string_view variable) {
    const auto object = get(kind, name);
    if (const auto* containers = model::find_value(object, {"spec", "template", "spec", "containers"}))
      if (const auto* env = containers->at(0).as_object().if_contains("env"))
        for (const auto& entry : env->as_array())
          if (entry.at("name").as_string() == variable) return std::string(entry.at("value").as_string());
    return "-";
  }
  void bind(std::string_view subject, std::string_view more = "", std::string_view name = "sb") {
    apply(model::sink_binding_kind(),
          yaml("metadata: {name: " + std::string(name) +
               "}\nspec: {subject: {apiVersion: serving.knative.dev/v1, namespace: default, " + std::string(subject) +
               "}, " + std::string(to_b) + ", " + std::string(more) + "}"));
  }
  static constexpr std::string_view to_b = "sink: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: b}}";
  static constexpr std::string_view b_url = "http://broker-ingress.knative-eventing.svc.cluster.local/default/b";
};

}  // namespace

TEST_CASE("a PingSource sends its data on its schedule, with Knative's attributes and its overrides") {
  SourcesFixture f;
  f.apply(model::ping_source_kind(),
          f.yaml("metadata: {name: p}\nspec: {schedule: '* * * * * *', contentType: application/json, data: "
                 "'{\"a\": 1}', ceOverrides: {extensions: {Team: blue}}, " +
                 std::string(SourcesFixture::to_b) + "}"));
  REQUIRE(f.is(model::ping_source_kind(), "p", Truth::yes));
  CHECK(model::text_at(f.get(model::ping_source_kind(), "p"), {"status", "sinkUri"}) == SourcesFixture::b_url);
  REQUIRE(f.until([&] { return f.of_type("dev.knative.sources.ping").size() >= 2; }));
  const auto pings = f.of_type("dev.knative.sources.ping");
  const auto& first = pings[0].at("attributes");
  CHECK(first.at("source") == "/apis/v1/namespaces/default/pingsources/p");
  CHECK(first.at("datacontenttype") == "application/json");
  CHECK(first.at("team") == "blue");
  CHECK(pings[0].at("dataBytes") == 8);
  CHECK(pings[0].at("id") != pings[1].at("id"));
  f.remove(model::ping_source_kind(), "p");
  f.until([&] { return f.loop.run_one_for(20ms) == 0; });
  const auto count = f.of_type("dev.knative.sources.ping").size();
  const auto end = f.clock.now() + 1200ms;
  f.until([&] { return f.clock.now() > end; });
  CHECK(f.of_type("dev.knative.sources.ping").size() == count);
}

TEST_CASE("a PingSource waits for its sink, and says what is wrong with it") {
  SourcesFixture f;
  f.apply(model::ping_source_kind(),
          f.yaml("metadata: {name: p}\nspec: {schedule: '* * * * * *', sink: {ref: {apiVersion: "
                 "messaging.knative.dev/v1, kind: Channel, name: c}}}"));
  REQUIRE(f.is(model::ping_source_kind(), "p", Truth::no));
  CHECK(f.condition(model::ping_source_kind(), "p", "SinkProvided").message ==
        "channels.messaging.knative.dev \"c\" not found");
  f.apply(model::channel_kind(), f.yaml("metadata: {name: c}\nspec: {}"));
  CHECK(f.is(model::ping_source_kind(), "p", Truth::yes));
  f.apply(model::ping_source_kind(),
          f.yaml("metadata: {name: p, annotations: {wick.dev/missed-ticks: all}}\nspec: {schedule: '* * * * * *', " +
                 std::string(SourcesFixture::to_b) + "}"));
  REQUIRE(f.is(model::ping_source_kind(), "p", Truth::no));
  CHECK(f.condition(model::ping_source_kind(), "p").message == "wick.dev/missed-ticks must be skip or one, not 'all'");
}

TEST_CASE("ticks that nobody was there for are told, and skipped or sent as one") {
  const auto* policy = GENERATE("skip", "one");
  SourcesFixture f;
  f.apply(model::ping_source_kind(),
          f.yaml("metadata: {name: p, annotations: {wick.dev/missed-ticks: " + std::string(policy) +
                 "}}\nspec: {schedule: '0 0 1 1 *', " + std::string(SourcesFixture::to_b) + "}"));
  REQUIRE(f.is(model::ping_source_kind(), "p", Truth::yes));
  const auto uid = model::text_at(f.get(model::ping_source_kind(), "p"), {"metadata", "uid"});
  f.stop_control();
  REQUIRE(run_on(f.loop, f.eventing.set_mark({uid, f.clock.wall() - std::chrono::hours(24 * 366 * 2)})));
  f.start();
  REQUIRE(f.until([&] { return f.condition(model::ping_source_kind(), "p", "TicksMissed").status == Truth::yes; }));
  const auto told = f.condition(model::ping_source_kind(), "p", "TicksMissed");
  CHECK(told.severity == "Info");
  CHECK(told.message.starts_with("2 ticks were missed from "));
  CHECK(f.condition(model::ping_source_kind(), "p").status == Truth::yes);
  CHECK(f.of_type("dev.knative.sources.ping").size() == (std::string(policy) == "one" ? 1 : 0));
  // They are missed once.
  f.stop_control();
  f.start();
  REQUIRE(f.is(model::ping_source_kind(), "p", Truth::yes));
  CHECK(f.of_type("dev.knative.sources.ping").size() == (std::string(policy) == "one" ? 1 : 0));
}

TEST_CASE(
    "a SinkBinding gives its subject K_SINK and K_CE_OVERRIDES before a revision is stamped, and takes them back") {
  SourcesFixture f;
  f.bind("kind: Service, name: hello", "ceOverrides: {extensions: {team: blue}}");
  REQUIRE(f.is(model::sink_binding_kind(), "sb", Truth::no));
  CHECK(f.condition(model::sink_binding_kind(), "sb").reason == "SubjectMissing");
  f.apply_service("env: [{name: OWN, value: kept}]");
  REQUIRE(f.until([&] { return f.variable(model::service_kind(), "hello", "K_SINK") == SourcesFixture::b_url; }));
  CHECK(f.variable(model::service_kind(), "hello", "K_CE_OVERRIDES") == R"({"extensions":{"team":"blue"}})");
  CHECK(f.variable(model::service_kind(), "hello", "OWN") == "kept");
  REQUIRE(f.await_service(Truth::yes));
  CHECK(f.is(model::sink_binding_kind(), "sb", Truth::yes));
  CHECK(f.objects->list(model::revision_kind().resource(), "default").size() == 1);
  // As a manifest without the variables is applied again: they are back, and no revision was made without them.
  f.apply_service("env: [{name: OWN, value: kept}]");
  REQUIRE(f.until([&] { return f.variable(model::service_kind(), "hello", "K_SINK") == SourcesFixture::b_url; }));
  REQUIRE(f.await_service(Truth::yes));
  CHECK(f.objects->list(model::revision_kind().resource(), "default").size() == 1);
  f.remove(model::sink_binding_kind(), "sb");
  REQUIRE(f.until([&] { return f.variable(model::service_kind(), "hello", "K_SINK") == "-"; }));
  CHECK(f.variable(model::service_kind(), "hello", "OWN") == "kept");
  CHECK(f.until([&] { return f.variable(model::configuration_kind(), "hello", "K_SINK") == "-"; }));
}

TEST_CASE("a SinkBinding selects by labels, and lets go what it selects no longer") {
  SourcesFixture f;
  f.apply_service();
  REQUIRE(f.await_service(Truth::yes));
  f.bind(
      "kind: Service, selector: {matchLabels: {app: x}, matchExpressions: [{key: tier, operator: NotIn, values: "
      "[db]}]}");
  REQUIRE(f.is(model::sink_binding_kind(), "sb", Truth::yes));
  CHECK(f.variable(model::service_kind(), "hello", "K_SINK") == "-");
  auto service = f.get(model::service_kind(), "hello");
  model::object_at(service, {"metadata", "labels"})["app"] = "x";
  f.apply(model::service_kind(), service);
  REQUIRE(f.until([&] { return f.variable(model::service_kind(), "hello", "K_SINK") == SourcesFixture::b_url; }));
  service = f.get(model::service_kind(), "hello");
  model::object_at(service, {"metadata", "labels"})["tier"] = "db";
  f.apply(model::service_kind(), service);
  CHECK(f.until([&] { return f.variable(model::service_kind(), "hello", "K_SINK") == "-"; }));
}

TEST_CASE("two SinkBindings of one subject: the first has it, the second says so") {
  SourcesFixture f;
  f.apply_service();
  f.bind("kind: Service, name: hello", "", "a");
  f.bind("kind: Service, name: hello", "", "z");
  REQUIRE(f.is(model::sink_binding_kind(), "a", Truth::yes));
  REQUIRE(f.is(model::sink_binding_kind(), "z", Truth::no));
  CHECK(f.condition(model::sink_binding_kind(), "z").message == "Service \"hello\" is bound by SinkBinding \"a\"");
}

TEST_CASE("an ApiServerSource sends a reference, or the whole object, for each change of what it watches") {
  const auto* mode = GENERATE("Reference", "Resource");
  const std::string prefix =
      std::string("dev.knative.apiserver.") + (std::string(mode) == "Resource" ? "resource." : "ref.");
  SourcesFixture f;
  f.apply(model::api_server_source_kind(),
          f.yaml("metadata: {name: a}\nspec: {mode: " + std::string(mode) +
                 ", resources: [{apiVersion: v1, kind: ConfigMap, selector: {matchLabels: {watched: 'yes'}}}], " +
                 std::string(SourcesFixture::to_b) + "}"));
  REQUIRE(f.is(model::api_server_source_kind(), "a", Truth::yes));
  f.apply(model::config_map_kind(), f.yaml("metadata: {name: other}\ndata: {a: b}"));
  f.apply(model::config_map_kind(), f.yaml("metadata: {name: m, labels: {watched: 'yes'}}\ndata: {a: b}"));
  f.apply(model::config_map_kind(), f.yaml("metadata: {name: m, labels: {watched: 'yes'}}\ndata: {a: c}"));
  f.remove(model::config_map_kind(), "m");
  REQUIRE(f.until([&] { return f.of_type(prefix + "delete").size() == 1; }));
  REQUIRE(f.of_type(prefix + "add").size() == 1);
  CHECK(f.of_type(prefix + "update").size() == 1);
  const auto added = f.of_type(prefix + "add")[0].at("attributes").as_object();
  CHECK(added.at("subject") == "/apis/v1/namespaces/default/configmaps/m");
  CHECK(added.at("kind") == "ConfigMap");
  CHECK(added.at("apiversion") == "v1");
  CHECK(added.at("name") == "m");
  CHECK(added.at("namespace") == "default");
}

TEST_CASE("an ApiServerSource does not send Secrets, and says what it cannot watch") {
  SourcesFixture f;
  const auto watch = [&](std::string_view what) {
    f.apply(model::api_server_source_kind(),
            f.yaml("metadata: {name: a}\nspec: {mode: Resource, resources: [" + std::string(what) + "], " +
                   std::string(SourcesFixture::to_b) + "}"));
    REQUIRE(f.is(model::api_server_source_kind(), "a", Truth::no));
    return f.condition(model::api_server_source_kind(), "a").message;
  };
  CHECK(watch("{apiVersion: v1, kind: Secret}") == "Secrets are not sent as events");
  CHECK(watch("{apiVersion: apps/v1, kind: Deployment}") ==
        "apps/v1 Deployment is not kept here, so its changes are not seen");
}

TEST_CASE(
    "event types make themselves while the feature is enabled, once for each type and source, and go with their "
    "broker") {
  SourcesFixture f;
  const auto send = [&](std::string_view type) {
    eventing::CloudEvent event;
    event.attributes = {{"specversion", "1.0"}, {"id", "1"}, {"source", "/s"}, {"type", std::string(type)}};
    REQUIRE(run_on(f.loop, f.eventing.emit("default/b", event)));
  };
  const auto types = [&] { return f.objects->list(model::event_type_kind().resource(), "default"); };
  send("before");
  auto features = f.yaml(
      "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: config-features, namespace: knative-eventing}\n"
      "data: {eventtype-auto-create: enabled}");
  const store::ObjectKey flag{model::config_map_kind().resource(), "knative-eventing", "config-features"};
  REQUIRE(run_on(f.loop, f.objects->create(flag, features)));
  f.until([&] { return f.loop.poll() == 0; });
  send("one");
  send("one");
  send("two");
  REQUIRE(f.until([&] { return types().size() == 2; }));
  const auto& type = *types()[0];
  CHECK(model::text_at(type, {"spec", "reference", "kind"}) == "Broker");
  CHECK(model::text_at(type, {"spec", "reference", "name"}) == "b");
  CHECK(model::text_at(type, {"metadata", "name"}).starts_with("et-b-"));
  REQUIRE(run_on(f.loop, f.objects->remove(flag)));
  f.until([&] { return f.loop.poll() == 0; });
  send("three");
  f.until([&] { return f.loop.poll() == 0; });
  CHECK(types().size() == 2);
  f.remove(model::broker_kind(), "b");
  CHECK(f.until([&] { return types().empty(); }));
}

TEST_CASE("a Trigger with a dependency is ready once that is") {
  SourcesFixture f;
  const auto trigger = [&](std::string_view dependency) {
    f.apply(model::trigger_kind(),
            f.yaml("metadata: {name: t, annotations: {knative.dev/dependency: '" + std::string(dependency) +
                   "'}}\nspec: {broker: b, subscriber: {uri: 'http://example.com'}}"));
  };
  trigger(R"({"kind": "PingSource", "name": "p", "apiVersion": "sources.knative.dev/v1"})");
  REQUIRE(f.is(model::trigger_kind(), "t", Truth::no));
  CHECK(f.condition(model::trigger_kind(), "t", "DependencyReady").reason == "DependencyDoesNotExist");
  f.apply(model::ping_source_kind(), f.yaml("metadata: {name: p}\nspec: {" + std::string(SourcesFixture::to_b) + "}"));
  CHECK(f.is(model::trigger_kind(), "t", Truth::yes));
  f.remove(model::ping_source_kind(), "p");
  CHECK(f.is(model::trigger_kind(), "t", Truth::no));
  trigger("none");
  CHECK(f.until([&] { return f.condition(model::trigger_kind(), "t").reason == "ReferenceError"; }));
}

}  // namespace wick
