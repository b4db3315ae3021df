#include "wick/base/digest.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>
#include <new>

#include "wick/base/text.hpp"

namespace wick {

struct Sha256::Context {
  struct Free {
    void operator()(EVP_MD_CTX* md) const { EVP_MD_CTX_free(md); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> md{EVP_MD_CTX_new()};
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  if (!context_->md || EVP_DigestInit_ex(context_->md.get(), EVP_sha256(), nullptr) != 1) throw std::bad_alloc();
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

Sha256& Sha256::update(std::string_view bytes) {
  EVP_DigestUpdate(context_->md.get(), bytes.data(), bytes.size());
  return *this;
}

Digest Sha256::finish() {
  Digest::Bytes bytes{};
  unsigned length = 0;
  EVP_DigestFinal_ex(context_->md.get(), bytes.data(), &length);
  return Digest(bytes);
}

Digest Digest::of(std::string_view bytes) { return Sha256().update(bytes).finish(); }

std::string Digest::hex() const { return to_hex({reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}); }

Result<Digest> Digest::parse(std::string_view text) {
  constexpr std::string_view prefix = "sha256:";
  const auto wrong = [&] {
    return fail(Errc::invalid,
                "a digest is sha256: and 64 lower-case hex digits, not '" + std::string(text.substr(0, 80)) + "'");
  };
  if (!text.starts_with(prefix) || text.size() != prefix.size() + 2 * size) return wrong();
  Bytes bytes{};
  for (std::size_t i = 0; i < 2 * size; ++i) {
    const char c = text[prefix.size() + i];
    int nibble = -1;
    if (c >= '0' && c <= '9') nibble = c - '0';
    if (c >= 'a' && c <= 'f') nibble = c - 'a' + 10;
    if (nibble < 0) return wrong();
    bytes[i / 2] = static_cast<std::uint8_t>(bytes[i / 2] << 4 | nibble);
  }
  return Digest(bytes);
}

std::string hmac_sha256(std::string_view key, std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> mac{};
  unsigned size = 0;
  if (!HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
            reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), mac.data(), &size))
    throw std::bad_alloc();
  return {reinterpret_cast<const char*>(mac.data()), size};
}

bool same_secret(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace wick
