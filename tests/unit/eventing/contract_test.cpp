// The statements of knative/specs data-plane.md and control-plane.md (eventing.md 2.1 and 2.2) by number, and the rows
// of the upstream suite that are only a todo there (2.3). What belongs to resources (C7, C8, C11, C14) is tested where
// they are reconciled.
#include <catch2/catch.hpp>
#include <set>

#include "event_fixture.hpp"
#include "wick/eventing/rules.hpp"

using namespace wick;
using namespace wick::eventing;
using Call = FakeSubscriber::Call;
using Kind = EventRecord::Kind;

namespace {

http::Request structured(std::string id, std::string specversion = "1.0") {
  return {
      .head = {.method = "POST", .target = "/default/b", .fields = {{"Content-Type", "application/cloudevents+json"}}},
      .body = R"({"specversion":")" + specversion + R"(","id":")" + id +
              R"(","source":"/s","type":"t","datacontenttype":"text/plain","data":"x"})"};
}

TriggerSpec to(BrokerFixture& f, std::string name, std::string service, AttributeFilter filter = {}) {
  TriggerSpec spec = f.trigger(std::move(name));
  spec.subscriber.service = std::move(service);
  spec.filter = std::move(filter);
  return spec;
}

int count(BrokerFixture& f, std::string_view service) {
  return static_cast<int>(std::ranges::count_if(f.subscriber.calls, [&](const Call& call) {
    return call.destination.service == service || call.destination.url == service;
  }));
}

std::int64_t integer(BrokerFixture& f, std::string_view sql) {
  store::Statement query(f.database->reader(), sql);
  query.step();
  return query.integer(0);
}

}  // namespace

TEST_CASE("D1: events come and go in binary and in structured mode") {
  BrokerFixture f;
  auto spec = f.trigger();
  spec.delivery = Delivery{.format = Delivery::Format::json};
  f.set(spec);
  f.set(to(f, "binary", "other"));
  CHECK(f.accept("1") == 202);
  CHECK(f.send(structured("2")).head.status == 202);
  f.clock.settle();
  REQUIRE(f.subscriber.calls.size() == 4);
  for (const Call& call : f.subscriber.calls) {
    const bool is_structured = field(call, "Content-Type").starts_with("application/cloudevents+json");
    CHECK(is_structured == (call.destination.service == "s"));
    CHECK(decode_message(call.request.head.fields, call.request.body).has_value());
  }
}

TEST_CASE("D1: versions 0.3 and 1.0 are taken and not upgraded, others are refused") {
  BrokerFixture f;
  f.set(f.trigger());
  CHECK(f.send(structured("1", "0.3")).head.status == 202);
  CHECK(f.send(structured("2", "19.0")).head.status == 400);
  f.clock.settle();
  REQUIRE(f.subscriber.calls.size() == 1);
  CHECK(field(f.subscriber.calls[0], "ce-specversion") == "0.3");
}

TEST_CASE("D2: delivery is a POST, and OPTIONS says that POST is allowed") {
  BrokerFixture f;
  f.set(f.trigger());
  f.accept("1");
  f.clock.settle();
  CHECK(f.subscriber.calls.at(0).request.head.method == "POST");
  const auto options = f.send({.head = {.method = "OPTIONS", .target = "/default/b"}});
  CHECK(options.head.status == 200);
  CHECK(options.head.fields.find("Allow").value().contains("POST"));
}

TEST_CASE("D3, C2: an event is on disk before it is acknowledged") {
  BrokerFixture f;
  CHECK(f.accept("1") == 202);
  CHECK(integer(f, "SELECT count(*) FROM event") == 1);
  f.refuse_writes(true);
  CHECK(f.accept("2") == 503);
  f.refuse_writes(false);
}

TEST_CASE("D4: every status is done, retried or final as the table says, and a 202 is never a reply") {
  const std::pair<int, int> calls[] = {{200, 1}, {201, 1}, {202, 1}, {204, 1}, {102, 1}, {301, 1}, {304, 1},
                                       {400, 1}, {401, 1}, {403, 1}, {410, 1}, {415, 1}, {404, 2}, {408, 2},
                                       {409, 2}, {429, 2}, {500, 2}, {502, 2}, {503, 2}, {504, 2}};
  for (const auto& [status, wanted] : calls) {
    BrokerFixture f;
    auto spec = f.trigger();
    spec.delivery = Delivery{.retry = 1, .backoff_delay = 1s};
    f.set(spec);
    f.subscriber.behaviour = [status = status](const Call&) {
      auto answered = reply("r", "t");
      answered.head.status = status;
      if (status != 202) return answer(status);
      return answered;
    };
    f.accept("1");
    f.clock.advance(1min);
    INFO(status);
    CHECK(f.subscriber.calls.size() == static_cast<std::size_t>(wanted));
  }
}

TEST_CASE("D5: duplicates are accepted, and known by source and id where the broker was asked to") {
  BrokerFixture f;
  f.set(f.trigger());
  f.accept("1");
  f.accept("1");
  f.clock.settle();
  CHECK(f.subscriber.calls.size() == 2);
  f.broker.dedup_window = 2min;
  f.eventing->set_broker(f.broker);
  CHECK(f.accept("1") == 202);  // known from the log
  CHECK(f.accept("2") == 202);
  CHECK(f.accept("2") == 202);
  auto elsewhere = event_request("/default/b", "2");
  elsewhere.head.fields.set("ce-source", "/other");
  CHECK(f.send(elsewhere).head.status == 202);
  f.clock.settle();
  CHECK(f.subscriber.calls.size() == 4);
  f.clock.advance(3min);
  f.accept("2");
  f.clock.settle();
  CHECK(f.subscriber.calls.size() == 5);
}

TEST_CASE("D5: what could not be stored is no duplicate when it comes again") {
  BrokerFixture f;
  f.broker.dedup_window = 2min;
  f.eventing->set_broker(f.broker);
  f.refuse_writes(true);
  CHECK(f.accept("1") == 503);
  f.refuse_writes(false);
  CHECK(f.accept("1") == 202);
  CHECK(integer(f, "SELECT count(*) FROM event") == 1);
}

TEST_CASE("D5: duplicates are known after a restart") {
  BrokerFixture f;
  f.broker.dedup_window = 2min;
  f.eventing->set_broker(f.broker);
  f.accept("1");
  f.kill();
  f.start();
  f.accept("1");
  CHECK(integer(f, "SELECT count(*) FROM event") == 1);
}

TEST_CASE("D6: a trigger asks no more of a subscriber at a time than it may") {
  BrokerFixture f;
  auto spec = f.trigger();
  spec.in_flight_max = 3;
  f.set(spec);
  f.subscriber.delay = 1s;
  for (int i = 0; i < 20; ++i) f.accept(std::to_string(i));
  f.clock.advance(1min);
  CHECK(f.subscriber.most == 3);
  CHECK(f.subscriber.calls.size() == 20);
}

TEST_CASE("D6: a full queue before the service is waited for, and is no attempt") {
  BrokerFixture f;
  auto spec = f.trigger();
  spec.delivery = Delivery{.retry = 0};
  f.set(spec);
  int full = 5;
  f.subscriber.behaviour = [&](const Call&) -> Result<http::Response> {
    if (full-- > 0) return fail(Errc::overloaded, "100 requests wait");
    return answer(200);
  };
  f.accept("1");
  f.clock.advance(1min);
  CHECK(f.subscriber.calls.size() == 6);
  CHECK(f.count(Kind::delivered) == 1);
  CHECK(f.count(Kind::failed) + f.count(Kind::dropped) == 0);
}

TEST_CASE("D7: a subscriber is told that a reply is welcome") {
  BrokerFixture f;
  f.set(f.trigger());
  f.accept("1");
  f.clock.settle();
  CHECK(field(f.subscriber.calls.at(0), "Prefer") == "reply");
}

TEST_CASE("D8, C12: data is the same in every attempt") {
  BrokerFixture f;
  f.set(f.trigger());
  const std::string data("\x00\xff{ \"a\" : 1.0 }\r\n", 17);
  f.subscriber.behaviour = [&](const Call&) { return answer(f.subscriber.calls.size() < 3 ? 500 : 200); };
  auto request = event_request("/default/b", "1", "t.one", data);
  request.head.fields.set("Content-Type", "application/octet-stream");
  f.send(request);
  f.clock.advance(1min);
  REQUIRE(f.subscriber.calls.size() == 3);
  for (const Call& call : f.subscriber.calls) CHECK(call.request.body == data);
}

TEST_CASE("C1: a broker forwards every valid event to every trigger it has") {
  BrokerFixture f;
  f.set(to(f, "a", "a"));
  f.set(to(f, "b", "b"));
  for (int i = 0; i < 300; ++i) CHECK(f.accept(std::to_string(i)) == 202);
  f.clock.settle();
  CHECK(count(f, "a") == 300);
  CHECK(count(f, "b") == 300);
}

TEST_CASE("C3: each event is evaluated once a trigger, also by one that fell behind") {
  BrokerFixture f;
  auto slow = to(f, "slow", "slow", {{"type", "t.one"}});
  slow.in_flight_max = 2;
  f.set(slow);
  f.set(to(f, "fast", "fast"));
  f.subscriber.delay = 1ms;
  for (int i = 0; i < 1000; ++i) f.accept(std::to_string(i), i % 2 == 0 ? "t.one" : "t.two");
  f.clock.advance(10s);
  CHECK(count(f, "slow") == 500);
  CHECK(count(f, "fast") == 1000);
  const auto ids = f.subscriber.ids();
  CHECK(std::set<std::string>(ids.begin(), ids.end()).size() == 1000);
}

TEST_CASE("C4: two triggers with one destination are two deliveries") {
  BrokerFixture f;
  f.set(to(f, "a", "s"));
  f.set(to(f, "b", "s"));
  f.accept("1");
  f.clock.settle();
  CHECK(count(f, "s") == 2);
}

TEST_CASE("C5: a reply goes to all triggers, its originator included, and says what caused it") {
  BrokerFixture f;
  f.set(to(f, "asks", "s"));
  f.set(to(f, "hears", "listener", {{"type", "answer"}}));
  f.subscriber.behaviour = [](const Call& call) {
    return call.id() == "1" && call.destination.service == "s" ? reply("2", "answer") : answer(200);
  };
  f.accept("1", "question");
  f.clock.settle();
  CHECK(count(f, "s") == 2);
  CHECK(count(f, "listener") == 1);
  CHECK(field(f.subscriber.calls.back(), "ce-causationid") == "1");
}

TEST_CASE("C5: when its reply cannot be stored before a kill, the delivery is repeated") {
  BrokerFixture f;
  f.set(to(f, "asks", "s", {{"type", "question"}}));
  f.subscriber.behaviour = [](const Call&) { return reply("2", "answer"); };
  f.subscriber.delay = 1s;
  f.accept("1", "question");
  f.clock.settle();
  f.refuse_writes(true);
  f.clock.advance(2s);
  f.kill();
  f.subscriber.delay = 0ms;
  f.start();
  f.set(to(f, "asks", "s", {{"type", "question"}}));
  CHECK(f.subscriber.calls.size() == 2);
  CHECK(integer(f, "SELECT count(*) FROM event") == 2);
}

TEST_CASE("C5: a malformed reply fails the delivery") {
  BrokerFixture f;
  auto spec = f.trigger();
  spec.delivery = Delivery{.retry = 1, .backoff_delay = 1s};
  f.set(spec);
  f.subscriber.behaviour = [](const Call&) { return reply("", "answer"); };
  f.accept("1");
  f.clock.advance(1min);
  CHECK(f.subscriber.calls.size() == 2);
  CHECK(f.records().back().status == 502);
}

TEST_CASE("C6: with three retries three failures are delivered, and a fourth is a dead letter") {
  for (const int failures : {3, 4}) {
    BrokerFixture f;
    f.broker.delivery = {.retry = 3, .backoff_delay = 1s, .dead_letter = Destination{.url = "http://dls"}};
    f.eventing->set_broker(f.broker);
    f.set(f.trigger());
    int left = failures;
    f.subscriber.behaviour = [&](const Call& call) {
      return answer(call.destination.url.empty() && left-- > 0 ? 500 : 200);
    };
    f.accept("1");
    f.clock.advance(1min);
    CHECK(count(f, "s") == 4);
    CHECK(count(f, "http://dls") == (failures == 4 ? 1 : 0));
  }
}

TEST_CASE("C6: without a sink an event nobody takes is kept as a dead letter until it is redriven or purged") {
  BrokerFixture f;
  auto spec = f.trigger();
  spec.delivery = Delivery{.retry = 1, .backoff_delay = 1s};
  f.set(spec);
  f.subscriber.behaviour = [](const Call&) { return answer(500, "out of order"); };
  f.accept("1");
  f.accept("2");
  f.clock.advance(1min);
  const auto letters = f.eventing->dead_letters("default", 10);
  REQUIRE(letters.size() == 2);
  CHECK(letters[0].at("status").as_int64() == 500);
  CHECK(letters[0].at("lastAnswer").as_string() == "out of order");
  CHECK(letters[0].at("attempts").as_int64() == 2);
  CHECK(f.eventing->dead_letters("elsewhere", 10).empty());
  f.subscriber.behaviour = [](const Call&) { return answer(200); };
  CHECK(run_on(f.loop, f.eventing->redrive("default", "t", 1)).value() == 1);
  f.clock.settle();
  CHECK(f.subscriber.calls.back().id() == "1");
  CHECK(f.count(Kind::delivered) == 1);
  CHECK(run_on(f.loop, f.eventing->purge("default", "t", std::nullopt)).value() == 1);
  CHECK(f.eventing->dead_letters("default", 10).empty());
  CHECK(integer(f, "SELECT count(*) FROM delivery") == 0);
}

TEST_CASE("C9: a new trigger may begin with what was there before it") {
  BrokerFixture f;
  for (int i = 1; i <= 3; ++i) {
    f.accept(std::to_string(i));
    f.clock.advance(1min);
  }
  const auto begins = [&](std::string name, StartFrom from) {
    auto spec = to(f, name, name);
    spec.start_from = from;
    f.set(spec);
    return count(f, name);
  };
  CHECK(begins("latest", {}) == 0);
  CHECK(begins("earliest", {.where = StartFrom::Where::earliest}) == 3);
  CHECK(begins("position", {.where = StartFrom::Where::position, .position = 2}) == 2);
  CHECK(begins("time", {.where = StartFrom::Where::time, .time = f.clock.wall() - 90s}) == 1);
}

TEST_CASE("C10: a trigger's delivery replaces the broker's, but for a dead letter sink it does not have") {
  BrokerFixture f;
  f.broker.delivery = {.retry = 5, .backoff_delay = 1s, .dead_letter = Destination{.url = "http://dls"}};
  f.eventing->set_broker(f.broker);
  auto spec = f.trigger();
  spec.delivery = Delivery{.retry = 1, .backoff_delay = 1s};
  f.set(spec);
  f.subscriber.behaviour = [](const Call& call) { return answer(call.destination.url.empty() ? 500 : 200); };
  f.accept("1");
  f.clock.advance(1min);
  CHECK(count(f, "s") == 2);
  CHECK(count(f, "http://dls") == 1);
}

TEST_CASE("C12: nothing but attributes is added, and no reply is delivered more often than the loop budget allows") {
  BrokerFixture f;
  f.set(f.trigger());
  f.subscriber.behaviour = [](const Call& call) { return reply(call.id() + "x", "t"); };
  f.accept("1");
  f.clock.advance(1s);
  CHECK(f.subscriber.calls.size() == ttl_max);
}

TEST_CASE("C13: every attribute of a filter must be there, and be equal unless the filter leaves it open") {
  BrokerFixture f;
  f.set(to(f, "any", "any", {{"type", ""}}));
  f.set(to(f, "exact", "exact", {{"type", "t.one"}, {"source", "/test"}}));
  f.set(to(f, "extension", "extension", {{"color", ""}}));
  f.accept("1", "t.one");
  f.accept("2", "t.two");
  f.clock.settle();
  CHECK(count(f, "any") == 2);
  CHECK(count(f, "exact") == 1);
  CHECK(count(f, "extension") == 0);
}

// Order, time and memory

TEST_CASE("strict order: a failing event holds up all that follow") {
  BrokerFixture f;
  auto spec = f.trigger();
  spec.ordering = TriggerSpec::Ordering::strict;
  spec.delivery = Delivery{.retry = 3, .backoff_delay = 1s};
  f.set(spec);
  f.subscriber.behaviour = [&](const Call&) { return answer(f.subscriber.calls.size() < 3 ? 500 : 200); };
  for (const char* id : {"1", "2", "3"}) f.accept(id);
  f.clock.advance(1min);
  CHECK(f.subscriber.ids() == std::vector<std::string>{"1", "1", "1", "2", "3"});
  CHECK(f.subscriber.most == 1);
}

TEST_CASE("order by key: a failing event holds up its own key only, also after a kill") {
  BrokerFixture f;
  auto spec = f.trigger();
  spec.ordering = TriggerSpec::Ordering::key;
  spec.delivery = Delivery{.retry = 3, .backoff_delay = 1min};
  f.set(spec);
  bool broken = true;
  f.subscriber.behaviour = [&](const Call& call) { return answer(broken && call.id() == "a1" ? 500 : 200); };
  const auto send = [&](std::string id, std::string key) {
    auto request = event_request("/default/b", id);
    request.head.fields.add("ce-partitionkey", key);
    f.send(request);
  };
  send("a1", "a");
  send("a2", "a");
  send("b1", "b");
  f.clock.settle();
  CHECK(f.subscriber.ids() == std::vector<std::string>{"a1", "b1"});
  f.kill();
  f.subscriber.calls.clear();
  broken = false;
  f.start();
  f.set(spec);
  f.clock.advance(2s);
  const auto ids = f.subscriber.ids();
  CHECK(std::ranges::count(ids, "a2") == 0);
  f.clock.advance(2min);
  const auto later = f.subscriber.ids();
  const auto first = std::ranges::find(later, "a1"), second = std::ranges::find(later, "a2");
  CHECK(first < second);
  CHECK(second != later.end());
}

TEST_CASE("an event may be sent to be delivered later, and keeps its time over a kill") {
  BrokerFixture f;
  f.set(f.trigger());
  auto request = event_request("/default/b", "1");
  request.head.fields.add("ce-delay", "PT1H");
  f.send(request);
  f.clock.advance(10min);
  CHECK(f.subscriber.calls.empty());
  f.kill();
  f.start();
  f.set(f.trigger());
  f.clock.advance(49min);
  CHECK(f.subscriber.calls.empty());
  f.clock.advance(2min);
  CHECK(f.subscriber.calls.size() == 1);
}

TEST_CASE("an event past its expirytime is not delivered") {
  BrokerFixture f;
  f.set(f.trigger());
  auto request = event_request("/default/b", "1");
  request.head.fields.add("ce-expirytime", to_rfc3339(f.clock.wall() - 1s));
  f.send(request);
  f.clock.settle();
  CHECK(f.subscriber.calls.empty());
  CHECK(f.count(Kind::expired) == 1);
  CHECK(f.eventing->pending().at("default/t") == 0);
}

TEST_CASE("a replay delivers a stretch of the log once more, marked, and goes on after a kill") {
  BrokerFixture f;
  f.set(f.trigger());
  for (int i = 1; i <= 5; ++i) f.accept(std::to_string(i));
  f.clock.advance(1s);
  f.subscriber.calls.clear();
  REQUIRE(run_on(f.loop, f.eventing->replay("default", "t", 2, 4)));
  f.kill();
  f.start();
  f.set(f.trigger());
  f.clock.advance(1s);
  const auto ids = f.subscriber.ids();
  CHECK(std::set<std::string>(ids.begin(), ids.end()) == std::set<std::string>{"2", "3", "4"});
  CHECK(field(f.subscriber.calls.at(0), "ce-wickreplay") == "true");
  CHECK(run_on(f.loop, f.eventing->replay("default", "gone", 1, 2)).error().code() == Errc::not_found);
}

TEST_CASE("the log is trimmed by what it uses, and never below what waits") {
  BrokerFixture f({.retained_bytes = 1 << 20});
  f.set(f.trigger());
  for (int i = 0; i < 40; ++i)
    f.send(event_request("/default/b", std::to_string(i), "t.one", std::string(100'000, 'x')));
  f.clock.advance(30s);
  CHECK(integer(f, "SELECT count(*) FROM event") == 1);
}

TEST_CASE("dead letters go when they are old or too many") {
  BrokerFixture f({.dead_letter_age = std::chrono::hours(48), .dead_letters_max = 3});
  auto spec = f.trigger();
  spec.delivery = Delivery{.retry = 0};
  f.set(spec);
  f.subscriber.behaviour = [](const Call&) { return answer(400); };
  for (int i = 0; i < 5; ++i) {
    f.accept(std::to_string(i));
    f.clock.advance(1s);
  }
  f.clock.advance(30s);
  CHECK(f.eventing->dead_letters("default", 10).size() == 3);
  f.clock.advance(49h);
  CHECK(f.eventing->dead_letters("default", 10).empty());
}

TEST_CASE("a thousand triggers cost an event what it matches") {
  BrokerFixture f;
  for (int i = 0; i < 1000; ++i)
    f.eventing->set_trigger(to(f, "t" + std::to_string(i), "s", {{"type", std::to_string(i / 3)}}));
  f.clock.settle();
  f.accept("1", "7");
  f.clock.settle();
  CHECK(f.subscriber.calls.size() == 3);
}

TEST_CASE("why tells for each trigger what became of an event") {
  BrokerFixture f;
  auto failing = to(f, "failing", "bad");
  failing.delivery = Delivery{.retry = 1, .backoff_delay = 1s};
  f.set(failing);
  f.set(to(f, "picky", "p", {{"type", "other"}}));
  f.set(to(f, "asks", "s", {{"type", "question"}}));
  f.subscriber.behaviour = [](const Call& call) {
    if (call.destination.service == "bad") return answer(503, "closed");
    return call.id() == "1" ? reply("2", "answer") : answer(200);
  };
  f.accept("1", "question");
  f.clock.advance(1min);
  const auto why = run_on(f.loop, f.eventing->why("default", "1"));
  REQUIRE(why);
  const auto& event = why->at("events").at(0).as_object();
  std::map<std::string, boost::json::object> triggers;
  for (const auto& trigger : event.at("triggers").as_array())
    triggers[std::string(trigger.at("trigger").as_string())] = trigger.as_object();
  CHECK(triggers.at("failing").at("state").as_string() == "dead letter");
  CHECK(triggers.at("failing").at("attempts").as_array().size() == 2);
  CHECK(triggers.at("failing").at("lastAnswer").as_string() == "closed");
  CHECK(triggers.at("picky").at("because").as_string() == "type is 'question', wanted 'other'");
  CHECK(triggers.at("asks").at("state").as_string() == "delivered");
  CHECK(triggers.at("asks").at("attempts").at(0).at("status").as_int64() == 200);
  CHECK(event.at("replies").at(0).at("id").as_string() == "2");
  const auto answer_of = run_on(f.loop, f.eventing->why("default", "2"));
  CHECK(answer_of->at("events").at(0).at("replyTo").at("id").as_string() == "1");
  CHECK(run_on(f.loop, f.eventing->why("default", "3")).error().code() == Errc::not_found);
  CHECK(run_on(f.loop, f.eventing->list("default", "b", 0, 10)).size() == 2);
}
