// Tokens of senders outside the box: JWTs in JWS compact form (RFC 7515 3.1, RFC 7519), HS256 and nothing else.
#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "wick/base/digest.hpp"
#include "wick/base/text.hpp"
#include "wick/eventing/access.hpp"

namespace wick::eventing {

namespace json = boost::json;

namespace {

constexpr std::string_view token_issuer = "wick";

std::int64_t to_seconds(WallTime time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

std::optional<json::object> object_of(std::string_view part) {
  const auto text = base64url_decode(part);
  if (!text) return std::nullopt;
  boost::system::error_code error;
  auto value = json::parse(*text, error, {}, {.max_depth = 4});
  if (error || !value.is_object()) return std::nullopt;
  return std::move(value.get_object());
}

std::string claim(const json::object& claims, std::string_view name) {
  const auto* value = claims.if_contains(name);
  return value && value->is_string() ? std::string(value->get_string()) : std::string();
}

/// "aud" is a string, or an array of them (RFC 7519 4.1.3).
bool is_for(const json::object& claims, std::string_view audience) {
  const auto* value = claims.if_contains("aud");
  if (!value) return false;
  if (value->is_string()) return value->get_string() == audience;
  if (!value->is_array()) return false;
  return std::ranges::any_of(value->get_array(),
                             [&](const json::value& one) { return one.is_string() && one.get_string() == audience; });
}

std::unexpected<Error> bad_token(std::string why) {
  return fail(Errc::denied, "failed to verify JWT: " + std::move(why), "wick event token makes one");
}

}  // namespace

std::string sign_sender_token(const SenderToken& token, std::string_view key) {
  const json::object head{{"alg", "HS256"}, {"typ", "JWT"}};
  const json::object claims{{"iss", token_issuer},
                            {"sub", token.subject},
                            {"aud", token.audience},
                            {"iat", to_seconds(token.issued)},
                            {"exp", to_seconds(token.expires)}};
  const auto text = base64url_encode(json::serialize(head)) + "." + base64url_encode(json::serialize(claims));
  return text + "." + base64url_encode(hmac_sha256(key, text));
}

Result<std::string> verify_sender_token(std::string_view token, std::string_view audience, std::string_view key,
                                        WallTime now) {
  if (key.empty()) return bad_token("there is no key yet");
  if (token.size() > sender_token_bytes_max) return bad_token("it is too long");
  const auto parts = split(token, '.');
  if (parts.size() != 3) return bad_token("it is no JWT of three parts");
  const auto signature = base64url_decode(parts[2]);
  const auto wanted = hmac_sha256(key, token.substr(0, parts[0].size() + 1 + parts[1].size()));
  if (!signature || !same_secret(*signature, wanted)) return bad_token("the signature is not ours");
  const auto head = object_of(parts[0]), claims = object_of(parts[1]);
  if (!head || !claims) return bad_token("it is not made of JSON objects");
  if (claim(*head, "alg") != "HS256") return bad_token("alg must be HS256");
  if (claim(*claims, "iss") != token_issuer) return bad_token("it is not issued by wick");
  if (!is_for(*claims, audience)) return bad_token("it is not for the audience " + printable(audience));
  const auto* expires = claims->if_contains("exp");
  if (!expires || !expires->is_int64() || expires->get_int64() <= to_seconds(now)) return bad_token("it has expired");
  auto subject = claim(*claims, "sub");
  if (subject.empty()) return bad_token("it has no subject");
  return subject;
}

}  // namespace wick::eventing
