// The key of an account with a certificate authority, and what it signs: JWS (RFC 7515) with ES256 (RFC 7518 3.4).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "wick/base/error.hpp"

namespace wick::app::acme {

std::string sha256(std::string_view bytes);
/// RFC 7638 3: of a key whose members are in order and without spaces.
std::string jwk_thumbprint(std::string_view jwk);

/// A JWS in flattened JSON over a protected header, which is JSON, by HMAC with SHA-256 (RFC 7518 3.2).
std::string mac_jws(std::string_view header, std::string_view payload, std::string_view key);

/// ECDSA on P-256; a value, cheap to copy.
class AccountKey {
 public:
  static Result<AccountKey> create();
  /// Errors: invalid (not PEM of a private key, or of another curve).
  static Result<AccountKey> parse(std::string_view pem);

  /// PKCS#8 as PEM; to be kept where only the daemon reads it.
  const std::string& pem() const { return pem_; }
  /// The public half (RFC 7518 6.2.1), members in the order of RFC 7638 3.2.
  const std::string& jwk() const { return jwk_; }
  std::string thumbprint() const { return jwk_thumbprint(jwk_); }
  /// What a challenge is answered with (RFC 8555 8.1).
  std::string authorization(std::string_view token) const { return std::string(token) + "." + thumbprint(); }

  /// The two numbers of the signature, 64 bytes (RFC 7518 3.4). Errors: internal.
  Result<std::string> sign(std::string_view bytes) const;
  /// A JWS in flattened JSON (RFC 7515 7.2.2) over a protected header, which is JSON. Errors: internal.
  Result<std::string> jws(std::string_view header, std::string_view payload) const;

 private:
  std::string pem_;
  std::string jwk_;
};

}  // namespace wick::app::acme
