#include <catch2/catch.hpp>

#include "event_fixture.hpp"

using namespace wick;
using namespace wick::eventing;

TEST_CASE("the ingress answers as Knative's does") {
  BrokerFixture f;
  const auto [method, target, status] =
      GENERATE(table<std::string, std::string, int>({{"POST", "/default/b", 202},
                                                     {"POST", "/default/b/", 202},
                                                     {"OPTIONS", "/default/b", 200},
                                                     {"OPTIONS", "/", 200},
                                                     {"GET", "/default/b", 405},
                                                     {"PUT", "/default/b", 405},
                                                     {"PATCH", "/", 405},
                                                     {"DELETE", "/default/b", 405},
                                                     {"POST", "/", 404},
                                                     {"POST", "/default", 400},
                                                     {"POST", "//", 400},
                                                     {"POST", "/default/b/c", 400},
                                                     {"POST", "/default/b//", 400},
                                                     {"POST", "/default/other", 404},
                                                     {"POST", "/default/b?x=1", 404}}));
  INFO(method << " " << target);
  auto request = event_request(target, "1");
  request.head.method = method;
  const auto answered = f.send(std::move(request));
  CHECK(answered.head.status == status);
  CHECK(answered.head.fields.find("Allow") == "POST, OPTIONS");
  CHECK(answered.body.empty() == (status < 300));
  CHECK(answered.head.fields.contains("WebHook-Allowed-Origin") == (method == "OPTIONS"));
}

TEST_CASE("checks come in the order path, event, broker, budget") {
  BrokerFixture f;
  auto invalid = event_request("/default/other", "");
  CHECK(f.send(invalid).head.status == 400);
  CHECK(f.send(invalid).body.find("required attribute 'id' is blank") != std::string::npos);
  auto spent = event_request("/default/other", "1");
  spent.head.fields.add("ce-knativebrokerttl", "1");
  CHECK(f.send(spent).head.status == 404);
  spent.head.target = "/default/b";
  CHECK(f.send(spent).head.status == 400);
}

TEST_CASE("a body over the limit is 413") {
  BrokerFixture f({.event_bytes_max = 100});
  CHECK(f.send(event_request("/default/b", "1", "t", std::string(100, 'x'))).head.status == 202);
  CHECK(f.send(event_request("/default/b", "1", "t", std::string(101, 'x'))).head.status == 413);
}

TEST_CASE("a removed broker takes no more events") {
  BrokerFixture f;
  f.eventing->remove_broker("default", "b");
  CHECK(f.accept("1") == 404);
}

TEST_CASE("an event that cannot be stored is not acknowledged") {
  BrokerFixture f;
  f.refuse_writes(true);
  const auto refused = f.send(event_request("/default/b", "1"));
  CHECK(refused.head.status == 503);
  CHECK(refused.head.fields.contains("Retry-After"));
  f.refuse_writes(false);
  CHECK(f.accept("1") == 202);
}

TEST_CASE("a full disk is 503 with what to do") {
  BrokerFixture f;
  store::Statement pages(f.database->reader(), "PRAGMA max_page_count=20");
  pages.step();
  pages.reset();
  const auto refused = f.send(event_request("/default/b", "1", "t", std::string(200'000, 'x')));
  CHECK(refused.head.status == 503);
  CHECK(refused.body.find("hint: free space") != std::string::npos);
  CHECK(f.accept("small") == 202);
}

TEST_CASE("a batch is stored whole or not at all") {
  BrokerFixture f;
  f.set(f.trigger());
  const std::string good = R"({"specversion":"1.0","id":"1","source":"/s","type":"t"})";
  http::Request request{.head = {.method = "POST",
                                 .target = "/default/b",
                                 .fields = {{"Content-Type", "application/cloudevents-batch+json"}}}};
  request.body = "[" + good + ",{}]";
  CHECK(f.send(request).head.status == 400);
  request.body = "[]";
  CHECK(f.send(request).head.status == 202);
  request.body = "[" + good + "," + good + "]";
  CHECK(f.send(request).head.status == 202);
  f.clock.settle();
  CHECK(f.subscriber.calls.size() == 2);
}

TEST_CASE("past the backlog the ingress says 429 until triggers keep up") {
  BrokerFixture f({.backlog_events_max = 5});
  f.set(f.trigger());
  f.subscriber.delay = 1h;
  for (int i = 0; i < 5; ++i) CHECK(f.accept(std::to_string(i)) == 202);
  const auto refused = f.accept("more");
  CHECK(refused == 202);  // the fifth was at the limit, not past it
  CHECK(f.accept("more") == 429);
  f.clock.advance(2h);
  f.clock.advance(20s);
  CHECK(f.accept("more") == 202);
}
