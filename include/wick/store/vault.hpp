// What must not be readable on disk, encrypted: AES-256-GCM (NIST SP 800-38D) with a key that is kept elsewhere.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "wick/base/error.hpp"

namespace wick::store {

class Vault {
 public:
  static constexpr std::size_t key_bytes = 32;

  /// `key_hex`: 64 hex digits, white space around them ignored. Errors: invalid.
  static Result<Vault> from_hex(std::string_view key_hex);
  ~Vault();
  Vault(Vault&&) noexcept = default;
  Vault& operator=(Vault&&) noexcept = default;

  /// Text that only open() with the same `about` can read again. A new nonce each time: 2^32 values a key are safe.
  std::string seal(std::string_view plain, std::string_view about) const;
  /// Errors: corrupt (changed, of another key, or about something else).
  Result<std::string> open(std::string_view sealed, std::string_view about) const;
  static bool is_sealed(std::string_view text);

 private:
  explicit Vault(std::string key) : key_(std::move(key)) {}
  std::string key_;
};

}  // namespace wick::store
