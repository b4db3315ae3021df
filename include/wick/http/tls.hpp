// TLS for listeners and towards servers: TLS 1.2 (RFC 5246) and 1.3 (RFC 8446) with forward secrecy only, the
// certificate by the name a client asks for (RFC 6066), the protocol by ALPN (RFC 7301), session tickets under keys
// that change by the hour.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/base/time.hpp"

namespace wick::http {

/// A certificate with what is above it and its private key; a value, cheap to copy.
class Certificate {
 public:
  /// PEM of the chain, the server's own certificate first, and of its key. Errors: invalid (no PEM, an encrypted key, a
  /// key of another certificate, a key too weak for TLS).
  static Result<Certificate> parse(std::string_view chain, std::string_view key);

  /// Subject alternative names, lower case: "hello.example.com", "*.example.com", "127.0.0.1".
  const std::vector<std::string>& names() const;
  WallTime not_before() const;
  WallTime not_after() const;
  /// Whether it is for `host`: a wildcard stands for one label (RFC 6125 6.4.3).
  bool covers(std::string_view host) const;

  class Parsed;
  const Parsed& parsed() const { return *parsed_; }

 private:
  std::shared_ptr<const Parsed> parsed_;
};

/// What TLS listeners have in common. Shared by servers on several loops.
class TlsServer {
 public:
  /// Errors: internal (the library refuses its own settings).
  static Result<std::shared_ptr<TlsServer>> make();
  ~TlsServer();
  TlsServer(const TlsServer&) = delete;

  /// From the next handshake on, from any thread: `of_hosts` for these names exactly, `others` for the names they carry
  /// (exact ones before wildcards, earlier ones first). A client that names no host, or one without a certificate, gets
  /// the first of `others`, and where there is none the alert unrecognized_name.
  void show(std::map<std::string, Certificate, std::less<>> of_hosts, std::vector<Certificate> others);
  /// The answers to clients that offer "acme-tls/1" and nothing else, by the name they ask for (RFC 8737 3). Such a
  /// connection ends after its handshake; for a name without an answer the handshake fails. From any thread.
  void show_challenges(std::map<std::string, Certificate, std::less<>> challenges);

  class Impl;
  Impl& impl() { return *impl_; }

 private:
  TlsServer();
  std::unique_ptr<Impl> impl_;
};

/// What we trust where we are the client: the authorities that the machine trusts (OpenSSL's default places, which
/// SSL_CERT_FILE and SSL_CERT_DIR change), and `authorities` besides.
class TlsClient {
 public:
  /// `authorities`: PEM of certificates. Errors: internal (the library refuses its own settings), invalid (no PEM of a
  /// certificate).
  static Result<std::shared_ptr<TlsClient>> make(std::string_view authorities = {});
  ~TlsClient();
  TlsClient(const TlsClient&) = delete;

  class Impl;
  Impl& impl() { return *impl_; }

 private:
  TlsClient();
  std::unique_ptr<Impl> impl_;
};

/// A certificate authority of this machine's own, for names that no public one would sign: "hello.default.localhost".
class LocalAuthority {
 public:
  /// A new key and a self-signed certificate, good for ten years.
  static Result<LocalAuthority> create(WallTime now);
  static Result<LocalAuthority> parse(std::string_view certificate, std::string_view key);

  /// What clients must trust, as PEM.
  const std::string& certificate() const { return certificate_; }
  /// As PEM; to be kept where only the daemon reads it.
  const std::string& key() const { return key_; }
  /// A certificate for these names and addresses, good for `days` from an hour ago. Errors: invalid (not a name),
  /// internal.
  Result<Certificate> issue(const std::vector<std::string>& names, WallTime now, int days = 90) const;

 private:
  std::string certificate_;
  std::string key_;
};

}  // namespace wick::http
