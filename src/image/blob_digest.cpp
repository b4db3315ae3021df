#include "wick/image/blob_digest.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>
#include <new>

#include "wick/base/text.hpp"

namespace wick::image {

namespace {

std::size_t hex_digits(HashAlgorithm algorithm) { return algorithm == HashAlgorithm::sha256 ? 64 : 128; }

const EVP_MD* method_of(HashAlgorithm algorithm) {
  return algorithm == HashAlgorithm::sha256 ? EVP_sha256() : EVP_sha512();
}

Result<BlobDigest> parse_separated(std::string_view text, char separator) {
  const auto at = text.find(separator);
  const auto algorithm = parse_algorithm(text.substr(0, at));
  const auto hex = at == std::string_view::npos ? std::string_view() : text.substr(at + 1);
  if (!algorithm || hex.size() != hex_digits(*algorithm) ||
      hex.find_first_not_of("0123456789abcdef") != std::string_view::npos)
    return fail(Errc::invalid,
                fmt::format("a digest is sha256: and 64 or sha512: and 128 lower-case hex digits, not '{}'",
                            printable(text, 80)));
  return BlobDigest(*algorithm, std::string(hex));
}

}  // namespace

Result<HashAlgorithm> parse_algorithm(std::string_view text) {
  if (text == "sha256") return HashAlgorithm::sha256;
  if (text == "sha512") return HashAlgorithm::sha512;
  return fail(Errc::invalid, fmt::format("digests are made by sha256 or sha512, not by '{}'", printable(text, 80)));
}

std::string_view to_string(HashAlgorithm algorithm) { return algorithm == HashAlgorithm::sha256 ? "sha256" : "sha512"; }

Result<BlobDigest> BlobDigest::parse(std::string_view text) { return parse_separated(text, ':'); }
Result<BlobDigest> BlobDigest::from_file_name(std::string_view name) { return parse_separated(name, '-'); }

BlobDigest BlobDigest::of(HashAlgorithm algorithm, std::string_view bytes) {
  return BlobHash(algorithm).update(bytes).finish();
}

std::string BlobDigest::text() const { return fmt::format("{}:{}", to_string(algorithm_), hex_); }
std::string BlobDigest::file_name() const { return fmt::format("{}-{}", to_string(algorithm_), hex_); }

std::optional<Digest> BlobDigest::sha256() const {
  if (algorithm_ != HashAlgorithm::sha256) return std::nullopt;
  auto digest = Digest::parse(text());
  return digest ? std::optional(*digest) : std::nullopt;
}

struct BlobHash::Context {
  struct Free {
    void operator()(EVP_MD_CTX* md) const { EVP_MD_CTX_free(md); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> md{EVP_MD_CTX_new()};
};

BlobHash::BlobHash(HashAlgorithm algorithm) : algorithm_(algorithm), context_(std::make_unique<Context>()) {
  if (!context_->md || EVP_DigestInit_ex(context_->md.get(), method_of(algorithm), nullptr) != 1)
    throw std::bad_alloc();
}
BlobHash::~BlobHash() = default;
BlobHash::BlobHash(BlobHash&&) noexcept = default;
BlobHash& BlobHash::operator=(BlobHash&&) noexcept = default;

BlobHash& BlobHash::update(std::string_view bytes) {
  EVP_DigestUpdate(context_->md.get(), bytes.data(), bytes.size());
  return *this;
}

BlobDigest BlobHash::finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  unsigned length = 0;
  EVP_DigestFinal_ex(context_->md.get(), bytes.data(), &length);
  return {algorithm_, to_hex({reinterpret_cast<const char*>(bytes.data()), length})};
}

}  // namespace wick::image
