#include "app/acme/certificates.hpp"

#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "app/acme/key.hpp"
#include "app/acme/openssl.hpp"
#include "wick/base/text.hpp"

namespace wick::app::acme {

namespace {

constexpr const char* acme_identifier = "1.3.6.1.5.5.7.1.31";  // id-pe-acmeIdentifier (RFC 8737 6.1)
constexpr long an_hour = 3600;
constexpr int challenge_days = 7;

struct FreeExtension {
  void operator()(X509_EXTENSION* extension) const { X509_EXTENSION_free(extension); }
  void operator()(ASN1_OBJECT* object) const { ASN1_OBJECT_free(object); }
  void operator()(ASN1_OCTET_STRING* text) const { ASN1_OCTET_STRING_free(text); }
};
using Extension = std::unique_ptr<X509_EXTENSION, FreeExtension>;

Extension alternative_name(const std::string& host) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, nullptr, nullptr, nullptr, nullptr, 0);
  return Extension(X509V3_EXT_conf_nid(nullptr, &context, NID_subject_alt_name, ("DNS:" + host).c_str()));
}

/// Authorization ::= OCTET STRING (SIZE (32)), within the octets of a critical extension.
Extension authorization_digest(std::string_view key_authorization) {
  const std::unique_ptr<ASN1_OBJECT, FreeExtension> kind(OBJ_txt2obj(acme_identifier, 1));
  const std::unique_ptr<ASN1_OCTET_STRING, FreeExtension> value(ASN1_OCTET_STRING_new());
  const auto der = std::string("\x04\x20", 2) + sha256(key_authorization);
  if (!kind || !value ||
      ASN1_OCTET_STRING_set(value.get(), reinterpret_cast<const unsigned char*>(der.data()),
                            static_cast<int>(der.size())) != 1)
    return nullptr;
  return Extension(X509_EXTENSION_create_by_OBJ(nullptr, kind.get(), 1, value.get()));
}

Result<void> check_name(const std::string& host) {
  if (is_dns_subdomain(host)) return {};
  return fail(Errc::invalid, "'" + printable(host) + "' is not a name that a certificate can be for");
}

bool add_name(X509_REQ* request, const std::string& host) {
  const auto name = alternative_name(host);
  auto* list = sk_X509_EXTENSION_new_null();
  const bool added =
      name && sk_X509_EXTENSION_push(list, name.get()) > 0 && X509_REQ_add_extensions(request, list) == 1;
  sk_X509_EXTENSION_free(list);
  return added;
}

}  // namespace

Result<CertificateRequest> request_certificate(const std::string& host) {
  if (auto checked = check_name(host); !checked) return fail(std::move(checked.error()));
  auto key = new_key();
  if (!key) return fail(std::move(key.error()));
  const Openssl<X509_REQ> request(X509_REQ_new());
  const bool made = request && X509_REQ_set_version(request.get(), X509_REQ_VERSION_1) == 1 &&
                    X509_REQ_set_pubkey(request.get(), key->get()) == 1 && add_name(request.get(), host) &&
                    X509_REQ_sign(request.get(), key->get(), EVP_sha256()) > 0;
  if (!made) return refused_by_library("make a certificate request");
  unsigned char* der = nullptr;
  const int size = i2d_X509_REQ(request.get(), &der);
  if (size <= 0) return refused_by_library("make a certificate request");
  CertificateRequest result{.key = to_pem(key->get()),
                            .der = {reinterpret_cast<const char*>(der), static_cast<std::size_t>(size)}};
  OPENSSL_free(der);
  return result;
}

Result<http::Certificate> challenge_certificate(const std::string& host, std::string_view key_authorization,
                                                WallTime now) {
  if (auto checked = check_name(host); !checked) return fail(std::move(checked.error()));
  auto key = new_key();
  if (!key) return fail(std::move(key.error()));
  const Openssl<X509> certificate(X509_new());
  auto* own = certificate.get();
  unsigned char serial[8];
  if (!own || RAND_bytes(serial, sizeof serial) != 1) return refused_by_library("make a certificate");
  serial[0] &= 0x7f;  // positive (RFC 5280 4.1.2.2)
  const Openssl<BIGNUM> number(BN_bin2bn(serial, sizeof serial, nullptr));
  BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(own));
  X509_set_version(own, X509_VERSION_3);
  std::time_t begin = std::chrono::floor<seconds>(now).time_since_epoch().count();
  X509_time_adj_ex(X509_getm_notBefore(own), 0, -an_hour, &begin);
  X509_time_adj_ex(X509_getm_notAfter(own), challenge_days, 0, &begin);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(own), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("ACME challenge"), -1, -1, 0);
  X509_set_issuer_name(own, X509_get_subject_name(own));
  const auto name = alternative_name(host);
  const auto digest = authorization_digest(key_authorization);
  const bool made = name && digest && X509_set_pubkey(own, key->get()) == 1 && X509_add_ext(own, name.get(), -1) == 1 &&
                    X509_add_ext(own, digest.get(), -1) == 1 && X509_sign(own, key->get(), EVP_sha256()) > 0;
  if (!made) return refused_by_library("make a certificate");
  return http::Certificate::parse(to_pem(own), to_pem(key->get()));
}

}  // namespace wick::app::acme
