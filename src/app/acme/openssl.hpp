// OpenSSL's objects for this folder.
#pragma once

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <string>
#include <string_view>

#include "wick/base/error.hpp"

namespace wick::app::acme {

struct FreeOpenssl {
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(BIGNUM* number) const { BN_free(number); }
  void operator()(ECDSA_SIG* signature) const { ECDSA_SIG_free(signature); }
  void operator()(EVP_MD_CTX* digest) const { EVP_MD_CTX_free(digest); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(X509_REQ* request) const { X509_REQ_free(request); }
};
template <class T>
using Openssl = std::unique_ptr<T, FreeOpenssl>;

/// What OpenSSL complained about last; empties its queue.
std::unexpected<Error> refused_by_library(std::string_view what);
/// A new key on P-256.
Result<Openssl<EVP_PKEY>> new_key();
/// Errors: invalid.
Result<Openssl<EVP_PKEY>> read_key(std::string_view pem);
/// PKCS#8.
std::string to_pem(EVP_PKEY* key);
std::string to_pem(X509* certificate);

}  // namespace wick::app::acme
