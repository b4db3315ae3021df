// DomainMapping (serving.knative.dev/v1beta1): a domain of one's own for a Service or Route. Its name is the domain.
#pragma once

#include <string>

#include "wick/model/metadata.hpp"

namespace wick::model {

struct DomainMapping {
  Metadata metadata;
  std::string ref_kind;  // Service or Route of serving.knative.dev/v1
  std::string ref_name;
  std::string ref_namespace;
  std::string tls_secret;  // spec.tls.secretName, of its own namespace; empty: none
};

DomainMapping decode_domain_mapping(const json::object& object, FieldErrors& errors);

}  // namespace wick::model
