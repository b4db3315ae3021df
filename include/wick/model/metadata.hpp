// ObjectMeta: the part of every object that is the same for all kinds.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <string>

#include "wick/model/object_reader.hpp"

namespace wick::model {

struct Metadata {
  std::string name;
  std::string generate_name;
  std::string name_space;
  std::string uid;
  std::int64_t generation = 0;
  TextMap labels;
  TextMap annotations;

  std::string annotation(std::string_view key) const {
    const auto found = annotations.find(std::string(key));
    return found == annotations.end() ? std::string() : found->second;
  }
};

/// Shape and label and annotation syntax; the names themselves are each kind's own rule.
Metadata decode_metadata(ObjectReader reader);

/// Knative's rule for named resources: a DNS-1035 label, or generateName.
void check_name_dns1035(const Metadata& metadata, FieldErrors& errors);
/// Kubernetes' rule for most others: an RFC 1123 subdomain.
void check_name_dns1123(const Metadata& metadata, FieldErrors& errors);

/// Why `text` is no DNS-1035 label, in Kubernetes' words; "" when it is one.
std::string dns1035_complaint(std::string_view text);
/// Why `text` is no RFC 1123 subdomain, in Kubernetes' words; "" when it is one.
std::string dns1123_complaint(std::string_view text);

}  // namespace wick::model
