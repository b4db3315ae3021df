// What a delivery is as a CloudEvent.
#include "api/webhook_event.hpp"

#include <catch2/catch.hpp>

namespace wick::api {

namespace {

http::Fields fields_of(std::initializer_list<std::pair<std::string_view, std::string_view>> given) {
  http::Fields fields;
  for (const auto& [name, value] : given) fields.set(std::string(name), std::string(value));
  return fields;
}

constexpr std::string_view own = "/hooks/mine";

}  // namespace

TEST_CASE("a delivery of GitHub is an event as Knative's GitHubSource names it") {
  const auto fields = fields_of(
      {{"X-GitHub-Event", "pull_request"}, {"X-GitHub-Delivery", "72d3162e"}, {"Content-Type", "application/json"}});
  const std::string body = R"({"pull_request":{"number":7},"repository":{"html_url":"https://github.com/a/b"}})";
  const auto event = event_of_delivery(Forge::github, fields, body, own);
  CHECK(event.text("type") == "dev.knative.source.github.pull_request");
  CHECK(event.text("source") == "https://github.com/a/b");
  CHECK(event.text("id") == "72d3162e");
  CHECK(event.text("subject") == "7");
  CHECK(event.text("datacontenttype") == "application/json");
  CHECK(event.data == body);
}

TEST_CASE("GitLab's and Gitea's events have their own types, and their projects as source") {
  const auto merged = event_of_delivery(
      Forge::gitlab, fields_of({{"X-Gitlab-Event", "Merge Request Hook"}, {"X-Gitlab-Event-UUID", "u1"}}),
      R"({"object_attributes":{"iid":12,"id":99},"project":{"web_url":"https://gitlab.com/a/b"}})", own);
  CHECK(merged.text("type") == "dev.knative.sources.gitlab.merge_request");
  CHECK(merged.text("source") == "https://gitlab.com/a/b");
  CHECK(merged.text("subject") == "12");
  CHECK(merged.text("id") == "u1");
  const auto pushed =
      event_of_delivery(Forge::gitea, fields_of({{"X-Gitea-Event", "push"}}),
                        R"({"ref":"refs/heads/main","repository":{"html_url":"https://g.org/a"}})", own);
  CHECK(pushed.text("type") == "dev.wick.source.gitea.push");
  CHECK(pushed.text("subject") == "refs/heads/main");
}

TEST_CASE("a delivery that says nothing of itself is known by its body") {
  const auto event = event_of_delivery(Forge::generic, {}, "not json", own);
  CHECK(event.text("type") == "dev.wick.source.webhook");
  CHECK(event.text("source") == own);
  CHECK(event.text("id").size() == 64);
  CHECK_FALSE(event.has("subject"));
  CHECK_FALSE(event.has("datacontenttype"));
  CHECK(event.data == "not json");
  CHECK(event_of_delivery(Forge::generic, {}, "other", own).text("id") != event.text("id"));
}

TEST_CASE("what a header or a body claims cannot break an attribute") {
  const auto fields = fields_of({{"X-GitHub-Event", "Push\x01/../é"}, {"X-GitHub-Delivery", "a\x7f\xff"}});
  const std::string body = R"({"ref":"a\u0000b","repository":{"html_url":"https://x\u0007y"}})";
  const auto event = event_of_delivery(Forge::github, fields, body, own);
  CHECK(event.text("type").starts_with("dev.knative.source.github.push_"));
  CHECK(eventing::validate(event));
  CHECK(event.text("source") == own);
  CHECK(eventing::validate(event_of_delivery(Forge::generic, fields_of({{"Content-Type", "token"}}), "{}", own)));
  const std::string deep(100'000, '[');
  CHECK(eventing::validate(event_of_delivery(Forge::github, fields, deep, own)));
}

}  // namespace wick::api
