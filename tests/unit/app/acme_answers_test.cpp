// What an ACME server says, read from bytes that may be anything.
#include <catch2/catch.hpp>

#include "app/acme/answers.hpp"

using namespace wick;
using namespace wick::app::acme;

namespace {

const std::string order_of_rfc = R"({"status": "valid", "expires": "2016-01-20T14:09:07.99Z",
  "identifiers": [{"type": "dns", "value": "www.example.org"}],
  "authorizations": ["https://example.com/acme/authz/PAniVnsZcis", "https://example.com/acme/authz/r4HqLzrSrpI"],
  "finalize": "https://example.com/acme/order/TOlocE8rfgo/finalize",
  "certificate": "https://example.com/acme/cert/mAt3xBGaobw"})";

}  // namespace

TEST_CASE("the directory of RFC 8555 7.1.1 is read") {
  const auto directory = parse_directory(R"({"newNonce": "https://example.com/acme/new-nonce",
    "newAccount": "https://example.com/acme/new-account", "newOrder": "https://example.com/acme/new-order",
    "newAuthz": "https://example.com/acme/new-authz", "revokeCert": "https://example.com/acme/revoke-cert",
    "keyChange": "https://example.com/acme/key-change",
    "meta": {"termsOfService": "https://example.com/acme/terms/2017-5-30", "website": "https://www.example.com/",
             "caaIdentities": ["example.com"], "externalAccountRequired": false}})");
  REQUIRE(directory);
  CHECK(directory->new_order == "https://example.com/acme/new-order");
  CHECK(directory->terms == "https://example.com/acme/terms/2017-5-30");
  CHECK_FALSE(directory->wants_external_account);
}

TEST_CASE("addresses that are not https, too long or with control characters are refused by name") {
  for (const auto& url : {std::string("http://example.com/x"), std::string("file:///etc/passwd"), std::string("ftp:"),
                          "https://example.com/" + std::string(3000, 'a'), std::string("https://e.com/\\r\\nX: y")}) {
    const auto directory = parse_directory(R"({"newNonce": ")" + url + R"(", "newAccount": "https://e.com/a",
                                           "newOrder": "https://e.com/o"})");
    REQUIRE_FALSE(directory);
    CHECK(directory.error().what().starts_with("the directory: newNonce must be an https:// URL, not '"));
  }
}

TEST_CASE("the order and authorization of RFC 8555 7.1.3 and 7.1.4 are read") {
  const auto order = parse_order(order_of_rfc);
  REQUIRE(order);
  CHECK(order->status == Status::valid);
  CHECK(order->authorizations.size() == 2);
  CHECK(order->certificate == "https://example.com/acme/cert/mAt3xBGaobw");
  const auto authorization = parse_authorization(R"({"status": "pending",
    "identifier": {"type": "dns", "value": "WWW.example.org"},
    "challenges": [
      {"type": "http-01", "url": "https://example.com/acme/chall/prV_B7yEyA4", "status": "invalid",
       "token": "DGyRejmCefe7v4NfDGDKfA", "error": {"type": "urn:ietf:params:acme:error:dns", "detail": "no\nsuch host"}},
      {"type": "future-02", "url": "https://example.com/acme/chall/x", "status": "pending", "token": "abc"},
      {"type": "dns-01", "url": "https://example.com/acme/chall/y", "status": "pending", "token": "../../etc/passwd"}]})");
  REQUIRE(authorization);
  CHECK(authorization->host == "www.example.org");
  REQUIRE(authorization->challenges.size() == 1);  // one unknown, one whose token is no base64url
  CHECK(authorization->challenges[0].token == "DGyRejmCefe7v4NfDGDKfA");
  CHECK(authorization->challenges[0].trouble->text() == "dns: no\\x0asuch host");
}

TEST_CASE("what is missing or of another kind in an answer is said") {
  const auto told = [](std::string_view bytes) { return parse_order(bytes).error().what(); };
  CHECK(told("[]") == "the order is not a JSON object");
  CHECK(told("{\"a\": [[[[[[[[[[[[]]]]]]]]]]]]}") == "the order is not a JSON object");
  CHECK(told(R"({"status": "odd"})") == "the order: status 'odd' is unknown");
  CHECK(told(R"({"status": "pending", "finalize": "https://a/"})") == "the order has no list of authorizations");
  CHECK(told(R"({"status": "valid", "finalize": "https://a/", "authorizations": []})") ==
        "the order: certificate must be an https:// URL, not ''");
  CHECK_FALSE(parse_order(std::string(answer_bytes_max + 1, ' ')));
}

TEST_CASE("a problem document tells type, detail and those of its parts; other bytes tell nothing") {
  const auto trouble = parse_trouble(R"({"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many",
    "subproblems": [{"type": "x", "detail": "of example.org"}]})");
  CHECK(trouble.type == "rateLimited");
  CHECK(trouble.detail == "too many; of example.org");
  CHECK(parse_trouble("<html>").text().empty());
}

TEST_CASE("Retry-After is read as seconds and as a date, and bounded") {
  const WallTime now = std::chrono::sys_days{std::chrono::year{2026} / 11 / 23};
  CHECK(parse_retry_after("120", now) == 120s);
  CHECK(parse_retry_after("99999999999999", now) == std::chrono::hours(24 * 7));
  CHECK(parse_retry_after("Mon, 23 Nov 2026 00:01:30 GMT", now) == 90s);
  CHECK(parse_retry_after("Mon, 23 Nov 2020 00:01:30 GMT", now) == 0s);
  CHECK_FALSE(parse_retry_after("soon", now));
  CHECK_FALSE(parse_retry_after("-1", now));
}

TEST_CASE("a nonce that is no base64url is none") {
  CHECK(parse_nonce("oFvnlFP1wIhRlYS2jTaXbA") == "oFvnlFP1wIhRlYS2jTaXbA");
  for (const auto bad : {"", "a b", "a\"b", "a=="}) CHECK_FALSE(parse_nonce(bad));
  CHECK_FALSE(parse_nonce(std::string(600, 'a')));
}
