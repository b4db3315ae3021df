#include "control/https_hosts.hpp"

#include <fmt/format.h>

#include "control/routes.hpp"
#include "wick/base/text.hpp"
#include "wick/model/domain_mapping.hpp"

namespace wick::control {

Result<http::Certificate> certificate_of(const World& world, const std::string& name_space, const std::string& secret,
                                         std::string_view host) {
  const auto make = fmt::format("kubectl create secret tls {} -n {} --cert=CHAIN --key=KEY", secret, name_space);
  const auto found = world.objects().find(key_of(model::secret_kind(), name_space, secret));
  if (!found) return fail(Errc::not_found, fmt::format("secrets \"{}\" not found", secret), make);
  const auto part = [&](std::string_view key) {
    return base64_decode(model::text_at(*found, {"data", key})).value_or(std::string());
  };
  const auto chain = part("tls.crt");
  const auto private_key = part("tls.key");
  if (chain.empty() || private_key.empty())
    return fail(Errc::invalid, fmt::format("secret \"{}\" has no tls.crt or no tls.key", secret), make);
  auto certificate = http::Certificate::parse(chain, private_key);
  if (!certificate) return fail(std::move(certificate.error()).within(fmt::format("secret \"{}\"", secret)));
  if (!certificate->covers(host))
    return fail(Errc::invalid,
                fmt::format("the certificate in secret \"{}\" is for {}, not for {}", secret,
                            fmt::join(certificate->names(), ", "), host),
                make);
  return certificate;
}

bool is_redirected(const json::object& object) {
  for (const auto key : {"networking.knative.dev/http-protocol", "networking.knative.dev/http-option",
                         "networking.knative.dev/httpOption"})
    if (const auto value = model::text_at(object, {"metadata", "annotations", key}); !value.empty())
      return iequals(value, "redirected");
  return false;
}

HttpsHosts https_hosts(const World& world) {
  HttpsHosts hosts;
  for (const auto& route : world.objects().list(model::route_kind().resource())) {
    const auto names = outside_hosts_of_all(*route, world.options.domain);
    hosts.outside.insert(names.begin(), names.end());
    if (is_redirected(*route)) hosts.redirected.insert(names.begin(), names.end());
  }
  for (const auto& object : world.objects().list(model::domain_mapping_kind().resource())) {
    if (model::find_condition(*object, "DomainClaimed").status != model::Truth::yes) continue;
    const auto name = name_of(*object);
    hosts.outside.insert(name);
    if (is_redirected(*object)) hosts.redirected.insert(name);
    const auto secret = model::text_at(*object, {"spec", "tls", "secretName"});
    if (secret.empty()) {
      hosts.uncertified.emplace(name,
                                model::text_at(*object, {"metadata", "annotations", "wick.dev/certificate-requested"}));
      continue;
    }
    if (auto certificate = certificate_of(world, namespace_of(*object), secret, name))
      hosts.certificates.emplace(name, std::move(*certificate));
  }
  return hosts;
}

}  // namespace wick::control
