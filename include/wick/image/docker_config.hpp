// Credentials for registries as docker keeps them, in its config.json and in Secrets of type
// kubernetes.io/dockerconfigjson (github.com/docker/cli cli/config/configfile).
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/image/registry.hpp"

namespace wick::image {

class DockerConfig {
 public:
  /// {"auths": {HOST[/PATH]: {"auth": base64(USER:PASSWORD)}}, "credHelpers": {HOST: NAME}, "credsStore": NAME}; a
  /// kubernetes.io/dockercfg is the inside of "auths". Errors: corrupt, without a word of what is in it.
  static Result<DockerConfig> parse(std::string_view json);

  struct Found {
    RegistryCredentials credentials;
    std::string helper;  // where not empty: what docker-credential-NAME says for `server`
    std::string server;
  };
  /// The entry of the longest path that the repository is below; a helper for the host before that.
  std::optional<Found> find(const Reference& reference) const;

 private:
  std::map<std::string, RegistryCredentials> entries_;  // by "host/path"
  std::map<std::string, std::string> helpers_;          // by host
  std::string store_;
};

/// Runs docker-credential-`name` get (github.com/docker/docker-credential-helpers), for at most 10 s. Blocks. Nothing
/// where it knows no credentials. Errors: invalid (a name that is no program's), not_found, unavailable.
Result<std::optional<RegistryCredentials>> ask_credential_helper(const std::string& name, const std::string& server);

/// The first file that is there of $REGISTRY_AUTH_FILE, $XDG_RUNTIME_DIR/containers/auth.json,
/// $DOCKER_CONFIG/config.json and ~/.docker/config.json; empty where none is.
std::filesystem::path own_docker_config();

/// Credentials of the first of `configs` that has some; of `file` (may be empty, and may not be there) after them.
/// Blocks. Errors: those of the file; of a helper.
Result<RegistryCredentials> find_credentials(const Reference& reference, const std::vector<std::string>& configs,
                                             const std::filesystem::path& file);

}  // namespace wick::image
