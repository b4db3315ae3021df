// Mutual TLS of the server (RFC 8446 4.3.2): which names ask clients for a certificate, and who a client proved to be.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "wick/base/error.hpp"
#include "wick/http/handler.hpp"
#include "wick/http/tls.hpp"

namespace wick::http {

/// Certificates of authorities whose clients are let in; a value, cheap to copy.
class ClientAuthorities {
 public:
  /// PEM of one or more certificates. Errors: invalid (no PEM of a certificate).
  static Result<ClientAuthorities> parse(std::string_view pem);
  /// SHA-256 of the PEM, in hex: two with the same let the same clients in.
  const std::string& id() const;

  class Parsed;
  const Parsed& parsed() const { return *parsed_; }

 private:
  std::shared_ptr<const Parsed> parsed_;
};

/// From the next handshake on, from any thread: a client that asks for one of these names must show a certificate of
/// its authorities, good for clients, or the handshake fails. Such sessions are not resumed. Names in lower case.
void require_clients(TlsServer& server, std::map<std::string, ClientAuthorities, std::less<>> of_hosts);

/// Of the peer of this exchange's connection.
struct VerifiedClient {
  std::string authorities;  // id() of what vouched for it
  std::string lines;        // what its requests carry on: Client-Cert (RFC 9440) and X-Forwarded-Client-Cert (Envoy's)
};
/// nullptr: no client certificate was asked for, or the connection is in clear.
std::shared_ptr<const VerifiedClient> verified_client(Exchange& exchange);

}  // namespace wick::http
