// Digests by which a registry knows its blobs: "sha256:" or "sha512:" and lower-case hex (OCI image-spec descriptor.md,
// "Digests"). What Wick makes itself is known by SHA-256 alone (wick/base/digest.hpp).
#pragma once

#include <compare>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "wick/base/digest.hpp"
#include "wick/base/error.hpp"

namespace wick::image {

enum class HashAlgorithm { sha256, sha512 };

/// "sha256", "sha512". Errors: invalid for any other.
Result<HashAlgorithm> parse_algorithm(std::string_view text);
std::string_view to_string(HashAlgorithm algorithm);

class BlobDigest {
 public:
  BlobDigest(HashAlgorithm algorithm, std::string hex) : algorithm_(algorithm), hex_(std::move(hex)) {}
  BlobDigest(const Digest& digest) : BlobDigest(HashAlgorithm::sha256, digest.hex()) {}
  /// Errors: invalid: another algorithm, another length, other digits.
  static Result<BlobDigest> parse(std::string_view text);
  static BlobDigest of(HashAlgorithm algorithm, std::string_view bytes);
  /// As parse(), with '-' for the ':': what file names have.
  static Result<BlobDigest> from_file_name(std::string_view name);

  HashAlgorithm algorithm() const { return algorithm_; }
  const std::string& hex() const { return hex_; }
  std::string text() const;
  std::string file_name() const;
  /// As the rest of Wick knows it; nullopt for SHA-512.
  std::optional<Digest> sha256() const;

  auto operator<=>(const BlobDigest&) const = default;

 private:
  HashAlgorithm algorithm_;
  std::string hex_;
};

/// Streaming, of either kind.
class BlobHash {
 public:
  explicit BlobHash(HashAlgorithm algorithm);
  ~BlobHash();
  BlobHash(BlobHash&&) noexcept;
  BlobHash& operator=(BlobHash&&) noexcept;

  HashAlgorithm algorithm() const { return algorithm_; }
  BlobHash& update(std::string_view bytes);
  /// Ends the stream; the object may only be destroyed afterwards.
  BlobDigest finish();

 private:
  struct Context;
  HashAlgorithm algorithm_;
  std::unique_ptr<Context> context_;
};

}  // namespace wick::image
