#include "wick/store/vault.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <new>
#include <stdexcept>

#include "wick/base/text.hpp"

namespace wick::store {

namespace {

constexpr std::string_view mark = "sealed:1:";
constexpr std::size_t nonce_bytes = 12;
constexpr std::size_t tag_bytes = 16;

struct FreeContext {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_CIPHER_CTX, FreeContext>;

unsigned char* bytes(std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); }
const unsigned char* bytes(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }

void must(int done) {
  if (done != 1) throw std::runtime_error("OpenSSL refused AES-256-GCM");
}

Context make_context() {
  Context context(EVP_CIPHER_CTX_new());
  if (!context) throw std::bad_alloc();
  return context;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

Result<Vault> Vault::from_hex(std::string_view key_hex) {
  const auto text = trim(key_hex);
  std::string key;
  for (std::size_t i = 0; i + 1 < text.size() && key.size() < key_bytes; i += 2) {
    const int high = hex_digit(text[i]);
    const int low = hex_digit(text[i + 1]);
    if (high < 0 || low < 0) break;
    key += static_cast<char>(high * 16 + low);
  }
  if (text.size() != key_bytes * 2 || key.size() != key_bytes)
    return fail(Errc::invalid, "a key has 64 hex digits", "make one: openssl rand -hex 32");
  return Vault(std::move(key));
}

Vault::~Vault() { OPENSSL_cleanse(key_.data(), key_.size()); }

std::string Vault::seal(std::string_view plain, std::string_view about) const {
  std::string sealed(nonce_bytes + plain.size() + tag_bytes, '\0');
  must(RAND_bytes(bytes(sealed), nonce_bytes));
  const auto context = make_context();
  int length = 0;
  must(EVP_EncryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, bytes(std::string_view(key_)), bytes(sealed)));
  must(EVP_EncryptUpdate(context.get(), nullptr, &length, bytes(about), static_cast<int>(about.size())));
  must(EVP_EncryptUpdate(context.get(), bytes(sealed) + nonce_bytes, &length, bytes(plain),
                         static_cast<int>(plain.size())));
  must(EVP_EncryptFinal_ex(context.get(), bytes(sealed) + nonce_bytes + length, &length));
  must(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_GET_TAG, tag_bytes, bytes(sealed) + nonce_bytes + plain.size()));
  return std::string(mark) + base64_encode(sealed);
}

Result<std::string> Vault::open(std::string_view text, std::string_view about) const {
  const auto damaged = [] {
    return fail(Errc::corrupt, "an encrypted value cannot be read: it was changed, or the key is another",
                "start wick with the key it was written with");
  };
  auto sealed = is_sealed(text) ? base64_decode(text.substr(mark.size())) : std::nullopt;
  if (!sealed || sealed->size() < nonce_bytes + tag_bytes) return damaged();
  const auto size = sealed->size() - nonce_bytes - tag_bytes;
  std::string plain(size, '\0');
  const auto context = make_context();
  int length = 0;
  must(EVP_DecryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, bytes(std::string_view(key_)), bytes(*sealed)));
  must(EVP_DecryptUpdate(context.get(), nullptr, &length, bytes(about), static_cast<int>(about.size())));
  must(EVP_DecryptUpdate(context.get(), bytes(plain), &length, bytes(*sealed) + nonce_bytes, static_cast<int>(size)));
  must(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_SET_TAG, tag_bytes, bytes(*sealed) + nonce_bytes + size));
  if (EVP_DecryptFinal_ex(context.get(), bytes(plain) + length, &length) != 1) return damaged();
  return plain;
}

bool Vault::is_sealed(std::string_view text) { return text.starts_with(mark); }

}  // namespace wick::store
