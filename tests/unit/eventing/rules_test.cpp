#include <catch2/catch.hpp>

#include "event_fixture.hpp"
#include "wick/base/text.hpp"
#include "wick/base/time.hpp"
#include "wick/eventing/rules.hpp"

using namespace wick;
using namespace wick::eventing;
using Verdict = Judgement::Verdict;

namespace {

CloudEvent event_of_x() {
  CloudEvent event;
  event.attributes = {{"specversion", "1.0"}, {"id", "1"}, {"source", "/s"},
                      {"type", "com.x"},      {"n", 5},    {"empty", ""}};
  return event;
}

Judgement judged(Result<http::Response> response) { return judge(std::move(response), WallTime{}); }

}  // namespace

TEST_CASE("a filter passes when every attribute is there and equal") {
  const auto [filter, passes] =
      GENERATE(table<AttributeFilter, bool>({{{}, true},
                                             {{{"type", "com.x"}}, true},
                                             {{{"type", "com.X"}}, false},
                                             {{{"type", "com.x"}, {"source", "/other"}}, false},
                                             {{{"type", ""}}, true},
                                             {{{"missing", ""}}, false},
                                             {{{"empty", ""}}, false},
                                             {{{"n", "5"}}, true}}));
  CHECK(Matcher::compile(filter, {})->passes(event_of_x()) == passes);
}

TEST_CASE("a filter says why an event does not pass") {
  CHECK(Matcher::compile({{"type", "com.y"}}, {})->mismatch(event_of_x()) == "type is 'com.x', wanted 'com.y'");
  CHECK(Matcher::compile({{"gone", "x"}}, {})->mismatch(event_of_x()) == "attribute gone is not there");
}

TEST_CASE("waits grow by their policy and stay under the cap") {
  const Delivery exponential{.backoff_delay = 200ms};
  CHECK(backoff(exponential, 1) == 200ms);
  CHECK(backoff(exponential, 2) == 400ms);
  CHECK(backoff(exponential, 10) == 102'400ms);
  CHECK(backoff(exponential, 1000) == 300s);
  const Delivery linear{.backoff = Delivery::Backoff::linear, .backoff_delay = 1s};
  CHECK(backoff(linear, 1) == 1s);
  CHECK(backoff(linear, 3) == 3s);
  CHECK(backoff(linear, 2'000'000'000) == 300s);
  CHECK(backoff({.backoff_delay = 0ms}, 5) == 0ms);
  CHECK(backoff({.backoff = Delivery::Backoff::linear, .backoff_delay = 0ms}, 5) == 0ms);
  CHECK(backoff({.backoff_delay = 600s}, 3) == 600s);
}

TEST_CASE("an answer is judged by its status") {
  const auto [status, verdict] = GENERATE(table<int, Verdict>({{200, Verdict::delivered},
                                                               {202, Verdict::delivered},
                                                               {204, Verdict::delivered},
                                                               {299, Verdict::delivered},
                                                               {301, Verdict::refused},
                                                               {400, Verdict::refused},
                                                               {401, Verdict::refused},
                                                               {403, Verdict::refused},
                                                               {404, Verdict::retry},
                                                               {408, Verdict::retry},
                                                               {409, Verdict::retry},
                                                               {410, Verdict::refused},
                                                               {422, Verdict::refused},
                                                               {429, Verdict::retry},
                                                               {500, Verdict::retry},
                                                               {503, Verdict::retry},
                                                               {599, Verdict::retry}}));
  INFO(status);
  CHECK(judged(answer(status)).verdict == verdict);
  CHECK(judged(answer(status)).status == status);
}

TEST_CASE("no answer is tried again, an impossible destination is not") {
  CHECK(judged(fail(Errc::unavailable, "refused")).verdict == Verdict::retry);
  CHECK(judged(fail(Errc::timed_out, "slow")).verdict == Verdict::retry);
  CHECK(judged(fail(Errc::invalid, "no URL")).verdict == Verdict::refused);
}

TEST_CASE("an event in a 2xx is a reply, another body is a failure, and 202 is neither") {
  CHECK(judged(reply("2", "t")).replies.at(0).text("id") == "2");
  CHECK(judged(answer(200, "hello")).verdict == Verdict::retry);
  CHECK(judged(answer(200, "hello")).status == 502);
  CHECK(judged(answer(202, "hello")).verdict == Verdict::delivered);
  auto accepted = reply("2", "t");
  accepted.head.status = 202;
  CHECK(judged(accepted).replies.empty());
  auto malformed = reply("", "t");
  CHECK(judged(malformed).verdict == Verdict::retry);
  CHECK(judged(malformed).detail.starts_with("malformed reply"));
  http::Response structured{.head = {.fields = {{"content-type", "Application/CloudEvents+json"}}},
                            .body = R"({"specversion":"1.0","id":"3","source":"/s","type":"t"})"};
  CHECK(judged(structured).replies.at(0).text("id") == "3");
}

TEST_CASE("a trigger's delivery replaces the broker's but for a missing dead letter sink") {
  BrokerSpec broker;
  broker.delivery = {.retry = 3, .dead_letter = Destination{.url = "http://dls"}};
  TriggerSpec trigger;
  CHECK(effective_delivery(trigger, &broker).retry == 3);
  CHECK(effective_delivery(trigger, nullptr).retry == 10);
  trigger.delivery = Delivery{.retry = 0};
  CHECK(effective_delivery(trigger, &broker).retry == 0);
  CHECK(effective_delivery(trigger, &broker).dead_letter->url == "http://dls");
}

TEST_CASE("each pass through a broker costs one of the loop budget") {
  const auto [given, left] = GENERATE(table<std::string, std::string>({{"", "255"},
                                                                       {"255", "254"},
                                                                       {"2", "1"},
                                                                       {"nonsense", "255"},
                                                                       {"1", "refused"},
                                                                       {"0", "refused"},
                                                                       {"-5", "refused"}}));
  CloudEvent passing = event_of_x();
  if (!given.empty()) passing.attributes["knativebrokerttl"] = given;
  const bool admitted = admit(passing, WallTime{});
  CHECK((admitted ? passing.text("knativebrokerttl") : "refused") == left);
  if (admitted) CHECK(passing.text("knativearrivaltime") == "1970-01-01T00:00:00Z");
}

TEST_CASE("a dead letter says who failed, how, and with what answer") {
  const CloudEvent dead = dead_letter(event_of_x(), "http://s.default.svc.cluster.local", 0, std::string(5000, 'x'));
  CHECK(dead.text("knativeerrordest") == "http://s.default.svc.cluster.local");
  CHECK(dead.attributes.at("knativeerrorcode") == AttributeValue(500));
  CHECK(dead.text("knativeerrordata").size() == 1024);
  CHECK(base64_decode(dead_letter(event_of_x(), "", 422, "why\nnot").text("knativeerrordata")) == "why\nnot");
}

TEST_CASE("a share is added to a wait, and taken off at the cap") {
  const Delivery delivery{.backoff_delay = 1s, .backoff_max = 10s};
  CHECK(next_wait(delivery, 1, {}, 0.1) == 1100ms);
  CHECK(next_wait(delivery, 9, {}, 0.1) == 9s);
  CHECK(next_wait(delivery, 9, {}, 0.0) == 10s);
}

TEST_CASE("Retry-After makes a wait longer, up to its limit, where the delivery says so") {
  const auto wait = [](std::optional<milliseconds> most, milliseconds after) {
    return next_wait({.backoff_delay = 1s, .retry_after_max = most}, 1, after, 0);
  };
  CHECK(wait({}, 1min) == 1s);
  CHECK(wait(2min, 1min) == 1min);
  CHECK(wait(30s, 1min) == 30s);
  CHECK(wait(30s, 100ms) == 1s);
  CHECK(wait(0s, 1min) == 1s);
}

TEST_CASE("Retry-After is read as seconds or as a date, of 429 and 503 only") {
  const WallTime now = parse_rfc3339("2026-11-26T10:00:00Z").value();
  const auto after = [&](int status, std::string value) {
    auto response = answer(status);
    response.head.fields.add("Retry-After", std::move(value));
    return judge(response, now).retry_after;
  };
  CHECK(after(503, "120") == 120s);
  CHECK(after(429, "Thu, 26 Nov 2026 10:01:00 GMT") == 60s);
  CHECK(after(429, "Thu, 26 Nov 2026 09:00:00 GMT") == 0s);
  CHECK(after(500, "120") == std::nullopt);
  CHECK(after(503, "soon") == std::nullopt);
}

TEST_CASE("a body that is no event is a delivery where the trigger is lenient") {
  CHECK(judge(answer(200, "hello"), {}, Replies::lenient).verdict == Verdict::delivered);
}

TEST_CASE("an event says when it is due and when it is over") {
  const WallTime now = parse_rfc3339("2026-11-26T10:00:00Z").value();
  CloudEvent event;
  CHECK(deliver_at(event, now) == std::nullopt);
  CHECK_FALSE(has_expired(event, now));
  event.attributes["delay"] = "PT5M";
  CHECK(deliver_at(event, now) == now + 5min);
  event.attributes["deliverat"] = "2026-11-26T11:00:00Z";
  CHECK(deliver_at(event, now) == now + 1h);
  event.attributes["expirytime"] = "2026-11-26T10:00:00Z";
  CHECK(has_expired(event, now));
  CHECK_FALSE(has_expired(event, now - 1s));
}
