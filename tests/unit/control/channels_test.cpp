// Channels and Subscriptions as objects: what their status says, and what comes and goes in which order.
#include "control_fixture.hpp"

namespace wick {

namespace {

using model::Truth;

struct ChannelsFixture : ControlFixture {
  ChannelsFixture() { start(); }
  void channel(const std::string& name = "c", std::string_view spec = "{}") {
    apply(model::channel_kind(), yaml("metadata: {name: " + name + "}\nspec: " + std::string(spec)));
  }
  void subscribe(std::string_view rest, std::string_view kind = "Channel", std::string_view of = "c") {
    apply(model::subscription_kind(),
          yaml("metadata: {name: s}\nspec: {channel: {apiVersion: messaging.knative.dev/v1, kind: " +
               std::string(kind) + ", name: " + std::string(of) + "}, " + std::string(rest) + "}"));
  }
  void remove(const model::Kind& kind, const std::string& name) {
    REQUIRE(run_on(loop, objects->request_removal(key(kind, name))));
    REQUIRE(until([&] { return get(kind, name).empty(); }));
  }
  bool channel_is(Truth truth, const std::string& name = "c") {
    return until([&] { return settled(model::channel_kind(), name, truth); });
  }
  bool subscription_is(Truth truth) {
    return until([&] { return settled(model::subscription_kind(), "s", truth); });
  }
  std::string text(const model::Kind& kind, const std::string& name, std::initializer_list<std::string_view> path) {
    return model::text_at(get(kind, name), path);
  }
  bool takes_events() { return eventing.serves("c-kn-channel.default.svc.cluster.local"); }
  std::size_t subscribers() {
    const auto object = get(model::channel_kind(), "c");
    const auto* list = model::find_value(object, {"status", "subscribers"});
    return list && list->is_array() ? list->get_array().size() : 0;
  }
};

constexpr std::string_view to_hello =
    "subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: hello}}";
constexpr std::string_view to_uri = "subscriber: {uri: 'http://example.com/x'}";

}  // namespace

TEST_CASE("a Channel makes the InMemoryChannel of its name, and has its address and conditions") {
  ChannelsFixture f;
  f.channel();
  REQUIRE(f.channel_is(Truth::yes));
  CHECK(f.text(model::channel_kind(), "c", {"status", "address", "url"}) ==
        "http://c-kn-channel.default.svc.cluster.local");
  CHECK(f.text(model::channel_kind(), "c", {"status", "channel", "kind"}) == "InMemoryChannel");
  for (const auto type : {"BackingChannelReady", "Addressable", "DeadLetterSinkResolved"})
    CHECK(f.condition(model::channel_kind(), "c", type).status == Truth::yes);
  for (const auto type : {"DispatcherReady", "ServiceReady", "EndpointsReady", "Addressable", "ChannelServiceReady",
                          "DeadLetterSinkResolved", "EventPoliciesReady", "Ready"})
    CHECK(f.condition(model::in_memory_channel_kind(), "c", type).status == Truth::yes);
  CHECK(f.takes_events());
  f.remove(model::channel_kind(), "c");
  CHECK(f.until([&] { return !f.takes_events(); }));
  CHECK(f.get(model::in_memory_channel_kind(), "c").empty());
}

TEST_CASE("a Channel of a kind that is not here says which there is") {
  ChannelsFixture f;
  f.channel("c", "{channelTemplate: {apiVersion: messaging.knative.dev/v1beta1, kind: KafkaChannel}}");
  REQUIRE(f.channel_is(Truth::no));
  CHECK(f.condition(model::channel_kind(), "c", "BackingChannelReady").reason == "ChannelTemplateNotSupported");
  CHECK_FALSE(f.takes_events());
}

TEST_CASE("C7: a Subscription is ready once its references are resolved, and shows their addresses") {
  ChannelsFixture f;
  f.channel("c", "{delivery: {deadLetterSink: {uri: 'http://dls.example.com'}}}");
  f.channel("next");
  f.subscribe(std::string(to_hello) +
              ", reply: {ref: {apiVersion: messaging.knative.dev/v1, kind: Channel, name: next}}");
  REQUIRE(f.subscription_is(Truth::no));
  CHECK(f.condition(model::subscription_kind(), "s", "ReferencesResolved").reason == "SubscriberResolveFailed");
  CHECK(f.condition(model::subscription_kind(), "s").message ==
        "Failed to resolve spec.subscriber: services.serving.knative.dev \"hello\" not found");
  f.apply_service();
  REQUIRE(f.subscription_is(Truth::yes));
  const auto physical = [&](std::string_view field) {
    return f.text(model::subscription_kind(), "s", {"status", "physicalSubscription", field});
  };
  CHECK(physical("subscriberUri") == "http://hello.default.svc.cluster.local");
  CHECK(physical("replyUri") == "http://next-kn-channel.default.svc.cluster.local");
  CHECK(physical("deadLetterSinkUri") == "http://dls.example.com");
  for (const auto type : {"ReferencesResolved", "AddedToChannel", "ChannelReady"})
    CHECK(f.condition(model::subscription_kind(), "s", type).status == Truth::yes);
}

TEST_CASE("C8: a Subscription may come before its channel, and is not ready until that is there") {
  ChannelsFixture f;
  f.subscribe(to_uri);
  REQUIRE(f.subscription_is(Truth::no));
  CHECK(f.condition(model::subscription_kind(), "s").reason == "ChannelReferenceFailed");
  f.channel();
  REQUIRE(f.subscription_is(Truth::yes));
  CHECK(f.until([&] { return f.subscribers() == 1; }));
  f.remove(model::channel_kind(), "c");
  CHECK(f.subscription_is(Truth::no));
  f.channel();
  CHECK(f.subscription_is(Truth::yes));
  f.remove(model::subscription_kind(), "s");
  CHECK(f.until([&] { return f.subscribers() == 0; }));
}

TEST_CASE("a Subscription of an InMemoryChannel needs no Channel") {
  ChannelsFixture f;
  f.apply(model::in_memory_channel_kind(), f.yaml("metadata: {name: c}\nspec: {}"));
  f.subscribe(to_uri, "InMemoryChannel");
  CHECK(f.subscription_is(Truth::yes));
}

TEST_CASE("a Subscription says that what it names is no channel, or that an annotation is wrong") {
  ChannelsFixture f;
  f.apply(model::subscription_kind(),
          f.yaml("metadata: {name: s}\nspec: {channel: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: b}, " +
                 std::string(to_uri) + "}"));
  REQUIRE(f.subscription_is(Truth::no));
  CHECK(f.condition(model::subscription_kind(), "s").message ==
        "Failed to get Spec.Channel or backing channel: eventing.knative.dev/v1 Broker is no channel here: "
        "messaging.knative.dev/v1 Channel or InMemoryChannel");
  f.remove(model::subscription_kind(), "s");
  f.channel();
  f.apply(model::subscription_kind(),
          f.yaml("metadata: {name: s, annotations: {wick.dev/ordering: sometimes}}\nspec: {channel: {apiVersion: "
                 "messaging.knative.dev/v1, kind: Channel, name: c}, " +
                 std::string(to_uri) + "}"));
  REQUIRE(f.subscription_is(Truth::no));
  CHECK(f.condition(model::subscription_kind(), "s").reason == "AnnotationInvalid");
}

TEST_CASE("C8: the channel of a Subscription and the template of a Channel cannot be changed") {
  ChannelsFixture f;
  f.channel();
  f.subscribe(to_uri);
  const auto old = f.get(model::subscription_kind(), "s");
  auto changed = old;
  model::object_at(changed, {"spec", "channel"})["name"] = "other";
  CHECK_FALSE(model::admit(model::subscription_kind(), changed, {.old = &old, .user = "test", .policy = f.policy}));
}

TEST_CASE("a Trigger and a dead letter sink may be channels, and a Subscription's subscriber a broker") {
  ChannelsFixture f;
  f.channel();
  f.apply(model::broker_kind(), f.yaml("metadata: {name: b}\nspec: {delivery: {deadLetterSink: {ref: {apiVersion: "
                                       "messaging.knative.dev/v1, kind: Channel, name: c}}}}"));
  f.apply(model::trigger_kind(), f.yaml("metadata: {name: t}\nspec: {broker: b, subscriber: {ref: {apiVersion: "
                                        "messaging.knative.dev/v1, kind: InMemoryChannel, name: c}}}"));
  f.subscribe("subscriber: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: b}}");
  REQUIRE(f.subscription_is(Truth::yes));
  REQUIRE(f.until([&] { return f.settled(model::trigger_kind(), "t", Truth::yes); }));
  CHECK(f.text(model::subscription_kind(), "s", {"status", "physicalSubscription", "subscriberUri"}) ==
        "http://broker-ingress.knative-eventing.svc.cluster.local/default/b");
  CHECK(f.text(model::trigger_kind(), "t", {"status", "subscriberUri"}) ==
        "http://c-kn-channel.default.svc.cluster.local");
  CHECK(f.until([&] {
    return f.text(model::broker_kind(), "b", {"status", "deadLetterSinkUri"}) ==
           "http://c-kn-channel.default.svc.cluster.local";
  }));
}

}  // namespace wick
