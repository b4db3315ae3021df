#include "wick/model/metadata.hpp"

#include <fmt/format.h>

#include "wick/base/text.hpp"

namespace wick::model {

namespace {

// Kubernetes' sentences (k8s.io/apimachinery pkg/util/validation).
constexpr std::string_view dns1035_text =
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with "
    "an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')";
constexpr std::string_view dns1123_text =
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an "
    "alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

bool is_lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

bool is_name_part(std::string_view text) {
  const auto edge = [](char c) { return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z'); };
  if (text.empty() || text.size() > 63 || !edge(text.front()) || !edge(text.back())) return false;
  for (const char c : text)
    if (!edge(c) && c != '-' && c != '_' && c != '.') return false;
  return true;
}

/// "prefix/name" or "name".
bool is_qualified_name(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return is_name_part(text);
  return is_dns_subdomain(text.substr(0, slash)) && is_name_part(text.substr(slash + 1));
}

constexpr std::size_t annotations_bytes_max = 256 << 10;  // Kubernetes' TotalAnnotationSizeLimitB

}  // namespace

std::string dns1035_complaint(std::string_view text) {
  if (text.size() > 63) return "must be no more than 63 characters";
  if (is_dns_label(text) && text.front() >= 'a' && text.front() <= 'z') return {};
  return std::string(dns1035_text);
}

std::string dns1123_complaint(std::string_view text) {
  if (text.size() > 253) return "must be no more than 253 characters";
  return is_dns_subdomain(text) ? std::string() : std::string(dns1123_text);
}

Metadata decode_metadata(ObjectReader reader) {
  auto& errors = reader.errors();
  Metadata metadata{.name = reader.text("name"),
                    .generate_name = reader.text("generateName"),
                    .name_space = reader.text("namespace"),
                    .uid = reader.text("uid"),
                    .generation = reader.integer("generation").value_or(0),
                    .labels = reader.text_map("labels"),
                    .annotations = reader.text_map("annotations")};
  for (const auto& [key, value] : metadata.labels) {
    if (!is_qualified_name(key)) errors.invalid_key(printable(key), reader.path("labels"));
    if (!value.empty() && !is_name_part(value))
      errors.invalid_value(
          printable(value), fmt::format("{}[{}]", reader.path("labels"), printable(key)),
          "a label value is at most 63 letters, digits, '-', '_' or '.', and starts and ends with a letter or digit");
  }
  std::size_t bytes = 0;
  for (const auto& [key, value] : metadata.annotations) {
    bytes += key.size() + value.size();
    if (!is_qualified_name(to_lower(key))) errors.invalid_key(printable(key), reader.path("annotations"));
  }
  if (bytes > annotations_bytes_max)
    errors.add("annotations are too long", {reader.path("annotations")},
               fmt::format("{} bytes, at most {}", bytes, annotations_bytes_max));
  return metadata;
}

void check_name_dns1035(const Metadata& metadata, FieldErrors& errors) {
  if (!metadata.generate_name.empty()) {
    // The server appends; what must be a label is the prefix without the '-' at its end.
    auto prefix = std::string_view(metadata.generate_name);
    if (prefix.ends_with('-')) prefix.remove_suffix(1);
    if (const auto complaint = dns1035_complaint(prefix); !complaint.empty())
      errors.add(fmt::format("not a DNS 1035 label prefix: [{}]", complaint), {"metadata.generateName"});
  }
  if (!metadata.name.empty()) {
    if (const auto complaint = dns1035_complaint(metadata.name); !complaint.empty())
      errors.add(fmt::format("not a DNS 1035 label: [{}]", complaint), {"metadata.name"});
  } else if (metadata.generate_name.empty()) {
    errors.add("name or generateName is required", {"metadata.name"});
  }
}

void check_name_dns1123(const Metadata& metadata, FieldErrors& errors) {
  if (metadata.name.empty() && metadata.generate_name.empty())
    errors.add("name or generateName is required", {"metadata.name"});
  else if (const auto complaint = dns1123_complaint(metadata.name); !metadata.name.empty() && !complaint.empty())
    errors.invalid_value(printable(metadata.name), "metadata.name", complaint);
}

}  // namespace wick::model
