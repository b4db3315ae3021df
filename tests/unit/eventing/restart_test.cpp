// What survives: a restart is a new Eventing on the same log, and after kill() nothing of the old one's memory was
// saved.
#include <catch2/catch.hpp>

#include "event_fixture.hpp"

using namespace wick;
using namespace wick::eventing;
using Call = FakeSubscriber::Call;
using Kind = EventRecord::Kind;

namespace {

std::int64_t integer(BrokerFixture& f, std::string_view sql) {
  store::Statement query(f.database->reader(), sql);
  query.step();
  return query.integer(0);
}

}  // namespace

TEST_CASE("an event accepted before a kill is delivered after it") {
  BrokerFixture f;
  f.set(f.trigger());
  f.subscriber.delay = 1h;
  f.accept("1");
  f.clock.settle();
  REQUIRE(f.subscriber.in_flight == 1);
  f.kill();
  f.subscriber.delay = 0ms;
  f.start();
  f.set(f.trigger());
  CHECK(f.subscriber.ids() == std::vector<std::string>{"1", "1"});
}

TEST_CASE("an event accepted while a trigger was not yet set again waits for it") {
  BrokerFixture f;
  f.set(f.trigger());
  f.kill();
  f.start();
  f.accept("1");
  f.clock.settle();
  CHECK(f.subscriber.calls.empty());
  f.set(f.trigger());
  CHECK(f.subscriber.ids() == std::vector<std::string>{"1"});
}

TEST_CASE("attempts and due times survive a kill") {
  BrokerFixture f;
  auto spec = f.trigger();
  spec.delivery = Delivery{.retry = 3, .backoff_delay = 10s};
  f.set(spec);
  f.subscriber.behaviour = [](const Call&) { return answer(500); };
  f.accept("1");
  f.clock.advance(15s);
  REQUIRE(f.subscriber.calls.size() == 2);  // at 0 and 10 s
  f.kill();
  f.start();
  f.set(spec);
  f.clock.advance(14s);
  CHECK(f.subscriber.calls.size() == 2);  // the third is due at 30 s
  f.clock.advance(1h);
  CHECK(f.subscriber.calls.size() == 4);
  CHECK(f.subscriber.calls[2].when - f.subscriber.calls[1].when == 20s);
}

TEST_CASE("a clock that is set back holds up no repetition, with a kill meanwhile or without") {
  for (const bool killed : {false, true}) {
    BrokerFixture f;
    auto spec = f.trigger();
    spec.delivery = Delivery{.retry = 3, .backoff_delay = 10s, .backoff_max = 1min};
    f.set(spec);
    f.subscriber.behaviour = [](const Call&) { return answer(500); };
    f.accept("1");
    f.clock.advance(5s);
    REQUIRE(f.subscriber.calls.size() == 1);
    f.clock.set_back(2h);
    if (killed) {
      f.kill();
      f.start();
      f.set(spec);
    }
    f.clock.advance(6s);
    CHECK(f.subscriber.calls.size() == 2);
    f.clock.advance(1min);
    CHECK(f.subscriber.calls.size() == 4);  // at their distances again
    CHECK(f.subscriber.calls[2].when - f.subscriber.calls[1].when == 20s);
  }
}

TEST_CASE("a clock that is set back brings no event that was asked to come later") {
  BrokerFixture f;
  f.set(f.trigger());
  auto later = event_request("/default/b", "later");
  later.head.fields.add("ce-delay", "PT1H");
  REQUIRE(f.send(std::move(later)).head.status == 202);
  f.clock.advance(1s);
  f.clock.set_back(2h);
  f.accept("now");
  f.clock.advance(2h);
  CHECK(f.subscriber.calls.size() == 1);
  f.clock.advance(1h + 1s);
  CHECK(f.subscriber.calls.size() == 2);
}

TEST_CASE("a dead letter on its way survives a kill") {
  BrokerFixture f;
  auto spec = f.trigger();
  spec.delivery = Delivery{.dead_letter = Destination{.url = "http://dls"}};
  f.set(spec);
  bool sink_is_up = false;
  f.subscriber.behaviour = [&](const Call& call) {
    return call.destination.url.empty() ? answer(400, "no") : answer(sink_is_up ? 200 : 500);
  };
  f.accept("1");
  f.clock.settle();
  f.kill();
  sink_is_up = true;
  f.start();
  f.set(spec);
  f.clock.advance(1min);
  CHECK(f.count(Kind::dead_lettered) == 1);
  CHECK(std::string(f.subscriber.calls.back().request.head.fields.find("ce-knativeerrordata").value()) == "bm8=");
}

TEST_CASE("a delivery whose reply was stored is not repeated after a kill") {
  BrokerFixture f;
  auto spec = f.trigger();
  spec.filter = {{"type", "question"}};
  f.set(spec);
  f.subscriber.behaviour = [](const Call&) { return reply("42", "answer"); };
  f.accept("1", "question");
  f.clock.settle();
  REQUIRE(integer(f, "SELECT count(*) FROM event") == 2);
  f.kill();
  f.start();
  f.set(spec);
  f.clock.advance(1min);
  CHECK(f.subscriber.calls.size() == 1);
  CHECK(integer(f, "SELECT count(*) FROM event") == 2);
  CHECK(integer(f, "SELECT count(*) FROM delivery") == 0);
}

TEST_CASE("after a clean stop nothing is delivered twice") {
  BrokerFixture f;
  f.set(f.trigger());
  for (int i = 0; i < 50; ++i) f.accept(std::to_string(i));
  f.clock.settle();
  REQUIRE(f.subscriber.calls.size() == 50);
  run_on(f.loop, f.eventing->stop(0ms));
  f.start();
  f.set(f.trigger());
  f.accept("new");
  f.clock.settle();
  CHECK(f.subscriber.calls.size() == 51);
}

TEST_CASE("deliveries wait while their outcome cannot be written, and nothing is lost") {
  BrokerFixture f;
  f.set(f.trigger());
  f.subscriber.behaviour = [&](const Call&) { return answer(f.subscriber.calls.size() < 2 ? 500 : 200); };
  f.subscriber.delay = 1s;
  f.accept("1");
  f.clock.settle();
  f.refuse_writes(true);
  f.clock.advance(10s);
  CHECK(f.subscriber.calls.size() == 1);
  f.refuse_writes(false);
  f.clock.advance(10s);
  CHECK(f.subscriber.calls.size() == 2);
  CHECK(f.count(Kind::delivered) == 1);
}

TEST_CASE("a reply that cannot be stored is stored when the disk is back") {
  BrokerFixture f;
  auto spec = f.trigger();
  spec.filter = {{"type", "question"}};
  f.set(spec);
  f.subscriber.behaviour = [](const Call&) { return reply("42", "answer"); };
  f.subscriber.delay = 1s;
  f.accept("1", "question");
  f.clock.settle();
  f.refuse_writes(true);
  f.clock.advance(10s);
  f.refuse_writes(false);
  f.clock.advance(10s);
  CHECK(integer(f, "SELECT count(*) FROM event") == 2);
  CHECK(f.subscriber.calls.size() == 1);
}

TEST_CASE("settled events are trimmed by count and age, pending ones are not") {
  BrokerFixture f({.retained_events = 10});
  auto spec = f.trigger();
  spec.delivery = Delivery{.retry = 100, .backoff_delay = 1h};
  f.set(spec);
  f.subscriber.behaviour = [](const Call& call) { return answer(call.id() == "5" ? 500 : 200); };
  for (int i = 0; i < 100; ++i) f.accept(std::to_string(i));
  f.clock.advance(30s);
  CHECK(integer(f, "SELECT count(*) FROM event") == 11);
  f.clock.advance(25h);
  CHECK(integer(f, "SELECT count(*) FROM event") == 2);  // the one that fails, and the newest
}

TEST_CASE("a trigger of a quiet broker keeps no events of a busy one") {
  BrokerFixture f({.retained_events = 0});
  f.eventing->set_broker({.name_space = "default", .name = "quiet"});
  auto spec = f.trigger();
  spec.broker = "quiet";
  f.set(spec);
  for (int i = 0; i < 5; ++i) f.accept(std::to_string(i));
  f.clock.advance(30s);
  CHECK(integer(f, "SELECT count(*) FROM event") == 1);
}

TEST_CASE("positions never come back") {
  BrokerFixture f({.retained_events = 0});
  for (int i = 0; i < 5; ++i) f.accept(std::to_string(i));
  f.clock.advance(1min);
  CHECK(integer(f, "SELECT count(*) FROM event") == 1);
  f.set(f.trigger());
  f.accept("next");
  CHECK(integer(f, "SELECT max(seq) FROM event") == 6);
  f.clock.settle();
  CHECK(f.subscriber.calls.size() == 1);
}

TEST_CASE("a damaged event is skipped, not delivered") {
  BrokerFixture f;
  f.set(f.trigger());
  f.subscriber.delay = 1h;
  f.accept("1");
  f.accept("2");
  f.clock.settle();
  f.kill();
  f.subscriber.calls.clear();
  f.subscriber.delay = 0ms;
  store::Statement(f.database->reader(), "UPDATE event SET body = 'flipped' WHERE seq = 1").run();
  f.start();
  f.set(f.trigger());
  CHECK(f.subscriber.ids() == std::vector<std::string>{"2"});
}

TEST_CASE("a trigger that nobody sets any more is forgotten after a day and pins nothing") {
  BrokerFixture f({.retained_events = 0});
  f.set(f.trigger());
  f.kill();
  f.start();
  for (int i = 0; i < 5; ++i) f.accept(std::to_string(i));
  f.clock.advance(1h);
  CHECK(integer(f, "SELECT count(*) FROM event") == 5);
  f.clock.advance(25h);
  CHECK(integer(f, "SELECT count(*) FROM trigger_state") == 0);
  CHECK(integer(f, "SELECT count(*) FROM event") == 1);
}
