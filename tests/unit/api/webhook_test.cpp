#include "api/webhook.hpp"

#include <catch2/catch.hpp>

#include "wick/api/followed_branches.hpp"

namespace wick::api {
namespace {

const std::string key = "It's a Secret to Everybody";
const std::string hello = "Hello, World!";
// GitHub's documentation, "Validating webhook deliveries": the example to test with.
const std::string hello_signature = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
const std::string commit(40, 'a');

bool fits(Forge forge, http::Fields fields, const std::string& body = hello) {
  return check_signature(forge, key, fields, body).has_value();
}

}  // namespace

TEST_CASE("each forge's signature is checked where it puts it") {
  CHECK(fits(Forge::github, {{"X-Hub-Signature-256", "sha256=" + hello_signature}}));
  CHECK(fits(Forge::gitea, {{"X-Gitea-Signature", hello_signature}}));
  CHECK(fits(Forge::gitea, {{"X-Hub-Signature-256", "sha256=" + hello_signature}}));
  CHECK(fits(Forge::gitlab, {{"X-Gitlab-Token", key}}));
  CHECK(fits(Forge::generic, {{"X-Hub-Signature-256", "sha256=" + hello_signature}}));
  CHECK(fits(Forge::generic, {{"X-Hub-Signature", "sha256=" + hello_signature}}));
}

TEST_CASE("what does not fit is refused, and says which field was looked at") {
  CHECK_FALSE(fits(Forge::github, {}));
  CHECK_FALSE(fits(Forge::github, {{"X-Hub-Signature-256", hello_signature}}));
  CHECK_FALSE(fits(Forge::github, {{"X-Hub-Signature-256", "sha256=" + hello_signature}}, hello + " "));
  CHECK_FALSE(fits(Forge::github, {{"X-Hub-Signature", "sha256=" + hello_signature}}));
  CHECK_FALSE(fits(Forge::github, {{"X-Hub-Signature-256", "sha256="}}));
  CHECK_FALSE(fits(Forge::github, {{"X-Gitlab-Token", key}}));
  CHECK_FALSE(fits(Forge::gitlab, {{"X-Gitlab-Token", key + "x"}}));
  CHECK_FALSE(fits(Forge::gitlab, {{"X-Gitlab-Token", ""}}));
  CHECK_FALSE(fits(Forge::gitea, {{"X-Gitea-Signature", "00"}, {"X-Hub-Signature-256", "sha256=" + hello_signature}}));
  CHECK(check_signature(Forge::gitlab, key, {}, hello).error().what().contains("X-Gitlab-Token is missing"));
  CHECK(check_signature(Forge::github, key, {{"X-Hub-Signature-256", "sha1=x"}}, hello)
            .error()
            .what()
            .contains("does not fit"));
  CHECK_FALSE(check_signature(Forge::gitlab, "", {{"X-Gitlab-Token", ""}}, hello).has_value());
}

TEST_CASE("only pushes are pushes") {
  CHECK(event_of(Forge::github, {{"X-GitHub-Event", "push"}}) == ForgeEvent::push);
  CHECK(event_of(Forge::github, {{"X-GitHub-Event", "ping"}}) == ForgeEvent::ping);
  CHECK(event_of(Forge::github, {{"X-GitHub-Event", "issues"}}) == ForgeEvent::other);
  CHECK(event_of(Forge::github, {}) == ForgeEvent::other);
  CHECK(event_of(Forge::gitlab, {{"X-Gitlab-Event", "Push Hook"}}) == ForgeEvent::push);
  CHECK(event_of(Forge::gitlab, {{"X-Gitlab-Event", "Tag Push Hook"}}) == ForgeEvent::other);
  CHECK(event_of(Forge::gitea, {{"X-Gitea-Event", "push"}}) == ForgeEvent::push);
  CHECK(event_of(Forge::generic, {}) == ForgeEvent::push);
}

TEST_CASE("a push says its ref, its commit and the default branch") {
  const auto push = parse_push_event(R"({"ref":"refs/heads/main","after":")" + commit +
                                     R"(","repository":{"default_branch":"trunk"},"commits":[]})");
  REQUIRE(push.has_value());
  CHECK(push->ref == "refs/heads/main");
  CHECK(push->commit == commit);
  CHECK(push->default_branch == "trunk");
  CHECK_FALSE(push->deletes);
  CHECK(parse_push_event(R"({"ref":"refs/heads/x","project":{"default_branch":"dev"}})")->default_branch == "dev");
  CHECK(parse_push_event(R"({"ref":"refs/heads/x","after":")" + std::string(40, '0') + "\"}")->deletes);
  CHECK(parse_push_event(R"({"ref":"refs/heads/x","after":"--upload-pack=x"})")->commit.empty());
  for (const auto* bad : {"", "[]", "payload=%7B%7D", R"({"after":"x"})", R"({"ref":7})", R"({"ref":""})", "{"})
    CHECK_FALSE(parse_push_event(bad).has_value());
  CHECK_FALSE(parse_push_event(R"({"ref":)" + std::string(100, '[') + "}").has_value());
}

TEST_CASE("a delivery is marked by its number, and by its body where that is signed") {
  const auto marks = marks_of(Forge::github, {{"X-GitHub-Delivery", "72d3162e"}}, hello);
  CHECK(marks.number == "72d3162e");
  CHECK(marks.digest.size() == 64);
  CHECK(marks_of(Forge::gitlab, {{"X-Gitlab-Event-UUID", "1"}}, hello).digest.empty());
}

TEST_CASE("a look that failed is tried again after twice the time, and after an hour at most") {
  using std::chrono::milliseconds;
  CHECK(pause_after(milliseconds(60'000), 0) == milliseconds(60'000));
  CHECK(pause_after(milliseconds(60'000), 1) == milliseconds(120'000));
  CHECK(pause_after(milliseconds(60'000), 3) == milliseconds(480'000));
  CHECK(pause_after(milliseconds(60'000), 100) == follow_pause_max);
  CHECK(pause_after(milliseconds(1), 0) == follow_interval_min);
  CHECK(pause_after(milliseconds(24 * 3'600'000), 5) == milliseconds(24 * 3'600'000));
}

}  // namespace wick::api
