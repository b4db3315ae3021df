#include "wick/model/domain_mapping.hpp"

#include <fmt/format.h>

#include "model/kinds.hpp"
#include "wick/base/text.hpp"

namespace wick::model {

namespace {

constexpr std::string_view cluster_domain = "svc.cluster.local";

void check_domain(const Metadata& metadata, FieldErrors& errors) {
  const auto& name = metadata.name;
  if (!metadata.generate_name.empty()) errors.not_allowed("metadata.generateName");
  if (name.empty()) {
    errors.add("name or generateName is required", {"metadata.name"});
    return;
  }
  if (!is_dns_subdomain(name) || name.find('.') == name.npos)
    errors.add("not a DNS 1123 subdomain: [should be a domain with at least two segments separated by dots]",
               {"metadata.name"});
  // Names below the cluster domain are the routes' own.
  if (name == cluster_domain || name.ends_with(std::string(".") + std::string(cluster_domain)) ||
      name.ends_with(".cluster.local"))
    errors.invalid_value(printable(name), "metadata.name",
                         fmt::format("must not be a subdomain of cluster local domain \"{}\"", "cluster.local"));
}

}  // namespace

DomainMapping decode_domain_mapping(const json::object& object, FieldErrors& errors) {
  ObjectReader root(object, errors);
  DomainMapping mapping{.metadata = decode_metadata(root.object("metadata"))};
  check_domain(mapping.metadata, errors);
  auto spec = root.object("spec");
  check_reference(spec.object("ref"), mapping.metadata.name_space);
  auto ref = spec.object("ref");
  mapping.ref_kind = ref.text("kind");
  mapping.ref_name = ref.text("name");
  mapping.ref_namespace = ref.text("namespace");
  const auto api_version = ref.text("apiVersion");
  if (!mapping.ref_kind.empty() && !api_version.empty() &&
      (api_version != "serving.knative.dev/v1" || (mapping.ref_kind != "Service" && mapping.ref_kind != "Route")))
    errors.invalid_value(fmt::format("{} {}", printable(api_version), printable(mapping.ref_kind)), ref.path(),
                         "a domain maps to a serving.knative.dev/v1 Service or Route here");
  auto tls = spec.object("tls");
  mapping.tls_secret = tls.text("secretName");
  if (spec.has("tls") && mapping.tls_secret.empty()) errors.missing("spec.tls.secretName");
  tls.refuse_rest();
  spec.refuse_rest();
  return mapping;
}

}  // namespace wick::model
