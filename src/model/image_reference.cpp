#include "wick/model/image_reference.hpp"

#include <fmt/format.h>

#include "wick/base/text.hpp"

namespace wick::model {

namespace {

constexpr std::size_t reference_bytes_max = 512;

bool is_tag(std::string_view text) {
  if (text.empty() || text.size() > 128 || text.front() == '.' || text.front() == '-') return false;
  for (const char c : text)
    if (!(('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z') || ('0' <= c && c <= '9') || c == '_' || c == '.' ||
          c == '-'))
      return false;
  return true;
}

/// A path component of the OCI distribution-spec: lower case, digits, and separators between them.
bool is_component(std::string_view text) {
  const auto plain = [](char c) { return ('a' <= c && c <= 'z') || ('0' <= c && c <= '9'); };
  if (text.empty() || !plain(text.front()) || !plain(text.back())) return false;
  for (const char c : text)
    if (!plain(c) && c != '.' && c != '_' && c != '-') return false;
  return true;
}

/// The first component may be a registry: "localhost:5000", "dev.local".
bool is_registry(std::string_view text) {
  const auto colon = text.find(':');
  if (colon != text.npos && !parse_unsigned(text.substr(colon + 1))) return false;
  return is_dns_subdomain(to_lower(text.substr(0, colon)));
}

}  // namespace

Result<ImageReference> parse_image_reference(std::string_view text) {
  const auto bad = [&] { return fail(Errc::invalid, image_reference_complaint(text)); };
  if (text.empty() || text.size() > reference_bytes_max) return bad();
  ImageReference reference;
  auto rest = text;
  if (const auto at = rest.find('@'); at != rest.npos) {
    auto digest = Digest::parse(rest.substr(at + 1));
    if (!digest) return bad();
    reference.digest = *digest;
    rest = rest.substr(0, at);
  }
  const auto slash = rest.rfind('/');
  const auto colon = rest.rfind(':');
  if (colon != rest.npos && (slash == rest.npos || colon > slash)) {
    reference.tag = rest.substr(colon + 1);
    if (!is_tag(reference.tag)) return bad();
    rest = rest.substr(0, colon);
  }
  const auto parts = split(rest, '/');
  for (std::size_t i = 0; i < parts.size(); ++i)
    if (!is_component(parts[i]) && !(i == 0 && parts.size() > 1 && is_registry(parts[i]))) return bad();
  reference.repository = rest;
  return reference;
}

bool is_image_reference(std::string_view text) { return parse_image_reference(text).has_value(); }

std::string image_reference_complaint(std::string_view text) {
  return fmt::format("Failed to parse image reference: could not parse reference: {}", printable(text));
}

}  // namespace wick::model
