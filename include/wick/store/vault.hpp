// What must not be readable on disk, encrypted: AES-256-GCM (NIST SP 800-38D) with a key that is kept elsewhere.
// While keys are rotated there are several: the first seals, each of them opens.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"

namespace wick::store {

class Vault {
 public:
  static constexpr std::size_t key_bytes = 32;
  static constexpr std::size_t keys_max = 8;

  /// `keys_hex`: one to eight keys, newest first, a line each of 64 hex digits; white space around them and empty lines
  /// are ignored. Errors: invalid.
  static Result<Vault> from_hex(std::string_view keys_hex);
  ~Vault();
  Vault(Vault&&) noexcept = default;
  Vault& operator=(Vault&&) = delete;

  /// Text that only open() with the same `about` can read again. A new nonce each time: 2^32 values a key are safe.
  std::string seal(std::string_view plain, std::string_view about) const;
  /// Errors: corrupt (changed, of another key, or about something else).
  Result<std::string> open(std::string_view sealed, std::string_view about) const;
  static bool is_sealed(std::string_view text);
  /// True for what the newest key sealed.
  bool is_newest(std::string_view sealed, std::string_view about) const;
  std::size_t keys() const { return keys_.size(); }
  /// Names the newest key and gives nothing away: 16 hex digits of a hash of it.
  std::string fingerprint() const;

 private:
  explicit Vault(std::vector<std::string> keys) : keys_(std::move(keys)) {}
  std::vector<std::string> keys_;  // newest first
};

}  // namespace wick::store
