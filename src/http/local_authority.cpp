#include <arpa/inet.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <algorithm>

#include "tls_server.hpp"

namespace wick::http {

namespace {

constexpr int authority_days = 3650;
constexpr long an_hour = 3600;

std::unexpected<Error> refused_by_openssl(std::string_view what) {
  return fail(Errc::internal, std::string(what) + ": " + openssl_complaint());
}

std::string text_of(BIO* bio) {
  char* bytes = nullptr;
  const auto size = BIO_get_mem_data(bio, &bytes);
  return {bytes, static_cast<std::size_t>(size)};
}

std::string pem_of(X509* certificate) {
  const OpensslPtr<BIO> bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(bio.get(), certificate);
  return text_of(bio.get());
}

std::string pem_of(EVP_PKEY* key) {
  const OpensslPtr<BIO> bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr);
  return text_of(bio.get());
}

bool add_extension(X509* certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  auto* extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
  const bool added = extension && X509_add_ext(certificate, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  return added;
}

/// A certificate that lacks its extensions and signature.
Result<OpensslPtr<X509>> draft(EVP_PKEY* key, std::string_view subject, WallTime now, int days) {
  OpensslPtr<X509> certificate(X509_new());
  unsigned char serial[16];
  if (!certificate || RAND_bytes(serial, sizeof serial) != 1) return refused_by_openssl("make a certificate");
  serial[0] &= 0x7f;  // positive (RFC 5280 4.1.2.2)
  BIGNUM* number = BN_bin2bn(serial, sizeof serial, nullptr);
  BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate.get()));
  BN_free(number);
  X509_set_version(certificate.get(), X509_VERSION_3);
  std::time_t begin = std::chrono::floor<std::chrono::seconds>(now).time_since_epoch().count();
  X509_time_adj_ex(X509_getm_notBefore(certificate.get()), 0, -an_hour, &begin);
  X509_time_adj_ex(X509_getm_notAfter(certificate.get()), days, 0, &begin);
  X509_set_pubkey(certificate.get(), key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(subject.data()), static_cast<int>(subject.size()),
                             -1, 0);
  return certificate;
}

bool is_address(const std::string& name) {
  unsigned char bytes[16];
  return inet_pton(AF_INET, name.c_str(), bytes) == 1 || inet_pton(AF_INET6, name.c_str(), bytes) == 1;
}

bool is_plain_name(std::string_view name) {
  if (name.starts_with("*.")) name.remove_prefix(2);
  const auto fits = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.'; };
  return !name.empty() && name.size() <= 253 && std::ranges::all_of(name, fits);
}

}  // namespace

Result<LocalAuthority> LocalAuthority::create(WallTime now) {
  const OpensslPtr<EVP_PKEY> key(EVP_EC_gen("P-256"));
  if (!key) return refused_by_openssl("make a key");
  auto certificate = draft(key.get(), "Wick local authority", now, authority_days);
  if (!certificate) return fail(std::move(certificate.error()));
  auto* own = certificate->get();
  X509_set_issuer_name(own, X509_get_subject_name(own));
  const bool signed_ok = add_extension(own, own, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
                         add_extension(own, own, NID_key_usage, "critical,keyCertSign,cRLSign") &&
                         add_extension(own, own, NID_subject_key_identifier, "hash") &&
                         X509_sign(own, key.get(), EVP_sha256()) > 0;
  if (!signed_ok) return refused_by_openssl("sign a certificate");
  LocalAuthority authority;
  authority.certificate_ = pem_of(own);
  authority.key_ = pem_of(key.get());
  return authority;
}

Result<LocalAuthority> LocalAuthority::parse(std::string_view certificate, std::string_view key) {
  auto parsed = Certificate::parse(certificate, key);
  if (!parsed) return fail(std::move(parsed.error()));
  if (X509_check_ca(parsed->parsed().own.get()) != 1) return fail(Errc::invalid, "not an authority's certificate");
  LocalAuthority authority;
  authority.certificate_ = certificate;
  authority.key_ = key;
  return authority;
}

Result<Certificate> LocalAuthority::issue(const std::vector<std::string>& names, WallTime now, int days) const {
  auto authority = Certificate::parse(certificate_, key_);
  if (!authority) return fail(std::move(authority.error()));
  std::string alternatives;
  for (const auto& name : names) {
    const bool address = is_address(name);
    if (!address && !is_plain_name(name)) return fail(Errc::invalid, "not a name for a certificate: '" + name + "'");
    alternatives += (alternatives.empty() ? "" : ",") + std::string(address ? "IP:" : "DNS:") + name;
  }
  if (names.empty()) return fail(Errc::invalid, "a certificate needs a name");
  const OpensslPtr<EVP_PKEY> key(EVP_EC_gen("P-256"));
  if (!key) return refused_by_openssl("make a key");
  auto certificate = draft(key.get(), "Wick", now, days);
  if (!certificate) return fail(std::move(certificate.error()));
  auto* own = certificate->get();
  auto* above = authority->parsed().own.get();
  X509_set_issuer_name(own, X509_get_subject_name(above));
  const bool signed_ok = add_extension(own, above, NID_basic_constraints, "critical,CA:FALSE") &&
                         add_extension(own, above, NID_key_usage, "critical,digitalSignature") &&
                         add_extension(own, above, NID_ext_key_usage, "serverAuth") &&
                         add_extension(own, above, NID_authority_key_identifier, "keyid") &&
                         add_extension(own, above, NID_subject_alt_name, alternatives) &&
                         X509_sign(own, authority->parsed().key.get(), EVP_sha256()) > 0;
  if (!signed_ok) return refused_by_openssl("sign a certificate");
  return Certificate::parse(pem_of(own) + certificate_, pem_of(key.get()));
}

}  // namespace wick::http
