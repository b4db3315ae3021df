// The statements of the Eventing control plane contract (Knative's control-plane.md) that say what an object's status
// tells, by number.
#include "control_fixture.hpp"

namespace wick {

namespace {

using model::Truth;

/// A Broker `b` and what is subscribed to it.
struct EventingContract : ControlFixture {
  EventingContract() { start(); }
  void broker(std::string_view spec = "{}") {
    apply(model::broker_kind(), yaml("metadata: {name: b}\nspec: " + std::string(spec)));
  }
  void trigger(std::string_view subscriber, std::string_view more = "") {
    apply(model::trigger_kind(), yaml("metadata: {name: t}\nspec: {broker: b, subscriber: {" + std::string(subscriber) +
                                      "}, " + std::string(more) + "}"));
  }
  bool await_trigger(Truth truth) {
    return until([&] { return settled(model::trigger_kind(), "t", truth); });
  }
  std::string status(std::string_view field) {
    return model::text_at(get(model::trigger_kind(), "t"), {"status", field});
  }
  /// What admission says of a change of `kind`'s `name` to this.
  std::string refusal(const model::Kind& kind, json::object changed) {
    const auto old = get(kind, model::text_at(changed, {"metadata", "name"}));
    model::object_at(changed, {"metadata"})["namespace"] = "default";
    const auto admitted = model::admit(kind, std::move(changed), {.old = &old, .user = "test", .policy = policy});
    return admitted ? "" : std::string(admitted.error().what());
  }
};

constexpr std::string_view hello = "ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: hello}";
constexpr std::string_view absent = "ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: absent}";

}  // namespace

TEST_CASE(
    "C7: a trigger is ready once its subscriber and its dead letter sink are resolved, and shows their addresses") {
  EventingContract f;
  f.broker();
  f.apply_service();
  f.trigger(absent, "delivery: {deadLetterSink: {" + std::string(absent) + "}}");
  REQUIRE(f.await_trigger(Truth::no));
  for (const auto type : {"SubscriberResolved", "DeadLetterSinkResolved"}) {
    INFO(type);
    const auto condition = f.condition(model::trigger_kind(), "t", type);
    CHECK(condition.status == Truth::no);
    CHECK_FALSE(condition.reason.empty());
    CHECK(condition.message == "services.serving.knative.dev \"absent\" not found");
  }
  CHECK(f.status("subscriberUri").empty());
  CHECK(f.status("deadLetterSinkUri").empty());
  f.trigger(hello, "delivery: {deadLetterSink: {" + std::string(hello) + "}}");
  REQUIRE(f.await_trigger(Truth::yes));
  CHECK(f.status("subscriberUri") == "http://hello.default.svc.cluster.local");
  CHECK(f.status("deadLetterSinkUri") == "http://hello.default.svc.cluster.local");
}

TEST_CASE("C7: a broker is not ready while its dead letter sink is not resolved") {
  EventingContract f;
  f.broker("{delivery: {deadLetterSink: {" + std::string(absent) + "}}}");
  REQUIRE(f.until([&] { return f.settled(model::broker_kind(), "b", Truth::no); }));
  CHECK(f.condition(model::broker_kind(), "b", "DeadLetterSinkResolved").status == Truth::no);
  CHECK(model::text_at(f.get(model::broker_kind(), "b"), {"status", "deadLetterSinkUri"}).empty());
}

TEST_CASE("C8: a trigger may come before its broker, and is not ready until that is there") {
  EventingContract f;
  f.apply_service();
  f.trigger(hello);
  REQUIRE(f.await_trigger(Truth::no));
  CHECK(f.condition(model::trigger_kind(), "t", "BrokerReady").reason == "BrokerDoesNotExist");
  f.broker();
  CHECK(f.await_trigger(Truth::yes));
}

TEST_CASE(
    "C8: a trigger's broker and a broker's class do not change; a broker's configuration is refused from the start") {
  EventingContract f;
  f.apply_service();
  f.broker();
  f.trigger(hello);
  const auto moved = "metadata: {name: t}\nspec: {broker: other, subscriber: {" + std::string(hello) + "}}";
  CHECK_THAT(f.refusal(model::trigger_kind(), f.yaml(moved)), Catch::Contains("spec.broker"));
  const auto other = "metadata: {name: b, annotations: {eventing.knative.dev/broker.class: Other}}";
  CHECK_THAT(f.refusal(model::broker_kind(), f.yaml(other)), Catch::Contains("eventing.knative.dev/broker.class"));
  const auto configured = "metadata: {name: b}\nspec: {config: {apiVersion: v1, kind: ConfigMap, name: one}}";
  CHECK_THAT(f.refusal(model::broker_kind(), f.yaml(configured)), Catch::Contains("spec.config"));
}

TEST_CASE("C11: a destination with a reference and an address is that address below the reference's") {
  EventingContract f;
  f.broker();
  f.apply_service();
  f.trigger(std::string(hello) + ", uri: '/orders?kind=new'");
  REQUIRE(f.await_trigger(Truth::yes));
  CHECK(f.status("subscriberUri") == "http://hello.default.svc.cluster.local/orders?kind=new");
}

TEST_CASE("C14: the generation that was observed and the conditions are of one write") {
  EventingContract f;
  f.broker();
  f.apply_service();
  // Every state that a watcher can see: the generation is never observed with conditions of the one before.
  std::vector<std::pair<std::int64_t, Truth>> seen;
  const auto look = [&] {
    const auto object = f.get(model::trigger_kind(), "t");
    const std::pair now{model::integer_at(object, {"status", "observedGeneration"}, -1),
                        model::find_condition(object, "SubscriberResolved").status};
    if (seen.empty() || seen.back() != now) seen.push_back(now);
    return false;
  };
  f.trigger(hello);
  f.until([&] { return look() || f.settled(model::trigger_kind(), "t", Truth::yes); });
  f.trigger(absent);
  f.until([&] { return look() || f.settled(model::trigger_kind(), "t", Truth::no); });
  look();
  REQUIRE(seen.back() == std::pair<std::int64_t, Truth>{2, Truth::no});
  for (const auto& [generation, resolved] : seen)
    CHECK((generation == -1 || resolved == (generation == 1 ? Truth::yes : Truth::no)));
}

}  // namespace wick
