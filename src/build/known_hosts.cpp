#include "known_hosts.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>

#include "wick/base/text.hpp"

namespace wick::build {

namespace {

/// The next word of a line; the line goes on behind it.
std::string_view next_word(std::string_view& line) {
  const auto begin = std::min(line.find_first_not_of(" \t"), line.size());
  const auto end = std::min(line.find_first_of(" \t", begin), line.size());
  const auto word = line.substr(begin, end - begin);
  line.remove_prefix(end);
  return word;
}

/// "|1|SALT|HASH": HMAC-SHA1 of the name (ssh-keygen -H).
bool matches_hash(std::string_view pattern, std::string_view name) {
  const auto parts = split(pattern, '|');
  if (parts.size() != 4) return false;
  const auto salt = base64_decode(parts[2]);
  const auto hash = base64_decode(parts[3]);
  if (!salt || !hash) return false;
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned size = 0;
  if (!HMAC(EVP_sha1(), salt->data(), static_cast<int>(salt->size()),
            reinterpret_cast<const unsigned char*>(name.data()), name.size(), digest.data(), &size))
    return false;
  return *hash == std::string_view(reinterpret_cast<const char*>(digest.data()), size);
}

/// '*' and '?' of ssh_config(5), PATTERNS. Linear: only the last star is ever gone back to.
bool matches_pattern(std::string_view pattern, std::string_view name) {
  std::size_t p = 0, n = 0, star = pattern.npos, after = 0;
  while (n < name.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p, ++n;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      after = n;
    } else if (star != pattern.npos) {
      p = star + 1;
      n = ++after;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == pattern.npos;
}

bool names_host(std::string_view patterns, std::string_view name) {
  if (patterns.starts_with("|1|")) return matches_hash(patterns, name);
  bool found = false;
  for (auto pattern : split(patterns, ',')) {
    const bool negated = pattern.starts_with('!');
    if (negated) pattern.remove_prefix(1);
    if (!matches_pattern(to_lower(pattern), name)) continue;
    if (negated) return false;
    found = true;
  }
  return found;
}

std::string_view key_type(std::string_view key) {
  if (key.size() < 4) return {};
  const auto length =
      static_cast<std::size_t>(static_cast<unsigned char>(key[2])) << 8 | static_cast<unsigned char>(key[3]);
  return key[0] == 0 && key[1] == 0 && length <= key.size() - 4 ? key.substr(4, length) : std::string_view();
}

}  // namespace

std::string fingerprint(std::string_view key) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned size = 0;
  EVP_Digest(key.data(), key.size(), digest.data(), &size, EVP_sha256(), nullptr);
  auto text = base64_encode(std::string_view(reinterpret_cast<const char*>(digest.data()), size));
  while (text.ends_with('=')) text.pop_back();
  return "SHA256:" + text;
}

Result<void> check_host_key(std::string_view known_hosts, const HostKey& seen) {
  const auto host = to_lower(seen.host);
  const auto name = seen.port == 22 ? host : fmt::format("[{}]:{}", host, seen.port);
  const auto shown = fmt::format("{} {}", printable(key_type(seen.key), 60), fingerprint(seen.key));
  bool known = false;
  bool other = false;
  for (auto line : split(known_hosts, '\n')) {
    if (line.ends_with('\r')) line.remove_suffix(1);
    auto patterns = next_word(line);
    if (patterns.empty() || patterns.starts_with('#')) continue;
    const auto marker = patterns.starts_with('@') ? patterns : std::string_view();
    if (!marker.empty()) patterns = next_word(line);
    if (marker == "@cert-authority" || !names_host(patterns, name)) continue;
    next_word(line);  // the type; the key names it too
    const auto key = base64_decode(next_word(line));
    if (!key) continue;
    if (marker == "@revoked" && *key == seen.key)
      return fail(Errc::denied, fmt::format("the key of {} ({}) is marked @revoked in known_hosts", name, shown));
    if (marker.empty()) (*key == seen.key ? known : other) = true;
  }
  if (known) return {};
  if (other)
    return fail(
        Errc::denied, fmt::format("the key of {} is {}, and known_hosts has another", name, shown),
        "somebody may be in between; if the server changed its key, put the new one into the Secret's known_hosts");
  return fail(Errc::denied, fmt::format("the key of {} is {}, and known_hosts does not have it", name, shown),
              fmt::format("check it, then put what `ssh-keyscan{} {}` prints into the Secret's known_hosts",
                          seen.port == 22 ? "" : fmt::format(" -p {}", seen.port), host));
}

}  // namespace wick::build
