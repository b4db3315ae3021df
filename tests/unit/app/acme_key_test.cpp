// JWS and thumbprints against the vectors of the RFCs, and what an ACME client makes itself.
#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/x509v3.h>

#include <boost/json/parse.hpp>
#include <catch2/catch.hpp>

#include "app/acme/certificates.hpp"
#include "fake_authority.hpp"

using namespace wick;
using namespace wick::app::acme;

namespace {

// RFC 7515 A.3.1.
const std::string vector_x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const std::string vector_y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
const std::string vector_d = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI";

std::string vector_pem() {
  const auto x = from_base64url(vector_x), y = from_base64url(vector_y), d = from_base64url(vector_d);
  const auto point = "\x04" + x + y;
  const Openssl<BIGNUM> secret(BN_bin2bn(reinterpret_cast<const unsigned char*>(d.data()), 32, nullptr));
  OSSL_PARAM_BLD* builder = OSSL_PARAM_BLD_new();
  OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0);
  OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size());
  OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_PRIV_KEY, secret.get());
  OSSL_PARAM* parameters = OSSL_PARAM_BLD_to_param(builder);
  EVP_PKEY_CTX* context = EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr);
  EVP_PKEY* key = nullptr;
  EVP_PKEY_fromdata_init(context);
  REQUIRE(EVP_PKEY_fromdata(context, &key, EVP_PKEY_KEYPAIR, parameters) == 1);
  const auto pem = to_pem(key);
  EVP_PKEY_free(key);
  EVP_PKEY_CTX_free(context);
  OSSL_PARAM_free(parameters);
  OSSL_PARAM_BLD_free(builder);
  return pem;
}

}  // namespace

TEST_CASE("the public key is written as RFC 7515 A.3 has it") {
  const auto key = AccountKey::parse(vector_pem());
  REQUIRE(key);
  CHECK(key->jwk() == R"({"crv":"P-256","kty":"EC","x":")" + vector_x + R"(","y":")" + vector_y + R"("})");
}

TEST_CASE("a signature is the one that RFC 7515 A.3 verifies, two numbers of 32 bytes") {
  const auto x = from_base64url(vector_x), y = from_base64url(vector_y);
  const std::string input =
      "eyJhbGciOiJFUzI1NiJ9"
      "."
      "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
  const auto published =
      from_base64url("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q");
  REQUIRE(verifies(x, y, input, published));  // the verifier itself
  const auto key = AccountKey::parse(vector_pem());
  REQUIRE(key);
  for (int i = 0; i < 50; ++i) {  // a number with a leading zero is one of 256
    const auto signature = key->sign(input);
    REQUIRE(signature);
    REQUIRE(signature->size() == 64);
    CHECK(verifies(x, y, input, *signature));
  }
  CHECK_FALSE(verifies(x, y, input + "x", *key->sign(input)));
}

TEST_CASE("a JWS of the header and payload of RFC 7515 A.3 has the parts printed there") {
  const auto key = AccountKey::parse(vector_pem());
  const auto jws = key->jws(R"({"alg":"ES256"})",
                            "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}");
  REQUIRE(jws);
  const auto object = boost::json::parse(*jws).as_object();
  CHECK(object.at("protected") == "eyJhbGciOiJFUzI1NiJ9");
  CHECK(object.at("payload") ==
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ");
}

TEST_CASE("the thumbprint of RFC 7638 3.1 is found") {
  const std::string modulus =
      "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknj"
      "hMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQ"
      "vRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzK"
      "nqDKgw";
  CHECK(jwk_thumbprint(R"({"e":"AQAB","kty":"RSA","n":")" + modulus + R"("})") ==
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

TEST_CASE("an account's key survives as PEM, and others are refused") {
  const auto key = AccountKey::create();
  REQUIRE(key);
  CHECK(AccountKey::parse(key->pem())->jwk() == key->jwk());
  CHECK(AccountKey::create()->jwk() != key->jwk());
  CHECK_FALSE(AccountKey::parse("nonsense"));
  const Openssl<EVP_PKEY> other(EVP_EC_gen("P-384"));
  const auto refused = AccountKey::parse(to_pem(other.get()));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().what() == "the account's key is not an elliptic one of P-256");
}

TEST_CASE("a certificate request is for its one name and signed with its own key") {
  const auto request = request_certificate("shop.example.test");
  REQUIRE(request);
  const auto* at = reinterpret_cast<const unsigned char*>(request->der.data());
  const Openssl<X509_REQ> read(d2i_X509_REQ(nullptr, &at, static_cast<long>(request->der.size())));
  REQUIRE(read);
  CHECK(X509_REQ_verify(read.get(), X509_REQ_get0_pubkey(read.get())) == 1);
  CHECK(EVP_PKEY_eq(read_key(request->key)->get(), X509_REQ_get0_pubkey(read.get())) == 1);
  for (const auto& name : {"a,DNS:evil.test", "", "a b", "*.test", "UPPER.test"})
    CHECK_FALSE(request_certificate(name));
}

TEST_CASE("the certificate of a TLS-ALPN-01 challenge is for the name and holds the digest, critically") {
  const auto now = std::chrono::sys_days{std::chrono::year{2026} / 11 / 23};
  const auto made = challenge_certificate("shop.example.test", "token.thumbprint", now);
  REQUIRE(made);
  CHECK(made->names() == std::vector<std::string>{"shop.example.test"});
  CHECK(made->not_before() < now);
  CHECK(made->not_after() > now);
}

TEST_CASE("a MAC is the one of RFC 7515 A.1") {
  const auto key =
      base64url_decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow");
  REQUIRE(key);
  const auto jws = mac_jws("{\"typ\":\"JWT\",\r\n \"alg\":\"HS256\"}",
                           "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}", *key);
  CHECK(boost::json::parse(jws).at("signature").as_string() == "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
}

TEST_CASE("base64url is read with and without padding, and nothing else is") {
  CHECK(base64url_decode("_-8") == "\xff\xef");
  CHECK(base64url_decode("_-8=") == "\xff\xef");
  CHECK_FALSE(base64url_decode("/+8"));
  CHECK_FALSE(base64url_decode("a"));
  CHECK_FALSE(base64url_decode("a b c"));
}
