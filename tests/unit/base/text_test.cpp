#include <catch2/catch.hpp>

#include "wick/base/digest.hpp"
#include "wick/base/error.hpp"
#include "wick/base/text.hpp"

using namespace wick;

TEST_CASE("base64 round-trips every length and refuses what RFC 4648 does not allow") {
  for (std::string_view text : {"", "f", "fo", "foo", "foob", "fooba", "foobar"})
    CHECK(base64_decode(base64_encode(text)) == text);
  CHECK(base64_encode("foob") == "Zm9vYg==");
  for (std::string_view bad : {"Zg", "Zg=", "Z===", "=Zg=", "Zm9v\n", "Zm9*"}) CHECK_FALSE(base64_decode(bad));
}

TEST_CASE("a DNS label is what Kubernetes takes") {
  for (std::string_view good : {"a", "hello", "hello-00001", "0a"}) CHECK(is_dns_label(good));
  for (std::string_view bad : {"", "-a", "a-", "A", "a.b", "a_b"}) CHECK_FALSE(is_dns_label(bad));
  CHECK(is_dns_label(std::string(63, 'a')));
  CHECK_FALSE(is_dns_label(std::string(64, 'a')));
  CHECK(is_dns_subdomain("a.b-c.d"));
  CHECK_FALSE(is_dns_subdomain("a..b"));
}

TEST_CASE("printable keeps UTF-8 and spells out what could break a line or a terminal") {
  CHECK(printable("grüß\n\x1b[31m") == "grüß\\x0a\\x1b[31m");
  CHECK(printable("\xff\xc0\x80") == "\\xff\\xc0\\x80");
  CHECK(printable(std::string(300, 'x'), 10) == std::string(10, 'x') + "…");
}

TEST_CASE("a number is a whole unsigned decimal or nothing") {
  CHECK(parse_unsigned("0") == 0u);
  CHECK(parse_unsigned("18446744073709551615") == 18446744073709551615ull);
  for (std::string_view bad : {"", "-1", "+1", " 1", "1 ", "0x1", "18446744073709551616"})
    CHECK_FALSE(parse_unsigned(bad));
}

TEST_CASE("a digest parses only in OCI's form and round-trips") {
  const auto digest = Digest::of("hello");
  CHECK(digest.text() == "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
  CHECK(Digest::parse(digest.text()).value() == digest);
  CHECK(Sha256().update("hel").update("lo").finish() == digest);
  for (const std::string& bad :
       {std::string("sha256:"), digest.hex(), "sha256:" + std::string(64, 'G'), digest.text() + "0"})
    CHECK(Digest::parse(bad).error().code() == Errc::invalid);
}

TEST_CASE("HMAC-SHA-256 is RFC 4231's") {
  CHECK(to_hex(hmac_sha256("Jefe", "what do ya want for nothing?")) ==
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  CHECK(to_hex(hmac_sha256(std::string(131, '\xaa'), "Test Using Larger Than Block-Size Key - Hash Key First")) ==
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST_CASE("secrets are the same only where every byte and the length are") {
  CHECK(same_secret("", ""));
  CHECK(same_secret("abc", "abc"));
  for (const auto* other : {"", "ab", "abd", "xbc", "abcd"}) CHECK_FALSE(same_secret("abc", other));
}

TEST_CASE("an error names the places it came through, outermost first") {
  auto error = Error(Errc::not_found, "no such user").within("step 2").within("build hello").hint("add the user");
  CHECK(error.what() == "build hello: step 2: no such user");
  CHECK(error.hint() == "add the user");
  CHECK(slug(error.code()) == "E_NOT_FOUND");
}
