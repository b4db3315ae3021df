// Who may send events to a Broker, Channel or sink: what EventPolicies say, and the tokens of senders outside the box
// (eventing.md 1.11; knative/eventing pkg/auth).
//
// A sender inside the box needs no token: the listener that its event comes by says who it is. One outside shows a JWT
// (RFC 7519) of ours, signed with HMAC-SHA256, for one audience: it is of no use at another address.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/base/time.hpp"
#include "wick/eventing/cloud_event.hpp"
#include "wick/eventing/filter.hpp"

namespace wick::eventing {

/// Whoever hands in an event.
struct Sender {
  enum class Kind {
    outside,   // has to show a token
    inside,    // `subject`, known by the listener it comes by
    operating  // Wick itself, or who may write to its API: not asked
  } kind = Kind::outside;
  std::string subject = {};
  std::string token = {};  // of an Authorization field
};

/// "system:serviceaccount:NAMESPACE:NAME".
std::string service_account_subject(std::string_view name_space, std::string_view name);

/// An EventPolicy that applies to an addressable.
struct AccessPolicy {
  std::string name;
  std::vector<std::string> subjects;  // whatever the case; one that ends with '*' is a prefix. None: nobody
  Matcher filters;
};

struct AccessRules {
  std::string audience;  // "eventing.knative.dev/broker/default/b"
  std::vector<AccessPolicy> policies;
};

/// Of an addressable without a policy (Knative's default-authorization-mode).
enum class DefaultAccess { allow_all, allow_same_namespace, deny_all };

struct AccessSettings {
  bool enabled = false;  // Knative's authentication-oidc
  DefaultAccess otherwise = DefaultAccess::allow_same_namespace;
  std::string token_key;  // signs tokens; with an empty one none is valid
};

/// The first policy that names the subject decides by its filters; where policies apply and none names it, it may not.
/// Errors: denied. Pure.
Result<void> may_send(const AccessRules& rules, DefaultAccess otherwise, std::string_view name_space,
                      std::string_view subject, const CloudEvent& event);

struct SenderToken {
  std::string subject;
  std::string audience;
  WallTime issued{};
  WallTime expires{};
};

inline constexpr std::size_t sender_token_bytes_max = 8192;

/// A JWT: {"alg":"HS256"}, iss "wick", sub, aud, iat, exp.
std::string sign_sender_token(const SenderToken& token, std::string_view key);
/// The subject of a token that `key` signed for `audience` and that has not expired. Errors: denied, with what is wrong
/// with it. The signature is compared in constant time, before anything else of the token is read.
Result<std::string> verify_sender_token(std::string_view token, std::string_view audience, std::string_view key,
                                        WallTime now);

}  // namespace wick::eventing
