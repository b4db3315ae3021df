#include "app/acme/key.hpp"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sha.h>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "app/acme/openssl.hpp"
#include "wick/base/digest.hpp"
#include "wick/base/text.hpp"

namespace wick::app::acme {

namespace {

constexpr int coordinate_bytes = 32;  // RFC 7518 6.2.1.2: of P-256, leading zeros kept

std::string fixed_size(const BIGNUM* number) {
  std::string bytes(coordinate_bytes, '\0');
  BN_bn2binpad(number, reinterpret_cast<unsigned char*>(bytes.data()), coordinate_bytes);
  return bytes;
}

std::string text_in(BIO* bio) {
  char* bytes = nullptr;
  const auto size = BIO_get_mem_data(bio, &bytes);
  return {bytes, static_cast<std::size_t>(size)};
}

int never_asks(char*, int, int, void*) { return -1; }

/// Errors: invalid (no key of P-256).
Result<std::string> public_jwk(EVP_PKEY* key) {
  char group[32] = "";
  std::size_t size = 0;
  BIGNUM* numbers[2] = {nullptr, nullptr};
  const bool known = EVP_PKEY_get_group_name(key, group, sizeof group, &size) == 1 &&
                     std::string_view(group) == "prime256v1" &&
                     EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_X, &numbers[0]) == 1 &&
                     EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_Y, &numbers[1]) == 1;
  const Openssl<BIGNUM> x(numbers[0]), y(numbers[1]);
  if (!known) {
    ERR_clear_error();
    return fail(Errc::invalid, "the account's key is not an elliptic one of P-256");
  }
  boost::json::object jwk{{"crv", "P-256"}, {"kty", "EC"}};
  jwk["x"] = base64url_encode(fixed_size(x.get()));
  jwk["y"] = base64url_encode(fixed_size(y.get()));
  return boost::json::serialize(jwk);
}

}  // namespace

std::unexpected<Error> refused_by_library(std::string_view what) {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  auto text = std::string(what) + ": " + (reason ? reason : "no reason given");
  ERR_clear_error();
  return fail(Errc::internal, std::move(text));
}

Result<Openssl<EVP_PKEY>> new_key() {
  Openssl<EVP_PKEY> key(EVP_EC_gen("P-256"));
  if (!key) return refused_by_library("make a key");
  return key;
}

Result<Openssl<EVP_PKEY>> read_key(std::string_view pem) {
  const Openssl<BIO> source(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  Openssl<EVP_PKEY> key(PEM_read_bio_PrivateKey(source.get(), nullptr, never_asks, nullptr));
  ERR_clear_error();
  if (!key) return fail(Errc::invalid, "not PEM of a private key");
  return key;
}

std::string to_pem(EVP_PKEY* key) {
  const Openssl<BIO> bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr);
  return text_in(bio.get());
}

std::string to_pem(X509* certificate) {
  const Openssl<BIO> bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(bio.get(), certificate);
  return text_in(bio.get());
}

std::string mac_jws(std::string_view header, std::string_view payload, std::string_view key) {
  const auto first = base64url_encode(header), second = base64url_encode(payload);
  const auto input = first + "." + second;
  return boost::json::serialize(boost::json::object{
      {"protected", first}, {"payload", second}, {"signature", base64url_encode(hmac_sha256(key, input))}});
}

std::string sha256(std::string_view bytes) {
  std::string digest(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
         reinterpret_cast<unsigned char*>(digest.data()));
  return digest;
}

std::string jwk_thumbprint(std::string_view jwk) { return base64url_encode(sha256(jwk)); }

Result<AccountKey> AccountKey::create() {
  auto key = new_key();
  if (!key) return fail(std::move(key.error()));
  return parse(to_pem(key->get()));
}

Result<AccountKey> AccountKey::parse(std::string_view pem) {
  auto key = read_key(pem);
  if (!key) return fail(std::move(key.error()));
  auto jwk = public_jwk(key->get());
  if (!jwk) return fail(std::move(jwk.error()));
  AccountKey parsed;
  parsed.pem_ = pem;
  parsed.jwk_ = std::move(*jwk);
  return parsed;
}

Result<std::string> AccountKey::sign(std::string_view bytes) const {
  auto key = read_key(pem_);
  if (!key) return fail(std::move(key.error()));
  const Openssl<EVP_MD_CTX> digest(EVP_MD_CTX_new());
  unsigned char der[128];
  std::size_t size = sizeof der;
  const bool done =
      digest && EVP_DigestSignInit(digest.get(), nullptr, EVP_sha256(), nullptr, key->get()) == 1 &&
      EVP_DigestSign(digest.get(), der, &size, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()) == 1;
  if (!done) return refused_by_library("sign");
  const unsigned char* at = der;
  const Openssl<ECDSA_SIG> signature(d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(size)));
  if (!signature) return refused_by_library("sign");
  return fixed_size(ECDSA_SIG_get0_r(signature.get())) + fixed_size(ECDSA_SIG_get0_s(signature.get()));
}

Result<std::string> AccountKey::jws(std::string_view header, std::string_view payload) const {
  const auto first = base64url_encode(header), second = base64url_encode(payload);
  auto signature = sign(first + "." + second);
  if (!signature) return signature;
  return boost::json::serialize(
      boost::json::object{{"protected", first}, {"payload", second}, {"signature", base64url_encode(*signature)}});
}

}  // namespace wick::app::acme
