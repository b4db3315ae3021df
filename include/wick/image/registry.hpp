// A registry, by the OCI distribution spec 1.1: what a name means there, an image from it, an image to it.
//
// Everything here blocks, and meets bytes of whoever the name leads to: it is for a short-lived child without rights
// (build/registries.hpp starts it). What it is told comes in one value, a RegistryTarget; it reads no configuration.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/image/content_store.hpp"
#include "wick/image/reference.hpp"

namespace wick::image {

struct RegistryCredentials {
  std::string username;
  std::string password;
  std::string identity_token;  // an OAuth refresh token, in place of the other two

  bool empty() const { return username.empty() && password.empty() && identity_token.empty(); }
  friend bool operator==(const RegistryCredentials&, const RegistryCredentials&) = default;
};

/// One server that may have the image.
struct RegistryEndpoint {
  std::string url;     // "https://registry-1.docker.io", "http://127.0.0.1:5000": no path
  std::string ca_pem;  // trusted beside the system's certificates
  RegistryCredentials credentials;

  friend bool operator==(const RegistryEndpoint&, const RegistryEndpoint&) = default;
};

struct RegistryTarget {
  Reference reference;
  std::vector<RegistryEndpoint> endpoints;  // mirrors first, the registry itself last: what an error is about

  friend bool operator==(const RegistryTarget&, const RegistryTarget&) = default;
};

/// For the child's standard input: one line of JSON.
std::string to_wire(const RegistryTarget& target);
Result<RegistryTarget> target_from_wire(std::string_view line);

/// One line for a person: "layer 2 of 5: 12 MB".
using OnRegistryProgress = std::function<void(std::string)>;

/// The digest that the tag has now (the index's, where it names one); of a reference by digest that one, without
/// asking.
///
/// Errors: not_found; denied (credentials are missing or refused, a certificate nobody vouches for, an address that no
/// registry may send us to); overloaded (rate limit, after waiting for it); unavailable and timed_out (nobody there, a
/// server's failure, a stall of 30 s); corrupt (not what it says it is).
Result<Digest> resolve_digest(const RegistryTarget& target);

/// The size of a layer's tar, where it is here already.
using HasLayer = std::function<Result<std::optional<std::uint64_t>>(const Digest& diff_id)>;

struct Pulled {
  Image image;                   // with the manifest that it has here: layers uncompressed, under their DiffIDs
  std::vector<Digest> known_as;  // at the registry: the manifest, and the index it was chosen from
};

/// Fetches the image into `store` (without a name), layers three at a time: digest and size are checked while the bytes
/// come, before anything is unpacked; a connection that breaks is taken up where it broke. A layer that `has` knows is
/// not fetched. Partial downloads lie below `scratch`. Errors: as resolve_digest; too_large, unsupported (no
/// variant for this machine, schema 1), those of `has`.
Result<Pulled> pull_image(const RegistryTarget& target, const ContentStore& store, const std::filesystem::path& scratch,
                          const HasLayer& has, const OnRegistryProgress& on_progress);

/// Uploads an image of `store`, all of whose layers have blobs there, under the tag of the reference. Layers are
/// compressed with gzip; one that the repository has is not sent, one that another repository of the registry has
/// (`mounts`: by DiffID) is mounted. Gives the digest of the manifest. Errors: as resolve_digest; invalid for a
/// reference by digest.
Result<Digest> push_image(const RegistryTarget& target, const ContentStore& store, const Digest& manifest,
                          const std::filesystem::path& scratch, const std::map<Digest, std::string>& mounts,
                          const OnRegistryProgress& on_progress);

}  // namespace wick::image
