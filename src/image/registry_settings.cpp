#include "wick/image/registry_settings.hpp"

#include <fmt/format.h>

#include "wick/base/text.hpp"
#include "wick/image/docker_config.hpp"
#include "wick/os/files.hpp"

namespace wick::image {

namespace {

constexpr std::size_t certificates_bytes_max = 1 << 20;

bool is_this_machine(std::string_view registry) {
  const auto host =
      registry.starts_with('[') ? registry.substr(0, registry.find(']') + 1) : registry.substr(0, registry.find(':'));
  return host == "localhost" || host.starts_with("127.") || host == "[::1]";
}

std::string server_of(const std::string& registry) {
  return registry == "docker.io" ? "registry-1.docker.io" : registry;
}

Result<RegistryEndpoint> endpoint_for(std::string url, const RegistrySettings& settings) {
  RegistryEndpoint endpoint{.url = std::move(url), .ca_pem = {}, .credentials = {}};
  const auto authority = settings.authorities.find(endpoint.url.substr(endpoint.url.find("://") + 3));
  if (authority == settings.authorities.end()) return endpoint;
  auto pem = read_file(authority->second, certificates_bytes_max);
  if (!pem)
    return fail(std::move(pem.error()).hint("--registry-ca names it; the user that wick runs as has to read it"));
  endpoint.ca_pem = std::move(*pem);
  return endpoint;
}

std::unexpected<Error> expected_pair(std::string_view form, std::string_view text) {
  return fail(Errc::invalid, fmt::format("expected {}, found '{}'", form, printable(text)));
}

}  // namespace

Result<void> RegistrySettings::add_mirrors(std::string_view text) {
  constexpr std::string_view form = "REGISTRY=URL,…";
  const auto equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0) return expected_pair(form, text);
  for (auto url : split(text.substr(equals + 1), ',')) {
    while (url.ends_with('/')) url.remove_suffix(1);
    const auto host = url.substr(std::min(url.size(), url.find("://") + 3));
    if ((!url.starts_with("https://") && !url.starts_with("http://")) || host.empty() || host.contains('/'))
      return expected_pair("https://HOST or http://HOST, without a path", url);
    mirrors[std::string(text.substr(0, equals))].emplace_back(url);
  }
  return {};
}

Result<void> RegistrySettings::add_authority(std::string_view text) {
  const auto equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0 || equals + 1 == text.size())
    return expected_pair("HOST[:PORT]=FILE", text);
  authorities[server_of(std::string(text.substr(0, equals)))] = text.substr(equals + 1);
  return {};
}

bool is_local_only(const Reference& reference) {
  return reference.registry == "dev.local" || reference.registry == "ko.local" || reference.registry == "kind.local";
}

Result<RegistryTarget> registry_target(const Reference& reference, const RegistrySettings& settings,
                                       const std::vector<std::string>& configs) {
  RegistryTarget target{.reference = reference, .endpoints = {}};
  if (const auto mirrors = settings.mirrors.find(reference.registry); mirrors != settings.mirrors.end())
    for (const auto& url : mirrors->second) {
      auto endpoint = endpoint_for(url, settings);
      if (!endpoint) return fail(std::move(endpoint.error()));
      auto at_mirror = reference;
      at_mirror.registry = url.substr(url.find("://") + 3);
      auto credentials = find_credentials(at_mirror, {}, settings.credentials);
      if (!credentials) return fail(std::move(credentials.error()));
      endpoint->credentials = std::move(*credentials);
      target.endpoints.push_back(std::move(*endpoint));
    }
  const auto server = server_of(reference.registry);
  const bool plain = settings.insecure.contains(reference.registry) ||
                     (is_this_machine(reference.registry) && !settings.authorities.contains(server));
  auto endpoint = endpoint_for((plain ? "http://" : "https://") + server, settings);
  if (!endpoint) return fail(std::move(endpoint.error()));
  auto credentials = find_credentials(reference, configs, settings.credentials);
  if (!credentials) return fail(std::move(credentials.error()));
  endpoint->credentials = std::move(*credentials);
  target.endpoints.push_back(std::move(*endpoint));
  return target;
}

}  // namespace wick::image
