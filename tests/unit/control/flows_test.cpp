// Sequence and Parallel as objects: the channels and subscriptions they make, and what their status says.
#include "control_fixture.hpp"

namespace wick {

namespace {

using model::Truth;

struct FlowsFixture : ControlFixture {
  FlowsFixture() {
    start();
    apply_service();
  }
  void sequence(std::string_view spec) {
    apply(model::sequence_kind(), yaml("metadata: {name: q}\nspec: {" + std::string(spec) + "}"));
  }
  void parallel(std::string_view spec) {
    apply(model::parallel_kind(), yaml("metadata: {name: p}\nspec: {" + std::string(spec) + "}"));
  }
  bool is(const model::Kind& kind, const std::string& name, Truth truth) {
    return until([&] { return settled(kind, name, truth); });
  }
  std::vector<std::string> names(const model::Kind& kind) {
    std::vector<std::string> found;
    for (const auto& object : objects->list(kind.resource(), "default"))
      found.push_back(model::text_at(*object, {"metadata", "name"}));
    std::ranges::sort(found);
    return found;
  }
  std::string text(const std::string& subscription, std::initializer_list<std::string_view> path) {
    return model::text_at(get(model::subscription_kind(), subscription), path);
  }
  void remove(const model::Kind& kind, const std::string& name) {
    REQUIRE(run_on(loop, objects->request_removal(key(kind, name))));
    REQUIRE(until([&] { return get(kind, name).empty(); }));
  }
};

using Names = std::vector<std::string>;
constexpr std::string_view step = "{ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: hello}}";

std::string steps(std::initializer_list<std::string_view> list) {
  std::string text = "steps: [";
  for (const auto element : list) text += std::string(element) + ", ";
  return text + "]";
}

}  // namespace

TEST_CASE("a Sequence makes a channel and a subscription a step, by Knative's names, each answering into the next") {
  FlowsFixture f;
  f.sequence(steps({step, step}) + ", reply: {uri: 'http://example.com/end'}");
  REQUIRE(f.is(model::sequence_kind(), "q", Truth::yes));
  const Names both{"q-kn-sequence-0", "q-kn-sequence-1"};
  CHECK(f.names(model::in_memory_channel_kind()) == both);
  CHECK(f.names(model::subscription_kind()) == both);
  CHECK(f.text("q-kn-sequence-0", {"status", "physicalSubscription", "replyUri"}) ==
        "http://q-kn-sequence-1-kn-channel.default.svc.cluster.local");
  CHECK(f.text("q-kn-sequence-1", {"status", "physicalSubscription", "replyUri"}) == "http://example.com/end");
  const auto sequence = f.get(model::sequence_kind(), "q");
  CHECK(model::text_at(sequence, {"status", "address", "url"}) ==
        "http://q-kn-sequence-0-kn-channel.default.svc.cluster.local");
  CHECK(sequence.at("status").at("channelStatuses").as_array().size() == 2);
  CHECK(sequence.at("status").at("subscriptionStatuses").at(1).at("ready").at("status") == "True");
  for (const auto type : {"ChannelsReady", "SubscriptionsReady", "Addressable"})
    CHECK(f.condition(model::sequence_kind(), "q", type).status == Truth::yes);
}

TEST_CASE("a Sequence with a step less takes away what it no longer needs, and all of it when it goes") {
  FlowsFixture f;
  f.sequence(steps({step, step, step}));
  REQUIRE(f.is(model::sequence_kind(), "q", Truth::yes));
  f.sequence(steps({step}));
  CHECK(f.until([&] { return f.names(model::in_memory_channel_kind()) == Names{"q-kn-sequence-0"}; }));
  CHECK(f.until([&] { return f.names(model::subscription_kind()) == Names{"q-kn-sequence-0"}; }));
  CHECK(f.is(model::sequence_kind(), "q", Truth::yes));
  f.remove(model::sequence_kind(), "q");
  CHECK(f.until(
      [&] { return f.names(model::in_memory_channel_kind()).empty() && f.names(model::subscription_kind()).empty(); }));
}

TEST_CASE("a step has its own delivery, and a step that cannot be resolved holds the Sequence back") {
  FlowsFixture f;
  f.sequence(steps({"{ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: hello}, delivery: {retry: 7}}",
                    "{ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: absent}}"}));
  REQUIRE(f.until([&] { return f.settled(model::subscription_kind(), "q-kn-sequence-1", Truth::no); }));
  CHECK(f.until([&] { return f.condition(model::sequence_kind(), "q").reason == "SubscriptionsNotReady"; }));
  CHECK(f.condition(model::sequence_kind(), "q").status == Truth::unknown);
  CHECK(model::integer_at(f.get(model::subscription_kind(), "q-kn-sequence-0"), {"spec", "delivery", "retry"}) == 7);
}

TEST_CASE("a flow leaves alone what bears its names and is not its own, and says so") {
  FlowsFixture f;
  f.apply(model::in_memory_channel_kind(), f.yaml("metadata: {name: q-kn-sequence-0}\nspec: {}"));
  f.sequence(steps({step}));
  REQUIRE(f.is(model::sequence_kind(), "q", Truth::no));
  CHECK(f.condition(model::sequence_kind(), "q").message ==
        "InMemoryChannel \"q-kn-sequence-0\" is not owned by this object");
  f.sequence(steps({step}) + ", channelTemplate: {apiVersion: messaging.knative.dev/v1beta1, kind: KafkaChannel}");
  CHECK(f.until([&] {
    return f.condition(model::sequence_kind(), "q", "ChannelsReady").reason == "ChannelTemplateNotSupported";
  }));
}

TEST_CASE("a Parallel makes an entrance and, a branch, a filter's subscription, a channel and a subscription") {
  FlowsFixture f;
  f.parallel("branches: [{filter: " + std::string(step) + ", subscriber: " + std::string(step) +
             ", reply: {uri: 'http://example.com/one'}}, {subscriber: " + std::string(step) +
             "}], reply: {uri: 'http://example.com/all'}");
  REQUIRE(f.is(model::parallel_kind(), "p", Truth::yes));
  CHECK(f.names(model::in_memory_channel_kind()) == Names{"p-kn-parallel", "p-kn-parallel-0", "p-kn-parallel-1"});
  CHECK(f.names(model::subscription_kind()) ==
        Names{"p-kn-parallel-0", "p-kn-parallel-1", "p-kn-parallel-filter-0", "p-kn-parallel-filter-1"});
  const auto uri = [&](const std::string& name, std::string_view field) {
    return f.text(name, {"status", "physicalSubscription", field});
  };
  CHECK(uri("p-kn-parallel-filter-0", "subscriberUri") == "http://hello.default.svc.cluster.local");
  CHECK(uri("p-kn-parallel-filter-0", "replyUri") == "http://p-kn-parallel-0-kn-channel.default.svc.cluster.local");
  CHECK(uri("p-kn-parallel-filter-1", "subscriberUri").empty());
  CHECK(uri("p-kn-parallel-0", "replyUri") == "http://example.com/one");
  CHECK(uri("p-kn-parallel-1", "replyUri") == "http://example.com/all");
  const auto parallel = f.get(model::parallel_kind(), "p");
  CHECK(model::text_at(parallel, {"status", "address", "url"}) ==
        "http://p-kn-parallel-kn-channel.default.svc.cluster.local");
  CHECK(parallel.at("status").at("branchStatuses").at(0).at("filterChannelStatus").at("channel").at("name") ==
        "p-kn-parallel-0");
}

}  // namespace wick
