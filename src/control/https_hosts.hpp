// Which names are spoken to over TLS, with whose certificate, and which ones over nothing else.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "control/world.hpp"

namespace wick::control {

/// The certificate in a Secret of type kubernetes.io/tls. Errors: not_found (no such Secret), invalid (without tls.crt
/// or tls.key, or not a certificate for `host`).
Result<http::Certificate> certificate_of(const World& world, const std::string& name_space, const std::string& secret,
                                         std::string_view host);

/// True when the annotation networking.knative.dev/http-protocol of a Route or DomainMapping says Redirected.
bool is_redirected(const json::object& object);

HttpsHosts https_hosts(const World& world);

}  // namespace wick::control
