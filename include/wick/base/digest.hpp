// SHA-256 digests as OCI writes them: "sha256:" and 64 hex digits (OCI image-spec descriptor.md, "Digests").
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "wick/base/error.hpp"

namespace wick {

class Digest {
 public:
  static constexpr std::size_t size = 32;
  using Bytes = std::array<std::uint8_t, size>;

  Digest() = default;
  explicit Digest(const Bytes& bytes) : bytes_(bytes) {}
  /// Accepts "sha256:<64 lower-case hex>"; anything else is Errc::invalid.
  static Result<Digest> parse(std::string_view text);
  static Digest of(std::string_view bytes);

  const Bytes& bytes() const { return bytes_; }
  std::string hex() const;
  std::string text() const { return "sha256:" + hex(); }
  /// All zero: the value of a default-constructed Digest, never the digest of anything we meet.
  bool empty() const { return bytes_ == Bytes{}; }

  auto operator<=>(const Digest&) const = default;

 private:
  Bytes bytes_{};
};

/// Streaming SHA-256.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  Sha256& update(std::string_view bytes);
  /// Ends the stream; the object may only be destroyed afterwards.
  Digest finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

/// HMAC with SHA-256 (RFC 2104): 32 bytes.
std::string hmac_sha256(std::string_view key, std::string_view bytes);
/// Takes as long for what differs at the first byte as at the last.
bool same_secret(std::string_view a, std::string_view b);

}  // namespace wick

template <>
struct std::hash<wick::Digest> {
  std::size_t operator()(const wick::Digest& digest) const noexcept {
    std::size_t value = 0;
    for (std::size_t i = 0; i < sizeof value; ++i) value = value << 8 | digest.bytes()[i];
    return value;
  }
};
