// Where the registries are that names of images speak of: what the configuration says of them.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/image/registry.hpp"

namespace wick::image {

struct RegistrySettings {
  std::map<std::string, std::vector<std::string>> mirrors;   // by registry: URLs, asked in this order before it
  std::set<std::string> insecure;                            // spoken to without TLS
  std::map<std::string, std::filesystem::path> authorities;  // by host: PEM, trusted beside the system's
  std::filesystem::path credentials;                         // docker's config.json; empty: none

  /// "docker.io=https://mirror.example,http://127.0.0.1:5001".
  Result<void> add_mirrors(std::string_view text);
  /// "box:5000=/etc/wick/box.pem".
  Result<void> add_authority(std::string_view text);
};

/// True for what is never asked: images that only stand for what was built and loaded here (Knative's
/// registries-skipping-tag-resolving).
bool is_local_only(const Reference& reference);

/// Mirrors, then the registry itself. Plain HTTP for this machine (unless it has an authority) and for what is named
/// insecure. Reads certificates, and credentials as find_credentials does: for the registry those of `configs` too, for
/// mirrors those of the settings alone. Blocks. Errors: theirs.
Result<RegistryTarget> registry_target(const Reference& reference, const RegistrySettings& settings,
                                       const std::vector<std::string>& configs);

}  // namespace wick::image
