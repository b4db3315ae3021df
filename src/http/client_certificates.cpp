#include "wick/http/client_certificates.hpp"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <algorithm>

#include "tls_server.hpp"
#include "tls_session.hpp"
#include "wick/base/digest.hpp"
#include "wick/base/text.hpp"
#include "wire_exchange.hpp"

namespace wick::http {

namespace {

void free_asked(void*, void* asked, CRYPTO_EX_DATA*, int, long, void*) {
  delete static_cast<ClientAuthorities*>(asked);
}

/// Where a session keeps whom it asks for: the server's own list may change meanwhile.
int place_of_asked() {
  static const int place = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, free_asked);
  return place;
}

std::string der_of(X509* certificate) {
  unsigned char* bytes = nullptr;
  const int size = i2d_X509(certificate, &bytes);
  std::string der(reinterpret_cast<const char*>(bytes), size > 0 ? static_cast<std::size_t>(size) : 0);
  OPENSSL_free(bytes);
  return der;
}

/// RFC 2253, which escapes quotes, controls and what is not ASCII.
std::string subject_of(X509* certificate) {
  const OpensslPtr<BIO> bio(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(bio.get(), X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
  char* bytes = nullptr;
  const auto size = BIO_get_mem_data(bio.get(), &bytes);
  return {bytes, static_cast<std::size_t>(size)};
}

/// ";DNS=a.example;URI=spiffe://…": those without anything that Envoy's format would read otherwise.
std::string alternatives_of(X509* certificate) {
  std::string text;
  auto* list = static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(list); ++i) {
    const auto* name = sk_GENERAL_NAME_value(list, i);
    if (name->type != GEN_DNS && name->type != GEN_URI) continue;
    const std::string_view value(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.ia5)),
                                 static_cast<std::size_t>(ASN1_STRING_length(name->d.ia5)));
    const bool plain = std::ranges::all_of(
        value, [](char c) { return c > ' ' && c < 0x7f && c != '"' && c != ';' && c != ',' && c != '='; });
    if (plain) text.append(name->type == GEN_DNS ? ";DNS=" : ";URI=").append(value);
  }
  GENERAL_NAMES_free(list);
  return text;
}

}  // namespace

const std::string& ClientAuthorities::id() const { return parsed_->id; }

Result<ClientAuthorities> ClientAuthorities::parse(std::string_view pem) {
  auto parsed = std::make_shared<Parsed>();
  parsed->id = Digest::of(pem).hex();
  parsed->trusted = X509_STORE_new();
  parsed->names = sk_X509_NAME_new_null();
  const OpensslPtr<BIO> source(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  int count = 0;
  while (const OpensslPtr<X509> authority{PEM_read_bio_X509(source.get(), nullptr, nullptr, nullptr)}) {
    count += X509_STORE_add_cert(parsed->trusted, authority.get());
    sk_X509_NAME_push(parsed->names, X509_NAME_dup(X509_get_subject_name(authority.get())));
  }
  ERR_clear_error();  // the end of the text is one
  if (count == 0) return fail(Errc::invalid, "not PEM of a certificate", "it starts with -----BEGIN CERTIFICATE-----");
  ClientAuthorities authorities;
  authorities.parsed_ = std::move(parsed);
  return authorities;
}

void ask_client(SSL* ssl, const ClientAuthorities& authorities) {
  const auto& parsed = authorities.parsed();
  SSL_set_options(ssl, SSL_OP_NO_TICKET);
  SSL_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_set1_verify_cert_store(ssl, parsed.trusted);
  SSL_set_client_CA_list(ssl, SSL_dup_CA_list(parsed.names));
  delete static_cast<ClientAuthorities*>(SSL_get_ex_data(ssl, place_of_asked()));
  SSL_set_ex_data(ssl, place_of_asked(), new ClientAuthorities(authorities));
}

std::shared_ptr<const VerifiedClient> TlsSession::verified_client() const {
  const auto* asked = static_cast<const ClientAuthorities*>(SSL_get_ex_data(ssl_, place_of_asked()));
  if (!asked || SSL_get_verify_result(ssl_) != X509_V_OK) return nullptr;
  const OpensslPtr<X509> certificate(SSL_get1_peer_certificate(ssl_));
  if (!certificate) return nullptr;
  const auto der = der_of(certificate.get());
  auto client = std::make_shared<VerifiedClient>();
  client->authorities = asked->id();
  client->lines = "Client-Cert: :" + base64_encode(der) +
                  ":\r\nX-Forwarded-Client-Cert: Hash=" + Digest::of(der).hex() + ";Subject=\"" +
                  subject_of(certificate.get()) + "\"" + alternatives_of(certificate.get()) + "\r\n";
  return client;
}

void require_clients(TlsServer& server, std::map<std::string, ClientAuthorities, std::less<>> of_hosts) {
  server.impl().require_clients(std::move(of_hosts));
}

std::shared_ptr<const VerifiedClient> verified_client(Exchange& exchange) {
  const auto* wire = exchange.wire();
  return wire ? wire->verified_client() : nullptr;
}

}  // namespace wick::http
