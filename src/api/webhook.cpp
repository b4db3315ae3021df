#include "api/webhook.hpp"

#include <fmt/format.h>

#include <array>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include "wick/base/digest.hpp"
#include "wick/base/text.hpp"
#include "wick/build/git_protocol.hpp"
#include "wick/model/object_reader.hpp"

namespace wick::api {

namespace {

namespace json = boost::json;

constexpr std::size_t mark_bytes_max = 100;
constexpr std::size_t event_depth_max = 32;

struct ForgeName {
  Forge forge;
  std::string_view name;
  std::string_view event;  // field names
  std::string_view number;
};
constexpr std::array forges{
    ForgeName{Forge::github, "github", "X-GitHub-Event", "X-GitHub-Delivery"},
    ForgeName{Forge::gitlab, "gitlab", "X-Gitlab-Event", "X-Gitlab-Event-UUID"},
    ForgeName{Forge::gitea, "gitea", "X-Gitea-Event", "X-Gitea-Delivery"},
    ForgeName{Forge::generic, "generic", "", "X-Delivery-Id"},
};
const ForgeName& row_of(Forge forge) { return forges[static_cast<std::size_t>(forge)]; }

std::string_view header_of(const http::Fields& fields, std::string_view name) {
  return name.empty() ? std::string_view() : fields.find(name).value_or("");
}

std::string branch_field(const json::object& event, std::string_view holder) {
  return model::text_at(event, {holder, "default_branch"});
}

}  // namespace

std::string_view to_string(Forge forge) { return row_of(forge).name; }

Result<Forge> parse_forge(std::string_view text) {
  for (const auto& known : forges)
    if (known.name == text) return known.forge;
  return fail(Errc::invalid, fmt::format("'{}' is none of github, gitlab, gitea and generic", printable(text, 40)));
}

Result<void> check_signature(Forge forge, std::string_view secret, const http::Fields& fields, std::string_view body) {
  constexpr std::string_view scheme = "sha256=";
  const auto wrong = [](std::string_view field, std::string_view given) {
    return fail(Errc::denied, fmt::format("{} {}", field, given.empty() ? "is missing" : "does not fit the secret"));
  };
  if (secret.empty()) return fail(Errc::denied, "the webhook has no secret");
  if (forge == Forge::gitlab) {
    const auto given = header_of(fields, "X-Gitlab-Token");
    return same_secret(given, secret) ? Result<void>() : wrong("X-Gitlab-Token", given);
  }
  const auto expected = to_hex(hmac_sha256(secret, body));
  if (forge == Forge::gitea)
    if (const auto given = header_of(fields, "X-Gitea-Signature"); !given.empty())
      return same_secret(given, expected) ? Result<void>() : wrong("X-Gitea-Signature", given);
  auto given = header_of(fields, "X-Hub-Signature-256");
  // Bitbucket's field of this name holds SHA-256; GitHub's held SHA-1, which the scheme tells.
  if (given.empty() && forge == Forge::generic) given = header_of(fields, "X-Hub-Signature");
  const bool fits = given.starts_with(scheme) && same_secret(given.substr(scheme.size()), expected);
  return fits ? Result<void>() : wrong("X-Hub-Signature-256", given);
}

ForgeEvent event_of(Forge forge, const http::Fields& fields) {
  if (forge == Forge::generic) return ForgeEvent::push;
  const auto event = header_of(fields, row_of(forge).event);
  if (event == "push" || event == "Push Hook") return ForgeEvent::push;
  return event == "ping" ? ForgeEvent::ping : ForgeEvent::other;
}

DeliveryMarks marks_of(Forge forge, const http::Fields& fields, std::string_view body) {
  DeliveryMarks marks{.number = std::string(header_of(fields, row_of(forge).number).substr(0, mark_bytes_max)),
                      .digest = {}};
  if (forge != Forge::gitlab) marks.digest = Digest::of(body).hex();
  return marks;
}

Result<PushEvent> parse_push_event(std::string_view body) {
  json::parse_options options;
  options.max_depth = event_depth_max;
  json::error_code wrong;
  const auto value = json::parse(body, wrong, {}, options);
  if (wrong || !value.is_object())
    return fail(Errc::invalid, "the delivery is no JSON object",
                "choose the content type application/json at the forge");
  const auto& event = value.get_object();
  PushEvent push{.ref = model::text_at(event, {"ref"}),
                 .commit = model::text_at(event, {"after"}),
                 .default_branch = branch_field(event, "repository")};
  if (push.default_branch.empty()) push.default_branch = branch_field(event, "project");
  if (push.ref.empty() || push.ref.size() > 300)
    return fail(Errc::invalid, "the delivery names no ref",
                R"(a push has {"ref": "refs/heads/main", "after": COMMIT})");
  push.deletes = push.commit == std::string(40, '0');
  if (!build::is_object_id(push.commit) || push.deletes) push.commit.clear();
  return push;
}

}  // namespace wick::api
