#include "wick/store/vault.hpp"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <new>
#include <optional>
#include <stdexcept>

#include "wick/base/digest.hpp"
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

namespace {

std::optional<std::string> parse_key(std::string_view text) {
  if (text.size() != Vault::key_bytes * 2) return std::nullopt;
  std::string key;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int high = hex_digit(text[i]);
    const int low = hex_digit(text[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    key += static_cast<char>(high * 16 + low);
  }
  return key;
}

std::optional<std::string> open_with(const std::string& key, const std::string& sealed, std::string_view about) {
  const auto size = sealed.size() - nonce_bytes - tag_bytes;
  std::string plain(size, '\0');
  std::string tag = sealed.substr(nonce_bytes + size);
  const auto context = make_context();
  int length = 0;
  must(EVP_DecryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, bytes(std::string_view(key)),
                          bytes(std::string_view(sealed))));
  must(EVP_DecryptUpdate(context.get(), nullptr, &length, bytes(about), static_cast<int>(about.size())));
  must(EVP_DecryptUpdate(context.get(), bytes(plain), &length, bytes(std::string_view(sealed)) + nonce_bytes,
                         static_cast<int>(size)));
  must(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_SET_TAG, tag_bytes, bytes(tag)));
  if (EVP_DecryptFinal_ex(context.get(), bytes(plain) + length, &length) != 1) return std::nullopt;
  return plain;
}

/// Nonce, text and tag; nullopt for what was not sealed.
std::optional<std::string> sealed_bytes(std::string_view text) {
  auto sealed = Vault::is_sealed(text) ? base64_decode(text.substr(mark.size())) : std::nullopt;
  if (!sealed || sealed->size() < nonce_bytes + tag_bytes) return std::nullopt;
  return sealed;
}

}  // namespace

Result<Vault> Vault::from_hex(std::string_view keys_hex) {
  Vault vault({});
  for (const auto line : split(keys_hex, '\n')) {
    if (trim(line).empty()) continue;
    auto key = parse_key(trim(line));
    if (!key) return fail(Errc::invalid, "a key has 64 hex digits", "make one: openssl rand -hex 32");
    vault.keys_.push_back(std::move(*key));
  }
  if (vault.keys_.empty()) return fail(Errc::invalid, "a key has 64 hex digits", "make one: openssl rand -hex 32");
  if (vault.keys_.size() > keys_max)
    return fail(Errc::invalid, fmt::format("{} keys, at most {} are read", vault.keys_.size(), keys_max),
                "wick secret rotate-key --drop-old leaves the one in use");
  return vault;
}

Vault::~Vault() {
  for (auto& key : keys_) OPENSSL_cleanse(key.data(), key.size());
}

std::string Vault::seal(std::string_view plain, std::string_view about) const {
  std::string sealed(nonce_bytes + plain.size() + tag_bytes, '\0');
  must(RAND_bytes(bytes(sealed), nonce_bytes));
  const auto context = make_context();
  int length = 0;
  must(EVP_EncryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, bytes(std::string_view(keys_.front())),
                          bytes(sealed)));
  must(EVP_EncryptUpdate(context.get(), nullptr, &length, bytes(about), static_cast<int>(about.size())));
  must(EVP_EncryptUpdate(context.get(), bytes(sealed) + nonce_bytes, &length, bytes(plain),
                         static_cast<int>(plain.size())));
  must(EVP_EncryptFinal_ex(context.get(), bytes(sealed) + nonce_bytes + length, &length));
  must(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_GET_TAG, tag_bytes, bytes(sealed) + nonce_bytes + plain.size()));
  return std::string(mark) + base64_encode(sealed);
}

Result<std::string> Vault::open(std::string_view text, std::string_view about) const {
  if (const auto sealed = sealed_bytes(text))
    for (const auto& key : keys_)
      if (auto plain = open_with(key, *sealed, about)) return std::move(*plain);
  return fail(Errc::corrupt, "an encrypted value cannot be read: it was changed, or the key is another",
              "start wick with the key it was written with");
}

bool Vault::is_newest(std::string_view text, std::string_view about) const {
  const auto sealed = sealed_bytes(text);
  return sealed && open_with(keys_.front(), *sealed, about).has_value();
}

std::string Vault::fingerprint() const { return Digest::of("wick secret key\n" + keys_.front()).hex().substr(0, 16); }

bool Vault::is_sealed(std::string_view text) { return text.starts_with(mark); }

}  // namespace wick::store
