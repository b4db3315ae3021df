#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>

#include "tls_server.hpp"

namespace wick::http {

Result<void> TlsClient::Impl::set_up(std::string_view authorities) {
  context_.reset(SSL_CTX_new(TLS_client_method()));
  auto* context = context_.get();
  const bool set = context && SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
                   SSL_CTX_set_default_verify_paths(context) == 1;
  if (!set) return fail(Errc::internal, "TLS: " + openssl_complaint());
  const OpensslPtr<BIO> source(BIO_new_mem_buf(authorities.data(), static_cast<int>(authorities.size())));
  int trusted = 0;
  while (const OpensslPtr<X509> authority{PEM_read_bio_X509(source.get(), nullptr, nullptr, nullptr)})
    trusted += X509_STORE_add_cert(SSL_CTX_get_cert_store(context), authority.get());
  ERR_clear_error();  // the end of the text is one
  if (!authorities.empty() && trusted == 0)
    return fail(Errc::invalid, "not PEM of a certificate", "it starts with -----BEGIN CERTIFICATE-----");
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(context,
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(context, 1);
  return {};
}

Result<SSL*> TlsClient::Impl::begin(const std::string& host) {
  auto* ssl = SSL_new(context_.get());
  if (!ssl) return fail(Errc::internal, "TLS: " + openssl_complaint());
  static constexpr unsigned char http1[] = "\x08http/1.1";
  unsigned char bytes[16];
  const bool address = inet_pton(AF_INET, host.c_str(), bytes) == 1 || inet_pton(AF_INET6, host.c_str(), bytes) == 1;
  const bool set = address ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host.c_str()) == 1
                           : SSL_set1_host(ssl, host.c_str()) == 1 && SSL_set_tlsext_host_name(ssl, host.c_str()) == 1;
  SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  if (!set || SSL_set_alpn_protos(ssl, http1, sizeof http1 - 1) != 0) {
    SSL_free(ssl);
    return fail(Errc::invalid, "TLS cannot name the host '" + host + "'");
  }
  SSL_set_connect_state(ssl);
  return ssl;
}

TlsClient::TlsClient() : impl_(std::make_unique<Impl>()) {}
TlsClient::~TlsClient() = default;

Result<std::shared_ptr<TlsClient>> TlsClient::make(std::string_view authorities) {
  std::shared_ptr<TlsClient> client(new TlsClient);
  if (auto set = client->impl_->set_up(authorities); !set) return fail(std::move(set.error()));
  return client;
}

}  // namespace wick::http
