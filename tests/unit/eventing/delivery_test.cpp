#include <catch2/catch.hpp>

#include "event_fixture.hpp"
#include "wick/eventing/rules.hpp"

using namespace wick;
using namespace wick::eventing;
using Call = FakeSubscriber::Call;
using Kind = EventRecord::Kind;

namespace {

Deliver never() {
  return [](Destination, http::Request, milliseconds) -> awaitable<Result<http::Response>> {
    throw std::runtime_error("the way there broke");
    co_return answer(200);
  };
}

}  // namespace

TEST_CASE("an accepted event is delivered in binary mode with its data untouched") {
  BrokerFixture f;
  f.set(f.trigger());
  auto request = event_request("/default/b", "1", "t.one", "{ \"a\" : 1.0 }");
  request.head.fields.add("ce-subject", "Euro%20%E2%82%AC");
  request.head.fields.add("X-Request-Id", "r-1");
  request.head.fields.add("Authorization", "secret");
  REQUIRE(f.send(request).head.status == 202);
  f.clock.settle();
  REQUIRE(f.subscriber.calls.size() == 1);
  const Call& call = f.subscriber.calls[0];
  CHECK(call.destination.service == "s");
  CHECK(call.request.head.method == "POST");
  CHECK(call.request.body == "{ \"a\" : 1.0 }");
  CHECK(field(call, "ce-id") == "1");
  CHECK(field(call, "ce-subject") == "Euro%20%E2%82%AC");
  CHECK(field(call, "Content-Type") == "application/json");
  CHECK(field(call, "Prefer") == "reply");
  CHECK(field(call, "Kn-Namespace") == "default");
  CHECK(field(call, "X-Request-Id") == "r-1");
  CHECK(field(call, "Authorization") == "-");
  CHECK(field(call, "ce-knativebrokerttl") == "-");
  CHECK(field(call, "ce-knativearrivaltime") != "-");
  CHECK(f.count(Kind::accepted) == 1);
  CHECK(f.count(Kind::delivered) == 1);
}

TEST_CASE("each trigger gets what its filter lets through, and the rest is told apart") {
  BrokerFixture f;
  auto first = f.trigger("first");
  first.filter = {{"type", "t.one"}};
  first.subscriber.service = "one";
  auto second = f.trigger("second");
  second.subscriber.service = "all";
  f.set(first);
  f.set(second);
  f.accept("a", "t.one");
  f.accept("b", "t.two");
  f.clock.settle();
  std::vector<std::string> to_one;
  for (const Call& call : f.subscriber.calls)
    if (call.destination.service == "one") to_one.push_back(call.id());
  CHECK(to_one == std::vector<std::string>{"a"});
  CHECK(f.subscriber.calls.size() == 3);
  CHECK(f.count(Kind::no_match) == 1);
}

TEST_CASE("a new trigger starts with what is accepted after it") {
  BrokerFixture f;
  f.accept("before");
  f.set(f.trigger());
  f.accept("after");
  f.clock.settle();
  CHECK(f.subscriber.ids() == std::vector<std::string>{"after"});
}

TEST_CASE("a failing subscriber is tried again with backoff, and then no more") {
  BrokerFixture f;
  auto spec = f.trigger();
  spec.delivery = Delivery{.retry = 3, .backoff_delay = 1s};
  f.set(spec);
  f.subscriber.behaviour = [](const Call&) { return answer(503); };
  f.accept("1");
  f.clock.settle();
  const TimePoint start = f.clock.now();
  CHECK(f.eventing->pending().at("default/t") == 1);
  f.clock.advance(1h);
  std::vector<Duration> waits;
  for (const Call& call : f.subscriber.calls) waits.push_back(call.when - start);
  CHECK(waits == std::vector<Duration>{0s, 1s, 3s, 7s});
  CHECK(f.count(Kind::failed) == 3);
  CHECK(f.count(Kind::dropped) == 1);
  CHECK(f.eventing->pending().at("default/t") == 0);
}

TEST_CASE("a subscriber that recovers gets the event once more") {
  BrokerFixture f;
  f.set(f.trigger());
  int left = 2;
  f.subscriber.behaviour = [&](const Call&) -> Result<http::Response> {
    if (left-- > 0) return fail(Errc::unavailable, "connection refused");
    return answer(204);
  };
  f.accept("1");
  f.clock.advance(1h);
  CHECK(f.subscriber.calls.size() == 3);
  CHECK(f.count(Kind::delivered) == 1);
  CHECK(f.eventing->pending().at("default/t") == 0);
}

TEST_CASE("an answer that cannot get better goes to the dead letter sink at once") {
  BrokerFixture f;
  auto spec = f.trigger();
  spec.delivery = Delivery{.dead_letter = Destination{.name_space = "default", .service = "dls"}};
  f.set(spec);
  f.subscriber.behaviour = [](const Call& call) {
    return call.destination.service == "dls" ? answer(200, "thanks") : answer(422, "no");
  };
  f.accept("1");
  f.clock.settle();
  REQUIRE(f.subscriber.calls.size() == 2);
  const Call& dead = f.subscriber.calls[1];
  CHECK(dead.destination.service == "dls");
  CHECK(field(dead, "ce-id") == "1");
  CHECK(field(dead, "ce-knativeerrorcode") == "422");
  CHECK(field(dead, "ce-knativeerrordest") == "http://s.default.svc.cluster.local");
  CHECK(field(dead, "ce-knativeerrordata") == "bm8=");
  CHECK(field(dead, "Prefer") == "-");
}

TEST_CASE("a dead letter sink is retried like a subscriber") {
  BrokerFixture f;
  auto spec = f.trigger();
  spec.delivery = Delivery{.retry = 1, .backoff_delay = 1s, .dead_letter = Destination{.url = "http://dls.example/x"}};
  f.set(spec);
  int sink_calls = 0;
  f.subscriber.behaviour = [&](const Call& call) {
    return !call.destination.url.empty() && ++sink_calls == 2 ? answer(200) : answer(500);
  };
  f.accept("1");
  f.clock.advance(1min);
  CHECK(f.subscriber.calls.size() == 4);  // two each
  CHECK(f.count(Kind::dead_lettered) == 1);
  CHECK(f.count(Kind::dropped) == 0);
}

TEST_CASE("a trigger's timeout limits each attempt") {
  BrokerFixture f;
  auto spec = f.trigger();
  spec.delivery = Delivery{.timeout = 5s};
  f.set(spec);
  f.accept("1");
  f.clock.settle();
  CHECK(f.subscriber.calls.at(0).limit == 5s);
}

TEST_CASE("a reply goes through the broker and reaches other triggers") {
  BrokerFixture f;
  auto asks = f.trigger("asks");
  asks.filter = {{"type", "question"}};
  auto hears = f.trigger("hears");
  hears.filter = {{"type", "answer"}};
  hears.subscriber.service = "listener";
  f.set(asks);
  f.set(hears);
  f.subscriber.behaviour = [](const Call& call) {
    return call.destination.service == "s" ? reply("42", "answer") : answer(200);
  };
  f.accept("1", "question");
  f.clock.settle();
  REQUIRE(f.subscriber.calls.size() == 2);
  CHECK(f.subscriber.calls[1].destination.service == "listener");
  CHECK(f.subscriber.calls[1].id() == "42");
}

TEST_CASE("replies that answer themselves end when the loop budget is used up") {
  BrokerFixture f;
  f.set(f.trigger());
  f.subscriber.behaviour = [](const Call& call) { return reply(call.id() + "x", "t"); };
  f.accept("");
  f.accept("1");
  f.clock.advance(1s);
  CHECK(f.subscriber.calls.size() == ttl_max);
  CHECK(f.count(Kind::dropped) == 1);
}

TEST_CASE("a body that is no event is a failure") {
  BrokerFixture f;
  auto spec = f.trigger();
  spec.delivery = Delivery{.retry = 0};
  f.set(spec);
  f.subscriber.behaviour = [](const Call&) { return answer(200, "hello"); };
  f.accept("1");
  f.clock.settle();
  CHECK(f.records().back().status == 502);
  CHECK(f.records().back().kind == Kind::dropped);
}

TEST_CASE("deliveries of a trigger are bounded, and a slow trigger does not hold another up") {
  BrokerFixture f({.concurrent_deliveries_per_trigger = 4});
  f.set(f.trigger());
  f.subscriber.delay = 1s;
  for (int i = 0; i < 10; ++i) f.accept(std::to_string(i));
  f.clock.settle();
  CHECK(f.subscriber.in_flight == 4);
  CHECK(f.eventing->pending().at("default/t") == 10);
  auto other = f.trigger("other");
  f.set(other);
  f.accept("late");
  f.clock.settle();
  CHECK(f.subscriber.in_flight == 5);
  f.clock.advance(10s);
  CHECK(f.subscriber.calls.size() == 12);
  CHECK(f.subscriber.most == 5);
}

TEST_CASE("an exception on the way is a failed attempt") {
  BrokerFixture f;
  run_on(f.loop, f.eventing->stop(0ms));
  f.eventing = std::make_unique<Eventing>(f.loop.get_executor(), f.clock, *f.database, f.metrics, never(), f.limits);
  f.eventing->set_broker(f.broker);
  f.set(f.trigger());
  f.accept("1");
  f.clock.advance(1h);
  CHECK(f.count(Kind::failed) == 10);
  CHECK(f.count(Kind::dropped) == 1);
}

TEST_CASE("a removed trigger delivers nothing more, and coming back is new") {
  BrokerFixture f;
  f.set(f.trigger());
  f.subscriber.behaviour = [](const Call&) { return answer(500); };
  f.accept("1");
  f.clock.settle();
  f.eventing->remove_trigger("default", "t");
  f.clock.advance(1h);
  CHECK(f.subscriber.calls.size() == 1);
  CHECK(f.eventing->pending().empty());
  f.accept("2");
  f.set(f.trigger());
  f.accept("3");
  f.clock.settle();
  CHECK(f.subscriber.ids() == std::vector<std::string>{"1", "3"});
}

TEST_CASE("a changed trigger goes on where it is") {
  BrokerFixture f;
  auto spec = f.trigger();
  spec.subscriber.service = "broken";
  f.set(spec);
  f.subscriber.behaviour = [](const Call& call) {
    return call.destination.service == "broken" ? answer(500) : answer(200);
  };
  f.accept("1");
  f.clock.settle();
  f.set(f.trigger());
  f.clock.advance(1s);
  REQUIRE(f.subscriber.calls.size() == 2);
  CHECK(f.subscriber.calls[1].destination.service == "s");
}

TEST_CASE("tail shows the last records and then each new one") {
  BrokerFixture f;
  f.accept("1");
  f.accept("2");
  std::vector<std::string> seen;
  TaskGroup tasks(f.loop.get_executor());
  tasks.spawn("tail", f.eventing->tail("default", "b", 1, [&](const EventRecord& record) {
    seen.push_back(record.event_id);
    return seen.size() < 3;
  }));
  f.clock.settle();
  CHECK(seen == std::vector<std::string>{"2"});
  f.accept("3");
  f.accept("4");
  f.accept("5");
  f.clock.settle();
  CHECK(seen == std::vector<std::string>{"2", "3", "4"});
  CHECK(tasks.size() == 0);
}

TEST_CASE("records are kept up to their limit") {
  BrokerFixture f({.records_kept = 3});
  for (int i = 0; i < 10; ++i) f.accept(std::to_string(i));
  CHECK(f.records().size() == 3);
  CHECK(f.records().front().event_id == "7");
}
