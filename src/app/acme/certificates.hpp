// What an ACME client makes itself: the request for a certificate, and the certificate that answers TLS-ALPN-01.
#pragma once

#include <string>
#include <string_view>

#include "wick/http/tls.hpp"

namespace wick::app::acme {

struct CertificateRequest {
  std::string key;  // PEM
  std::string der;  // PKCS#10 (RFC 2986)
};

/// With a new key, for one name. Errors: invalid (no name of DNS), internal.
Result<CertificateRequest> request_certificate(const std::string& host);

/// RFC 8737 3: self-signed, for this name alone, with the digest of the key authorization in a critical extension.
/// Errors: invalid (no name of DNS), internal.
Result<http::Certificate> challenge_certificate(const std::string& host, std::string_view key_authorization,
                                                WallTime now);

}  // namespace wick::app::acme
