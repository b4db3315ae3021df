// Who may send: policies, the default mode, tokens, and what the ingress answers to them.
#include <catch2/catch.hpp>

#include <boost/json/parse.hpp>

#include "event_fixture.hpp"

using namespace wick;
using namespace wick::eventing;

namespace {

constexpr std::string_view sender_key = "a key of thirty-two bytes and more";
constexpr std::string_view audience = "eventing.knative.dev/broker/default/b";
const std::string ping = "system:serviceaccount:default:ping";

CloudEvent event_of_type(std::string type) {
  CloudEvent event;
  event.attributes["specversion"] = std::string("1.0");
  event.attributes["id"] = std::string("1");
  event.attributes["source"] = std::string("/test");
  event.attributes["type"] = std::move(type);
  return event;
}

AccessPolicy policy(std::vector<std::string> subjects, std::string_view filters = "[]") {
  AccessPolicy policy{.name = "p", .subjects = std::move(subjects), .filters = {}};
  policy.filters = Matcher::compile({}, filters_from_json(boost::json::parse(filters)).value()).value();
  return policy;
}

bool may(const AccessRules& rules, std::string_view subject, std::string type = "t.one",
         DefaultAccess otherwise = DefaultAccess::allow_same_namespace) {
  return may_send(rules, otherwise, "default", subject, event_of_type(std::move(type))).has_value();
}

/// A broker `b` that asks who sends, with these policies.
struct GuardedFixture : BrokerFixture {
  explicit GuardedFixture(std::vector<AccessPolicy> policies = {}) {
    eventing->set_access({.enabled = true, .token_key = std::string(sender_key)});
    eventing->set_access_rules("default", "b", {.audience = std::string(audience), .policies = std::move(policies)});
  }
  http::Response send_with(const std::string& token, std::string type = "t.one") {
    auto request = event_request("/default/b", "1", std::move(type));
    if (!token.empty()) request.head.fields.set("Authorization", "Bearer " + token);
    return send(std::move(request));
  }
  std::string token(std::string subject, std::string_view audience_given = audience) {
    return eventing->make_sender_token(std::move(subject), std::string(audience_given), std::chrono::minutes(10))
        .value();
  }
};

}  // namespace

TEST_CASE("a subject is named exactly, whatever its case, or by how it begins") {
  CHECK(may({.policies = {policy({"System:ServiceAccount:Default:Ping"})}}, ping));
  CHECK(may({.policies = {policy({"system:serviceaccount:default:*"})}}, ping));
  CHECK(may({.policies = {policy({"*"})}}, "anybody"));
  CHECK_FALSE(may({.policies = {policy({"system:serviceaccount:default:pin"})}}, ping));
  CHECK_FALSE(may({.policies = {policy({"system:serviceaccount:other:*"})}}, ping));
}

TEST_CASE("where a policy applies, who is not named may not send; one that names nobody keeps everybody out") {
  CHECK_FALSE(may({.policies = {policy({"someone"})}}, ping));
  CHECK_FALSE(may({.policies = {policy({})}}, ping));
  CHECK(may({.policies = {policy({}), policy({ping})}}, ping));
}

TEST_CASE("the filters of the first policy that names the subject decide") {
  const auto only_two = R"([{"exact": {"type": "t.two"}}])";
  const AccessRules rules{.policies = {policy({"someone"}), policy({ping}, only_two), policy({ping})}};
  CHECK_FALSE(may(rules, ping));
  CHECK(may(rules, ping, "t.two"));
  CHECK(may(rules, "someone"));
}

TEST_CASE("without a policy the default mode decides") {
  const auto [mode, own, other] =
      GENERATE(table<DefaultAccess, bool, bool>({{DefaultAccess::allow_all, true, true},
                                                 {DefaultAccess::allow_same_namespace, true, false},
                                                 {DefaultAccess::deny_all, false, false}}));
  CHECK(may({}, ping, "t", mode) == own);
  CHECK(may({}, "system:serviceaccount:other:ping", "t", mode) == other);
  CHECK(may({}, "system:serviceaccount:default2:ping", "t", mode) == other);
}

TEST_CASE("a token is good for its audience and its time, with our signature") {
  const WallTime now{std::chrono::hours(24 * 365 * 50)};
  const SenderToken given{
      .subject = ping, .audience = std::string(audience), .issued = now, .expires = now + std::chrono::minutes(5)};
  const auto token = sign_sender_token(given, sender_key);
  CHECK(verify_sender_token(token, audience, sender_key, now).value() == ping);
  const auto problem = [&](std::string_view text, std::string_view wanted, std::string_view key, WallTime when) {
    const auto verified = verify_sender_token(text, wanted, key, when);
    return verified ? std::string() : verified.error().what();
  };
  CHECK(problem(token, "other", sender_key, now) == "failed to verify JWT: it is not for the audience other");
  CHECK(problem(token, audience, "another key", now) == "failed to verify JWT: the signature is not ours");
  CHECK(problem(token, audience, sender_key, now + std::chrono::minutes(5)) == "failed to verify JWT: it has expired");
  CHECK(problem(token, audience, "", now) == "failed to verify JWT: there is no key yet");
  CHECK(problem("a.b", audience, sender_key, now) == "failed to verify JWT: it is no JWT of three parts");
  CHECK(problem(std::string(sender_token_bytes_max + 1, 'a'), audience, sender_key, now) ==
        "failed to verify JWT: it is too long");
}

TEST_CASE("no change of a token leaves it good") {
  const WallTime now{std::chrono::hours(24 * 365 * 50)};
  const auto token = sign_sender_token(
      {.subject = ping, .audience = std::string(audience), .issued = now, .expires = now + std::chrono::minutes(5)},
      sender_key);
  for (std::size_t at = 0; at + 1 < token.size(); ++at) {
    auto changed = token;
    changed[at] = changed[at] == 'A' ? 'B' : 'A';
    CHECK_FALSE(verify_sender_token(changed, audience, sender_key, now));
    CHECK_FALSE(verify_sender_token(token.substr(0, at), audience, sender_key, now));
  }
}

TEST_CASE("nobody is asked while authentication is off") {
  BrokerFixture f;
  f.eventing->set_access_rules("default", "b", {.audience = std::string(audience), .policies = {policy({})}});
  CHECK(f.accept("1") == 202);
  const auto token = f.eventing->make_sender_token(ping, std::string(audience), std::chrono::minutes(1));
  REQUIRE_FALSE(token);
  CHECK(token.error().code() == Errc::unsupported);
}

TEST_CASE("the ingress answers 401 without a good token, 403 to who may not, and stores neither") {
  GuardedFixture f({policy({ping}, R"([{"prefix": {"type": "t."}}])")});
  CHECK(f.send_with("").head.status == 401);
  CHECK(f.send_with("").head.fields.find("WWW-Authenticate") == "Bearer");
  CHECK(f.send_with("").body.starts_with("no JWT token found in request\n"));
  CHECK(f.send_with("nonsense").head.status == 401);
  CHECK(f.send_with(f.token(ping, "eventing.knative.dev/broker/default/c")).head.status == 401);
  CHECK(f.send_with(f.token("system:serviceaccount:default:other")).head.status == 403);
  CHECK(f.send_with(f.token(ping), "u.one").head.status == 403);
  CHECK(f.send_with(f.token(ping)).head.status == 202);
  CHECK(run_on(f.loop, f.eventing->list("default", "b", 0, 10)).size() == 1);
}

TEST_CASE("who is asked comes after what an event is, and where it goes") {
  GuardedFixture f;
  CHECK(f.send(event_request("/default/other", "1")).head.status == 404);
  CHECK(f.send(event_request("/default/b", "")).head.status == 400);
  auto spent = event_request("/default/b", "1");
  spent.head.fields.add("ce-knativebrokerttl", "1");
  CHECK(f.send(spent).head.status == 401);
}

TEST_CASE("who the listener knows shows no token, and nor does who operates the box") {
  GuardedFixture f({policy({ping})});
  const auto status_from = [&](Sender sender) {
    FakeExchange exchange(event_request("/default/b", "1"));
    const auto handler = f.eventing->ingress(std::move(sender));
    run_on(f.loop, handler(exchange));
    return exchange.answer.head.status;
  };
  CHECK(status_from({.kind = Sender::Kind::inside, .subject = ping}) == 202);
  CHECK(status_from({.kind = Sender::Kind::inside, .subject = "system:serviceaccount:default:default"}) == 403);
  CHECK(status_from({.kind = Sender::Kind::operating}) == 202);
  CHECK(status_from({}) == 401);
}

TEST_CASE("a source is let in as whom it is, and told when it is not") {
  GuardedFixture f({policy({ping})});
  const auto emit = [&](std::string subject) {
    return run_on(f.loop, f.eventing->emit("default/b", event_of_type("t"), {},
                                           {.kind = Sender::Kind::inside, .subject = std::move(subject)}));
  };
  CHECK(emit(ping));
  const auto refused = emit("system:serviceaccount:default:other");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == Errc::denied);
  CHECK(refused.error().what() == "\"system:serviceaccount:default:other\" is not part of the applying event policies");
}

TEST_CASE("a delivery says which trigger sends it, to the subscriber and to its dead letter sink") {
  BrokerFixture f;
  auto spec = f.trigger();
  spec.subscriber.sender = "system:serviceaccount:default:t";
  spec.delivery = Delivery{.retry = 0, .dead_letter = Destination{.name_space = "default", .service = "dead"}};
  f.subscriber.behaviour = [](const FakeSubscriber::Call& call) {
    return answer(call.destination.service == "dead" ? 200 : 400);
  };
  f.set(std::move(spec));
  REQUIRE(f.accept("1") == 202);
  f.clock.settle();
  REQUIRE(f.subscriber.calls.size() == 2);
  for (const auto& call : f.subscriber.calls) CHECK(call.destination.sender == "system:serviceaccount:default:t");
}

TEST_CASE("a sink takes one event at a time, by its path and by the host of its kind") {
  BrokerFixture f;
  std::vector<std::string> taken;
  f.eventing->set_sink({.name_space = "default",
                        .name = sink_name(SinkKind::job, "j"),
                        .take = [&](CloudEvent event, http::Fields) -> awaitable<http::Response> {
                          taken.push_back(event.text("id"));
                          http::Response response{.head = {.status = 202}};
                          response.head.fields.set("Location", "/somewhere");
                          co_return response;
                        }});
  CHECK(f.send(event_request("/default/jobsinks/j", "1")).head.fields.find("Location") == "/somewhere");
  auto by_host = event_request("/default/j", "2");
  by_host.head.authority = std::string(sink_host(SinkKind::job)) + ":80";
  CHECK(f.send(by_host).head.status == 202);
  CHECK(taken == std::vector<std::string>{"1", "2"});
  CHECK(f.send(event_request("/default/jobsinks/other", "1")).head.status == 400);
  by_host.head.target = "/default/j/more";
  CHECK(f.send(by_host).head.status == 400);
  auto batch = event_request("/default/jobsinks/j", "1", "t", "[]");
  batch.head.fields = {{"Content-Type", "application/cloudevents-batch+json"}};
  CHECK(f.send(batch).head.status == 400);
  f.eventing->remove_sink("default", sink_name(SinkKind::job, "j"));
  CHECK(f.send(event_request("/default/jobsinks/j", "1")).head.status == 400);
}
