// What an ACME server says (RFC 8555 7.1, 6.7), read from bytes that may be anything. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/base/time.hpp"

namespace wick::app::acme {

/// Larger documents are refused: a directory has 1 KB, a chain of certificates seldom more than 10.
inline constexpr std::size_t answer_bytes_max = 256 << 10;

/// Every address here is https and of at most 2048 characters without spaces or controls.
struct Directory {
  std::string new_nonce, new_account, new_order;
  std::string terms;                    // meta.termsOfService, empty where there are none
  bool wants_external_account = false;  // meta.externalAccountRequired
};

/// RFC 8555 7.1.6.
enum class Status { pending, ready, processing, valid, invalid, deactivated, expired, revoked };

/// RFC 7807 as ACME uses it.
struct Trouble {
  std::string type;    // without "urn:ietf:params:acme:error:"
  std::string detail;  // fit to print on a line

  std::string text() const { return detail.empty() ? type : type + ": " + detail; }
};

struct Challenge {
  std::string type;  // "http-01", "tls-alpn-01", "dns-01"; others are passed over
  std::string url;
  std::string token;  // base64url (RFC 8555 8.3)
  Status status = Status::pending;
  std::optional<Trouble> trouble;
};

struct Authorization {
  std::string host;
  Status status = Status::pending;
  std::vector<Challenge> challenges;
};

struct Order {
  Status status = Status::pending;
  std::vector<std::string> authorizations;
  std::string finalize;
  std::string certificate;  // once it is valid
  std::optional<Trouble> trouble;
};

/// Errors of all: corrupt, saying which member is not what it must be.
Result<Directory> parse_directory(std::string_view bytes);
Result<Order> parse_order(std::string_view bytes);
Result<Authorization> parse_authorization(std::string_view bytes);
/// Of any bytes: what is no problem document has no type.
Trouble parse_trouble(std::string_view bytes);

/// Retry-After (RFC 9110 10.2.3): seconds, or a date in the form of RFC 9110 5.6.7. At most a week.
std::optional<seconds> parse_retry_after(std::string_view text, WallTime now);
/// Replay-Nonce (RFC 8555 6.5.1); one that is not base64url is none.
std::optional<std::string> parse_nonce(std::string_view text);

std::string_view to_string(Status status);

}  // namespace wick::app::acme
