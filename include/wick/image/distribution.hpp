// The server's side of the OCI distribution spec 1.1 as far as it needs no store: what a path asks for, which bytes,
// and how a refusal is said. Pure.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/image/blob_digest.hpp"

namespace wick::image {

/// The spec's table of error codes ("Error Codes", code-1 to code-14).
enum class RegistryCode {
  blob_unknown,
  blob_upload_invalid,
  blob_upload_unknown,
  digest_invalid,
  manifest_blob_unknown,
  manifest_invalid,
  manifest_unknown,
  name_invalid,
  name_unknown,
  size_invalid,
  unauthorized,
  denied,
  unsupported,
  too_many_requests,
};
/// "BLOB_UNKNOWN"
std::string_view to_string(RegistryCode code);
/// The status that goes with the code where nothing else is known.
int status_of(RegistryCode code);

struct RegistryFailure {
  RegistryCode code = RegistryCode::unsupported;
  std::string message;
  int status = 0;

  RegistryFailure(RegistryCode what, std::string why) : RegistryFailure(what, std::move(why), status_of(what)) {}
  RegistryFailure(RegistryCode what, std::string why, int answer)
      : code(what), message(std::move(why)), status(answer) {}
  /// {"errors":[{"code":…,"message":…}]}
  std::string body() const;
};
/// What went wrong in a store, with the code that its `invalid` and its `not_found` have here. A full disk is 507.
RegistryFailure registry_failure(const Error& error, RegistryCode invalid, RegistryCode not_found);

template <class T>
using RegistryResult = std::expected<T, RegistryFailure>;

struct RegistryRequest {
  enum class Kind {
    base,       // /v2/
    blob,       // NAME/blobs/DIGEST
    uploads,    // NAME/blobs/uploads/
    upload,     // NAME/blobs/uploads/ID
    manifest,   // NAME/manifests/REFERENCE
    tags,       // NAME/tags/list
    referrers,  // NAME/referrers/DIGEST
  };
  Kind kind = Kind::base;
  std::string repository;
  std::optional<BlobDigest> digest;  // of a blob, a subject, a manifest by digest
  std::string tag;                   // of a manifest by tag
  std::string upload;
};
/// The decoded segments behind /v2/. A repository may be called as an endpoint is: the last segments decide.
RegistryResult<RegistryRequest> parse_registry_path(std::span<const std::string> segments);

/// Both ends are in it.
struct ByteRange {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  std::uint64_t size() const { return last - first + 1; }
  bool operator==(const ByteRange&) const = default;
};
/// What a Range field (RFC 9110 14.2) wants of `size` bytes. nullopt, everything, for another unit and for several
/// ranges. Errors: invalid where it wants no byte that there is: 416.
Result<std::optional<ByteRange>> parse_range(std::string_view field, std::uint64_t size);
/// The Content-Range of a chunk that is uploaded: "0-99", without a unit.
std::optional<ByteRange> parse_chunk_range(std::string_view field);

struct Page {
  std::vector<std::string> names;
  bool more = false;
};
/// Of sorted names those after `last`, at most `count`.
Page page_of(const std::vector<std::string>& sorted, std::string_view last, std::size_t count);

}  // namespace wick::image
