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
  for (const auto& mapping : world.objects().list(model::domain_mapping_kind().resource()))
    if (name_of(*mapping) == name && (!best || rank(*mapping) < rank(*best))) best = mapping;
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

/// True when clients reach it over TLS with its own certificate.
bool tell_certificate(World& world, const model::DomainMapping& mapping, model::Conditions& conditions) {
  constexpr auto condition = "CertificateProvisioned";
  if (mapping.tls_secret.empty() || !world.with.show_https) {
    conditions.mark_true(condition, "TLSNotEnabled",
                         mapping.tls_secret.empty() ? "external-domain-tls is not enabled"
                                                    : "https is not spoken here: wick serve --https-listen ADDR");
    return false;
  }
  auto certificate = certificate_of(world, mapping.metadata.name_space, mapping.tls_secret, mapping.metadata.name);
  if (!certificate) {
    conditions.mark_false(condition, "CertificateProvisionFailed", certificate.error().what());
    return false;
  }
  conditions.mark_true(condition, "CertificateExternallyProvided", "TLS certificate was provided externally");
  return true;
}

}  // namespace

awaitable<Result<void>> reconcile_domain_mapping(World& world, ObjectKey key) {
  const auto object = world.objects().find(key);
  const auto touch_rivals = [&] {
    for (const auto& other : world.objects().list(model::domain_mapping_kind().resource()))
      if (name_of(*other) == key.name && namespace_of(*other) != key.name_space)
        world.enqueue(key_of(model::domain_mapping_kind(), *other));
  };
  if (!object) {
    world.publish_routes();
    touch_rivals();
    co_return Result<void>();
  }
  model::FieldErrors ignored;
  const auto mapping = model::decode_domain_mapping(*object, ignored);
  model::Conditions conditions(
      "Ready", {"DomainClaimed", "ReferenceResolved", "IngressReady", "CertificateProvisioned"}, *object, world.now());
  const bool secure = tell_certificate(world, mapping, conditions);
  const auto url = fmt::format("{}://{}", secure ? "https" : "http", key.name);
  json::object status{{"observedGeneration", generation_of(*object)}, {"url", url}, {"address", {{"url", url}}}};
  conditions.mark_unknown("IngressReady", "IngressNotConfigured", "Ingress has not yet been reconciled.");

  const auto holder = holder_of(world, key.name);
  const bool mine = holder && uid_of(*holder) == uid_of(*object);
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
  world.publish_routes();
  co_return Result<void>();
}

}  // namespace wick::control
