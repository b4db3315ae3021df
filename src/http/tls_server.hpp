// Behind wick/http/tls.hpp: OpenSSL's objects.
#pragma once

#include <openssl/ssl.h>

#include <array>
#include <atomic>
#include <mutex>
#include <optional>

#include "wick/http/client_certificates.hpp"
#include "wick/http/tls.hpp"

namespace wick::http {

struct OpensslDelete {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(BIO* bio) const { BIO_free(bio); }
};
template <class T>
using OpensslPtr = std::unique_ptr<T, OpensslDelete>;

/// The newest of OpenSSL's complaints, for people; empties its queue.
std::string openssl_complaint();
Result<OpensslPtr<EVP_PKEY>> parse_private_key(std::string_view pem);

class Certificate::Parsed {
 public:
  OpensslPtr<X509> own;
  OpensslPtr<EVP_PKEY> key;
  STACK_OF(X509) * above = nullptr;
  std::vector<std::string> names;
  WallTime not_before, not_after;

  Parsed() = default;
  Parsed(const Parsed&) = delete;
  ~Parsed() { sk_X509_pop_free(above, X509_free); }
};

class ClientAuthorities::Parsed {
 public:
  std::string id;
  X509_STORE* trusted = nullptr;
  STACK_OF(X509_NAME) * names = nullptr;  // what a client is told to choose by

  Parsed() = default;
  Parsed(const Parsed&) = delete;
  ~Parsed() {
    X509_STORE_free(trusted);
    sk_X509_NAME_pop_free(names, X509_NAME_free);
  }
};

/// Has the session ask its client for a certificate of these. Before the server's part of the handshake.
void ask_client(SSL* ssl, const ClientAuthorities& authorities);

/// Certificates by name; never changed once it is shown.
class ShownCertificates {
 public:
  ShownCertificates() = default;
  ShownCertificates(std::map<std::string, Certificate, std::less<>> of_hosts, std::vector<Certificate> others);
  const Certificate* find(std::string_view host) const;

 private:
  std::map<std::string, Certificate, std::less<>> by_name_;      // exact
  std::map<std::string, Certificate, std::less<>> by_wildcard_;  // by what follows "*."
  std::optional<Certificate> first_;
};

/// What a validation of TLS-ALPN-01 asks for, and what is answered to it (RFC 8737).
inline constexpr std::string_view acme_protocol = "acme-tls/1";

/// The keys that session tickets are sealed with (RFC 5077 4): a new one each hour, older ones taken for two more.
class TicketKeys {
 public:
  struct Key {
    std::array<unsigned char, 16> name;
    std::array<unsigned char, 32> cipher;
    std::array<unsigned char, 32> mac;
  };
  Key newest(TimePoint now);
  struct Found {
    Key key;
    bool newest = false;
  };
  std::optional<Found> find(const unsigned char* name, TimePoint now);

 private:
  void rotate(TimePoint now);
  std::mutex mutex_;
  std::vector<std::pair<TimePoint, Key>> keys_;  // newest first, with when it was made
};

class TlsClient::Impl {
 public:
  Result<void> set_up(std::string_view authorities);
  /// A session in the client's role, that ends with an error unless the server proves to be `host`.
  Result<SSL*> begin(const std::string& host);

 private:
  OpensslPtr<SSL_CTX> context_;
};

class TlsServer::Impl {
 public:
  Result<void> set_up();
  /// A session in the server's role.
  Result<SSL*> begin();
  void show(std::shared_ptr<const ShownCertificates> shown);
  std::shared_ptr<const ShownCertificates> shown();
  void show_challenges(std::map<std::string, Certificate, std::less<>> challenges);
  bool has_challenges() const { return any_challenge_.load(std::memory_order_acquire); }
  /// For a name in lower case.
  std::optional<Certificate> challenge(std::string_view host);
  void require_clients(std::map<std::string, ClientAuthorities, std::less<>> of_hosts);
  bool requires_clients() const { return any_client_.load(std::memory_order_acquire); }
  /// For a name in lower case.
  std::optional<ClientAuthorities> authorities(std::string_view host);
  TicketKeys& ticket_keys() { return ticket_keys_; }

 private:
  OpensslPtr<SSL_CTX> context_;
  TicketKeys ticket_keys_;
  std::mutex mutex_;
  std::shared_ptr<const ShownCertificates> shown_ = std::make_shared<ShownCertificates>();
  std::atomic<bool> any_challenge_ = false;
  std::map<std::string, Certificate, std::less<>> challenges_;
  std::atomic<bool> any_client_ = false;
  std::map<std::string, ClientAuthorities, std::less<>> clients_;
};

}  // namespace wick::http
