// DomainMapping: claims its name for the whole box, finds what it maps to, and has it routed. Of several mappings of
// one name the one that has it keeps it; when it goes, the oldest of the others takes over (serving.md 1.8).
#include <fmt/format.h>

#include <tuple>

#include "control/https_hosts.hpp"
#include "control/reconcilers.hpp"
#include "control/routes.hpp"
#include "wick/model/domain_mapping.hpp"

namespace wick::control {

namespace {

using model::Truth;

/// The mapping that has, or gets, the name.
ObjectValue holder_of(World& world, const std::string& name) {
  ObjectValue best;
  const auto rank = [](const json::object& mapping) {
    return std::tuple(model::find_condition(mapping, "DomainClaimed").status != Truth::yes,
                      model::text_at(mapping, {"metadata", "creationTimestamp"}), namespace_of(mapping));
  };
  for (const auto& mapping : world.objects().find_by(world.indexes.mappings_by_name, name))
    if (!best || rank(*mapping) < rank(*best)) best = mapping;
  return best;
}

/// The Route behind the reference; nullptr with what is wrong in `problem`.
ObjectValue route_of(World& world, const model::DomainMapping& mapping, std::string& problem) {
  const auto& kind = mapping.ref_kind == "Route" ? model::route_kind() : model::service_kind();
  const auto name_space = mapping.ref_namespace.empty() ? mapping.metadata.name_space : mapping.ref_namespace;
  const auto target = world.objects().find(key_of(kind, name_space, mapping.ref_name));
  if (!target) {
    problem = fmt::format("{} \"{}\" not found", kind.resource(), mapping.ref_name);
    return nullptr;
  }
  auto route = world.objects().find(key_of(model::route_kind(), name_space, mapping.ref_name));
  if (!route || model::text_at(*route, {"status", "address", "url"}).empty()) {
    problem = fmt::format("address not set for {} \"{}\"", mapping.ref_kind, mapping.ref_name);
    return nullptr;
  }
  return route;
}

constexpr auto certificate_condition = "CertificateProvisioned";

/// As Knative does with cert-manager's: until it is there the mapping is served over http, where that may be
/// (HTTPDowngrade). What failed is said as that, since nobody else would see it.
bool tell_issued(const IssuedCertificate& issued, const std::string& name, bool redirected,
                 model::Conditions& conditions) {
  using State = IssuedCertificate::State;
  if (issued.state == State::ready)
    conditions.mark_true(certificate_condition, issued.message.empty() ? "" : "RenewalFailed", issued.message);
  else if (issued.state == State::failed)
    conditions.mark_false(certificate_condition, "CertificateProvisionFailed",
                          fmt::format("Certificate {} failed to be provisioned: {}", name, issued.message));
  else if (redirected)
    conditions.mark_unknown(certificate_condition, "CertificateNotReady",
                            fmt::format("Certificate {} is not ready: {}", name, issued.message));
  else
    conditions.mark_true(certificate_condition, "HTTPDowngrade",
                         fmt::format("Certificate {} is not ready downgrade HTTP: {}", name, issued.message));
  return issued.state == State::ready;
}

/// True when clients reach it over TLS with a certificate that they trust.
bool tell_certificate(World& world, const json::object& object, const model::DomainMapping& mapping, bool mine,
                      model::Conditions& conditions) {
  if (mapping.tls_secret.empty() && mine && world.with.show_https && world.with.issued_certificate) {
    const auto issued = world.with.issued_certificate(mapping.metadata.name);
    if (issued.state != IssuedCertificate::State::none)
      return tell_issued(issued, mapping.metadata.name, is_redirected(object), conditions);
  }
  if (mapping.tls_secret.empty() || !world.with.show_https) {
    conditions.mark_true(certificate_condition, "TLSNotEnabled",
                         mapping.tls_secret.empty() ? "external-domain-tls is not enabled"
                                                    : "https is not spoken here: wick serve --https-listen ADDR");
    return false;
  }
  auto certificate = certificate_of(world, mapping.metadata.name_space, mapping.tls_secret, mapping.metadata.name);
  if (!certificate) {
    conditions.mark_false(certificate_condition, "CertificateProvisionFailed", certificate.error().what());
    return false;
  }
  conditions.mark_true(certificate_condition, "CertificateExternallyProvided",
                       "TLS certificate was provided externally");
  return true;
}

}  // namespace

awaitable<Result<void>> reconcile_domain_mapping(World& world, ObjectKey key) {
  const auto object = world.objects().find(key);
  const auto touch_rivals = [&] {
    for (auto& other : world.objects().keys_by(world.indexes.mappings_by_name, key.name))
      if (other.name_space != key.name_space) world.enqueue(std::move(other));
  };
  if (!object) {
    touch_rivals();
    co_return Result<void>();
  }
  model::FieldErrors ignored;
  const auto mapping = model::decode_domain_mapping(*object, ignored);
  model::Conditions conditions(
      "Ready", {"DomainClaimed", "ReferenceResolved", "IngressReady", "CertificateProvisioned"}, *object, world.now());
  const auto holder = holder_of(world, key.name);
  const bool mine = holder && uid_of(*holder) == uid_of(*object);
  const bool secure = tell_certificate(world, *object, mapping, mine, conditions);
  const auto url = fmt::format("{}://{}", secure ? "https" : "http", key.name);
  json::object status{{"observedGeneration", generation_of(*object)}, {"url", url}, {"address", {{"url", url}}}};
  conditions.mark_unknown("IngressReady", "IngressNotConfigured", "Ingress has not yet been reconciled.");

  if (mine)
    conditions.mark_true("DomainClaimed");
  else
    conditions.mark_false("DomainClaimed", "DomainAlreadyClaimed",
                          "The domain name is already in use by another DomainMapping");
  std::string problem;
  const auto route = route_of(world, mapping, problem);
  if (!route) {
    conditions.mark_false("ReferenceResolved", "ResolveFailed", problem);
  } else {
    conditions.mark_true("ReferenceResolved");
    if (mine) conditions.copy("IngressReady", model::find_condition(*route, "Ready"));
  }
  status["conditions"] = conditions.to_json();
  auto written = co_await world.objects().update_status(key, std::move(status));
  if (!written && written.error().code() != Errc::not_found) co_return fail(std::move(written.error()));
  co_return Result<void>();
}

}  // namespace wick::control
