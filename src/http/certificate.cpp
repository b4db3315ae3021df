#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <algorithm>

#include "chars.hpp"
#include "tls_server.hpp"

namespace wick::http {

namespace {

std::string lowered(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = chars::lower(c);
  return lower;
}

OpensslPtr<BIO> pem_source(std::string_view pem) {
  return OpensslPtr<BIO>(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

/// Never asks at a terminal.
int no_passphrase(char*, int, int, void*) { return -1; }

WallTime wall_time(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return {};
  return std::chrono::time_point_cast<WallTime::duration>(std::chrono::system_clock::from_time_t(timegm(&parts)));
}

std::string address_name(const ASN1_OCTET_STRING* address) {
  char text[INET6_ADDRSTRLEN] = "";
  const int size = ASN1_STRING_length(address);
  const auto* bytes = ASN1_STRING_get0_data(address);
  if (size == 4) inet_ntop(AF_INET, bytes, text, sizeof text);
  if (size == 16) inet_ntop(AF_INET6, bytes, text, sizeof text);
  return text;
}

std::vector<std::string> alternative_names(X509* certificate) {
  std::vector<std::string> names;
  auto* list = static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(list); ++i) {
    const auto* name = sk_GENERAL_NAME_value(list, i);
    if (name->type == GEN_DNS)
      names.push_back(lowered({reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)),
                               static_cast<std::size_t>(ASN1_STRING_length(name->d.dNSName))}));
    if (name->type == GEN_IPADD)
      if (auto address = address_name(name->d.iPAddress); !address.empty()) names.push_back(std::move(address));
  }
  GENERAL_NAMES_free(list);
  return names;
}

}  // namespace

std::string openssl_complaint() {
  const auto code = ERR_peek_last_error();
  const char* reason = ERR_reason_error_string(code);
  ERR_clear_error();
  return reason ? reason : "no reason given";
}

Result<OpensslPtr<EVP_PKEY>> parse_private_key(std::string_view pem) {
  const auto source = pem_source(pem);
  OpensslPtr<EVP_PKEY> key(PEM_read_bio_PrivateKey(source.get(), nullptr, no_passphrase, nullptr));
  if (key) return key;
  const bool encrypted = pem.contains("ENCRYPTED");
  ERR_clear_error();
  return fail(Errc::invalid, encrypted ? "the private key is encrypted" : "the private key is not PEM of a key",
              encrypted ? "openssl pkey -in KEY -out CLEAR_KEY" : "it starts with -----BEGIN PRIVATE KEY-----");
}

Result<Certificate> Certificate::parse(std::string_view chain, std::string_view key) {
  auto parsed = std::make_shared<Parsed>();
  const auto source = pem_source(chain);
  parsed->own.reset(PEM_read_bio_X509_AUX(source.get(), nullptr, no_passphrase, nullptr));
  if (!parsed->own) {
    ERR_clear_error();
    return fail(Errc::invalid, "the certificate is not PEM of a certificate",
                "it starts with -----BEGIN CERTIFICATE-----, the server's own first");
  }
  parsed->above = sk_X509_new_null();
  while (auto* above = PEM_read_bio_X509(source.get(), nullptr, no_passphrase, nullptr))
    sk_X509_push(parsed->above, above);
  ERR_clear_error();  // the end of the text is one
  auto private_key = parse_private_key(key);
  if (!private_key) return fail(std::move(private_key.error()));
  parsed->key = std::move(*private_key);
  if (X509_check_private_key(parsed->own.get(), parsed->key.get()) != 1) {
    ERR_clear_error();
    return fail(Errc::invalid, "the private key belongs to another certificate",
                "the server's own certificate comes first in the chain");
  }
  if (EVP_PKEY_get_security_bits(parsed->key.get()) < 112)
    return fail(Errc::invalid, "the key is too weak for TLS", "RSA of 2048 bits or more, or an elliptic curve");
  parsed->names = alternative_names(parsed->own.get());
  parsed->not_before = wall_time(X509_get0_notBefore(parsed->own.get()));
  parsed->not_after = wall_time(X509_get0_notAfter(parsed->own.get()));
  Certificate certificate;
  certificate.parsed_ = std::move(parsed);
  return certificate;
}

const std::vector<std::string>& Certificate::names() const { return parsed_->names; }
WallTime Certificate::not_before() const { return parsed_->not_before; }
WallTime Certificate::not_after() const { return parsed_->not_after; }

bool Certificate::covers(std::string_view host) const {
  const auto wanted = lowered(host);
  const auto dot = wanted.find('.');
  return std::ranges::any_of(parsed_->names, [&](const std::string& name) {
    if (name == wanted) return true;
    return name.starts_with("*.") && dot != std::string::npos && dot > 0 &&
           std::string_view(wanted).substr(dot) == std::string_view(name).substr(1);
  });
}

ShownCertificates::ShownCertificates(std::map<std::string, Certificate, std::less<>> of_hosts,
                                     std::vector<Certificate> others)
    : by_name_(std::move(of_hosts)) {
  if (!others.empty()) first_ = others.front();
  for (const auto& certificate : others) {
    for (const auto& name : certificate.names()) {
      if (name.starts_with("*."))
        by_wildcard_.try_emplace(name.substr(2), certificate);
      else
        by_name_.try_emplace(name, certificate);
    }
  }
}

const Certificate* ShownCertificates::find(std::string_view host) const {
  const auto wanted = lowered(host);
  if (const auto found = by_name_.find(wanted); found != by_name_.end()) return &found->second;
  const auto dot = wanted.find('.');
  if (dot != std::string::npos && dot > 0)
    if (const auto found = by_wildcard_.find(std::string_view(wanted).substr(dot + 1)); found != by_wildcard_.end())
      return &found->second;
  return first_ ? &*first_ : nullptr;
}

}  // namespace wick::http
