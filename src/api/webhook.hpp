// What a forge sends when somebody pushed: whether it is from whom it says, which event it is, and what was pushed.
// Pure. Nothing is read of a body before its signature fits (trust-and-ux.md 5.1).
//
//   github   X-GitHub-Event, X-GitHub-Delivery     X-Hub-Signature-256: sha256=HEX of HMAC-SHA-256(secret, body)
//   gitea    X-Gitea-Event, X-Gitea-Delivery       X-Gitea-Signature: HEX, or as github   (Forgejo too)
//   gitlab   X-Gitlab-Event, X-Gitlab-Event-UUID   X-Gitlab-Token: the secret itself
//   generic  -, X-Delivery-Id                      X-Hub-Signature-256, or X-Hub-Signature: sha256=HEX   (Bitbucket
//   too)
#pragma once

#include <string>
#include <string_view>

#include "wick/base/error.hpp"
#include "wick/http/message.hpp"

namespace wick::api {

enum class Forge { github, gitlab, gitea, generic };
std::string_view to_string(Forge forge);
Result<Forge> parse_forge(std::string_view text);

/// Takes as long for every wrong one. Errors: denied, with what was expected.
Result<void> check_signature(Forge forge, std::string_view secret, const http::Fields& fields, std::string_view body);

enum class ForgeEvent { push, ping, other };
/// Of the header fields; a generic delivery is a push.
ForgeEvent event_of(Forge forge, const http::Fields& fields);
/// What this delivery shares with its repetitions and with no other: the forge's number for it. Where the body is
/// signed also its digest, which whoever repeats it cannot change.
struct DeliveryMarks {
  std::string number;  // "" where the forge gave none
  std::string digest;  // "" where the body is not signed
};
DeliveryMarks marks_of(Forge forge, const http::Fields& fields, std::string_view body);

struct PushEvent {
  std::string ref;             // refs/heads/main
  std::string commit;          // 40 hex digits; "" where it is not said
  std::string default_branch;  // of the repository; "" where it is not said
  bool deletes = false;
};
/// Errors: invalid (no JSON object with a ref). Depth and size are bounded.
Result<PushEvent> parse_push_event(std::string_view body);

}  // namespace wick::api
