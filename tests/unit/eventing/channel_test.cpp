// Channels: streams whose triggers have no filter, and whose subscribers' answers go onward and not back.
#include <catch2/catch.hpp>

#include "event_fixture.hpp"

namespace wick::eventing {

namespace {

/// Channels `a` and `b`, and the Subscription `s` of `a`.
struct ChannelFixture : BrokerFixture {
  ChannelFixture() { set_channels(); }
  void set_channels() {
    for (const auto* name : {"a", "b"}) eventing->set_broker(channel(name));
  }
  static BrokerSpec channel(const std::string& name) {
    return {.name_space = "default",
            .name = channel_stream(name),
            .delivery = {.retry = 0},
            .host = name + "-kn-channel.default.svc.cluster.local"};
  }
  static TriggerSpec subscription(const std::string& name = "s", const std::string& of = "a") {
    return {.name_space = "default",
            .name = subscription_trigger(name),
            .broker = channel_stream(of),
            .subscriber = {.name_space = "default", .service = name},
            .reply_to = ""};
  }
  http::Response send_to_host(const std::string& host, std::string id = "1") {
    auto request = event_request("/", std::move(id));
    request.head.authority = host;
    return send(std::move(request));
  }
  int accept_in(const std::string& channel, std::string id) {
    return send(event_request("/default/channels/" + channel, std::move(id))).head.status;
  }
  /// "service/id" of every call.
  std::vector<std::string> calls() const {
    std::vector<std::string> found;
    for (const auto& call : subscriber.calls)
      found.push_back(call.destination.service + call.destination.url + "/" + call.id());
    return found;
  }
  std::size_t waiting() const {
    std::size_t count = 0;
    for (const auto& [name, pending] : eventing->pending()) count += pending;
    return count;
  }
};

using Ids = std::vector<std::string>;

}  // namespace

TEST_CASE("a channel takes events at its own host, and by its path") {
  ChannelFixture f;
  f.set(ChannelFixture::subscription());
  CHECK(f.send_to_host("a-kn-channel.default.svc.cluster.local", "1").head.status == 202);
  CHECK(f.send_to_host("A-kn-channel.default.svc.cluster.local:80", "2").head.status == 202);
  CHECK(f.accept_in("a", "3") == 202);
  CHECK(f.accept_in("b", "4") == 202);
  f.clock.settle();
  CHECK(f.subscriber.ids() == Ids{"1", "2", "3"});
  CHECK(f.send_to_host("c-kn-channel.default.svc.cluster.local").head.status == 404);
  CHECK(f.accept_in("c", "1") == 404);
  CHECK(f.send(event_request("/default/nothings/a", "1")).head.status == 400);
}

TEST_CASE("a host goes with its channel") {
  ChannelFixture f;
  CHECK(f.eventing->serves("a-kn-channel.default.svc.cluster.local"));
  f.eventing->remove_broker("default", channel_stream("a"));
  CHECK_FALSE(f.eventing->serves("a-kn-channel.default.svc.cluster.local"));
  CHECK(f.send_to_host("a-kn-channel.default.svc.cluster.local").head.status == 404);
}

TEST_CASE("C3, C4: every subscription of a channel gets every event, two with the same destination get it twice") {
  ChannelFixture f;
  f.set(ChannelFixture::subscription("s"));
  auto twin = ChannelFixture::subscription("twin");
  twin.subscriber.service = "s";
  f.set(twin);
  f.accept_in("a", "1");
  f.clock.settle();
  CHECK(f.calls() == Ids{"s/1", "s/1"});
}

TEST_CASE("C11: the answer of a subscription without a reply goes nowhere") {
  ChannelFixture f;
  f.subscriber.behaviour = [](const FakeSubscriber::Call&) { return reply("answer", "t.two"); };
  f.set(ChannelFixture::subscription());
  f.accept_in("a", "1");
  f.clock.settle();
  CHECK(f.subscriber.ids() == Ids{"1"});
  CHECK(f.waiting() == 0);
}

TEST_CASE("C5: an answer is in the reply's channel, and what that is subscribed to gets it, with its cause") {
  ChannelFixture f;
  f.subscriber.behaviour = [](const FakeSubscriber::Call& call) -> Result<http::Response> {
    return call.destination.service == "s" ? reply("answer", "t.two") : answer(202);
  };
  auto first = ChannelFixture::subscription();
  first.reply_to = "default/channels/b";
  f.set(first);
  f.set(ChannelFixture::subscription("next", "b"));
  f.accept_in("a", "1");
  f.clock.settle();
  REQUIRE(f.calls() == Ids{"s/1", "next/answer"});
  CHECK(field(f.subscriber.calls[1], "ce-causationid") == "1");
}

TEST_CASE("C5: while the reply's channel is not there the delivery counts as failed, and comes again") {
  ChannelFixture f;
  f.subscriber.behaviour = [](const FakeSubscriber::Call& call) -> Result<http::Response> {
    return call.destination.service == "s" ? reply("answer", "t.two") : answer(202);
  };
  auto first = ChannelFixture::subscription();
  first.reply_to = "default/channels/b";
  first.delivery = Delivery{.retry = 3, .backoff_delay = 1s};
  f.set(first);
  f.set(ChannelFixture::subscription("next", "b"));
  f.eventing->remove_broker("default", channel_stream("b"));
  f.accept_in("a", "1");
  f.clock.settle();
  CHECK(f.calls() == Ids{"s/1"});
  f.set_channels();
  f.clock.advance(2s);
  CHECK(f.calls() == Ids{"s/1", "s/1", "next/answer"});
  CHECK(f.waiting() == 0);
}

TEST_CASE("C6: a subscription's delivery is the channel's until it has one of its own") {
  ChannelFixture f;
  f.subscriber.behaviour = [](const FakeSubscriber::Call& call) -> Result<http::Response> {
    return answer(call.destination.url.empty() ? 500 : 200);
  };
  auto channel = ChannelFixture::channel("a");
  channel.delivery = {.retry = 1, .backoff_delay = 1s, .dead_letter = Destination{.url = "http://dls"}};
  f.eventing->set_broker(channel);
  f.set(ChannelFixture::subscription("s"));
  auto own = ChannelFixture::subscription("own");
  own.delivery = Delivery{.retry = 0};
  f.set(own);
  f.accept_in("a", "1");
  f.clock.settle();
  f.clock.advance(2s);
  auto calls = f.calls();
  std::ranges::sort(calls);
  // As in Knative's code, the channel's dead letter sink stands in for one that is missing.
  CHECK(calls == Ids{"http://dls/1", "http://dls/1", "own/1", "s/1", "s/1"});
}

TEST_CASE("C9: a subscription that has started sees every event from then on, and none from before") {
  ChannelFixture f;
  f.accept_in("a", "before");
  f.eventing->set_trigger(ChannelFixture::subscription());
  REQUIRE(run_on(f.loop, f.eventing->await_trigger("default", subscription_trigger("s"), 5s)));
  f.accept_in("a", "after");
  f.clock.settle();
  CHECK(f.subscriber.ids() == Ids{"after"});
}

TEST_CASE("a trigger that is not there, or that the disk does not take, has not started") {
  ChannelFixture f;
  CHECK_FALSE(run_on(f.loop, f.eventing->await_trigger("default", "nobody", 5s)));
}

TEST_CASE("a channel goes on where it was after a crash: nothing is lost, what was settled does not come again") {
  ChannelFixture f;
  f.set(ChannelFixture::subscription());
  f.accept_in("a", "1");
  f.clock.settle();
  f.clock.advance(1s);
  f.subscriber.behaviour = [](const FakeSubscriber::Call&) -> Result<http::Response> {
    return fail(Errc::overloaded, "busy");
  };
  f.accept_in("a", "2");
  f.clock.settle();
  f.kill();
  f.subscriber.calls.clear();
  f.subscriber.behaviour = [](const FakeSubscriber::Call&) { return answer(200); };
  f.start();
  f.set_channels();
  f.accept_in("a", "3");  // before its subscription is known again
  f.set(ChannelFixture::subscription());
  f.clock.advance(2s);
  auto ids = f.subscriber.ids();
  std::ranges::sort(ids);
  CHECK(ids == Ids{"2", "3"});
}

TEST_CASE("a subscription that was deleted and made again begins anew: nothing is replayed") {
  ChannelFixture f;
  f.subscriber.behaviour = [](const FakeSubscriber::Call&) -> Result<http::Response> {
    return fail(Errc::overloaded, "busy");
  };
  f.set(ChannelFixture::subscription());
  f.accept_in("a", "1");
  f.clock.settle();
  f.eventing->remove_trigger("default", subscription_trigger("s"));
  f.clock.settle();
  f.subscriber.calls.clear();
  f.subscriber.behaviour = [](const FakeSubscriber::Call&) { return answer(200); };
  f.set(ChannelFixture::subscription());
  f.accept_in("a", "2");
  f.clock.advance(5s);
  CHECK(f.subscriber.ids() == Ids{"2"});
}

TEST_CASE("a delivery to a stream of ours is taken without a connection, and refused like a request") {
  ChannelFixture f;
  f.set(ChannelFixture::subscription("s", "b"));
  auto request = event_request("/", "1");
  request.head.authority = "b-kn-channel.default.svc.cluster.local";
  auto taken = run_on(f.loop, f.eventing->accept(request));
  REQUIRE(taken);
  CHECK(taken->head.status == 202);
  f.clock.settle();
  CHECK(f.calls() == Ids{"s/1"});
  request.head.fields.set("ce-id", "");
  CHECK(run_on(f.loop, f.eventing->accept(request))->head.status == 400);
  request.body = std::string(2 << 20, 'x');
  CHECK(run_on(f.loop, f.eventing->accept(request))->head.status == 413);
  request.head.authority = "elsewhere.example.com";
  CHECK_FALSE(run_on(f.loop, f.eventing->accept(request)));
}

}  // namespace wick::eventing
