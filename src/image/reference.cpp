#include "wick/image/reference.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "wick/base/text.hpp"

namespace wick::image {

namespace {

constexpr std::string_view default_registry = "docker.io";
constexpr std::string_view official_prefix = "library/";
constexpr std::size_t name_bytes_max = 255;  // distribution/reference NameTotalLengthMax
constexpr std::size_t tag_bytes_max = 128;

bool is_lower_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool is_alnum(char c) { return is_lower_alnum(c) || (c >= 'A' && c <= 'Z'); }

// [a-z0-9]+ joined by '.', '_', '__' or any number of '-'.
bool is_path_component(std::string_view text) {
  if (text.empty() || !is_lower_alnum(text.front()) || !is_lower_alnum(text.back())) return false;
  for (std::size_t i = 0; i < text.size();) {
    if (is_lower_alnum(text[i])) {
      ++i;
      continue;
    }
    const auto end = std::find_if(text.begin() + i, text.end(), is_lower_alnum) - text.begin();
    const auto separator = text.substr(i, end - i);
    const bool dashes = separator.find_first_not_of('-') == std::string_view::npos;
    if (!dashes && separator != "." && separator != "_" && separator != "__") return false;
    i = end;
  }
  return true;
}

bool is_host(std::string_view host) {
  if (host.starts_with('[')) {
    return host.size() > 2 && host.ends_with(']') &&
           host.substr(1, host.size() - 2).find_first_not_of("0123456789abcdefABCDEF:") == std::string_view::npos;
  }
  for (const auto label : split(host, '.')) {
    if (label.empty() || !is_alnum(label.front()) || !is_alnum(label.back())) return false;
    if (!std::all_of(label.begin(), label.end(), [](char c) { return is_alnum(c) || c == '-'; })) return false;
  }
  return true;
}

bool is_registry(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos || text.ends_with(']')) return is_host(text);
  const auto port = parse_unsigned(text.substr(colon + 1));
  return port && *port <= 65535 && is_host(text.substr(0, colon));
}

// "debian" and "a/b" have none; "localhost/a", "ghcr.io/a" and "box:5000/a" do.
bool looks_like_registry(std::string_view first) {
  return first == "localhost" || first.find_first_of(".:") != std::string_view::npos ||
         std::any_of(first.begin(), first.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
}

std::unexpected<Error> invalid(std::string_view text, std::string_view why) {
  return fail(Errc::invalid, fmt::format("'{}' is not the name of an image: {}", printable(text), why));
}

}  // namespace

bool is_tag(std::string_view text) {
  if (text.empty() || text.size() > tag_bytes_max || text.front() == '.' || text.front() == '-') return false;
  return std::all_of(text.begin(), text.end(), [](char c) { return is_alnum(c) || c == '_' || c == '.' || c == '-'; });
}

bool is_repository_name(std::string_view text) {
  if (text.empty() || text.size() > name_bytes_max) return false;
  const auto components = split(text, '/');
  return std::all_of(components.begin(), components.end(), is_path_component);
}

std::string Reference::canonical() const {
  std::string text = registry + "/" + repository;
  if (!tag.empty()) text += ":" + tag;
  if (!digest.empty()) text += "@" + digest.text();
  return text;
}

std::string Reference::familiar() const {
  std::string text = canonical();
  if (registry != default_registry) return text;
  text.erase(0, registry.size() + 1);
  // "library/a/b" is not an official image and keeps its first word.
  if (text.starts_with(official_prefix) && repository.find('/', official_prefix.size()) == std::string::npos)
    text.erase(0, official_prefix.size());
  return text;
}

Result<Reference> parse_reference(std::string_view text) {
  Reference reference;
  std::string_view rest = text;
  if (const auto at = rest.find('@'); at != std::string_view::npos) {
    auto digest = Digest::parse(rest.substr(at + 1));
    if (!digest) return invalid(text, "after '@' comes sha256: and 64 hex digits");
    reference.digest = *digest;
    rest = rest.substr(0, at);
  }
  // A colon after the last slash starts a tag, one before it a port.
  const auto colon = rest.rfind(':');
  const auto slash = rest.rfind('/');
  if (colon != std::string_view::npos && (slash == std::string_view::npos || colon > slash)) {
    reference.tag = rest.substr(colon + 1);
    if (!is_tag(reference.tag)) return invalid(text, "a tag is 1 to 128 letters, digits, '_', '.' and '-'");
    rest = rest.substr(0, colon);
  }
  if (reference.tag.empty() && reference.digest.empty()) reference.tag = "latest";
  if (rest.empty()) return invalid(text, "it is empty");
  if (rest.size() > name_bytes_max) return invalid(text, "it is longer than 255 bytes");

  const auto first = rest.substr(0, rest.find('/'));
  if (first.size() < rest.size() && looks_like_registry(first)) {
    if (!is_registry(first)) return invalid(text, fmt::format("'{}' is not a registry", printable(first)));
    reference.registry = first == "index.docker.io" ? default_registry : first;
    rest.remove_prefix(first.size() + 1);
  } else {
    reference.registry = default_registry;
  }
  for (const auto component : split(rest, '/'))
    if (!is_path_component(component))
      return invalid(text, fmt::format("'{}' must be lower-case letters and digits, joined by '.', '_', '__' or '-'",
                                       printable(component)));
  if (rest.size() == 64 && rest.find_first_not_of("0123456789abcdef") == std::string_view::npos)
    return invalid(text, "64 hex digits would be taken for a digest");
  reference.repository = rest;
  if (reference.registry == default_registry && rest.find('/') == std::string_view::npos)
    reference.repository.insert(0, official_prefix);
  return reference;
}

}  // namespace wick::image
