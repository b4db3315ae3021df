// Which key a host is known by: sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT". Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "wick/base/error.hpp"

namespace wick::build {

struct HostKey {
  std::string host;
  std::uint16_t port = 22;
  std::string key;  // as on the wire (RFC 4253 section 6.6): its type is its first string
};

/// Nothing when a line for this host (plain, hashed or with wildcards, "[host]:port" for ports other than 22) has this
/// key and none revokes it. Errors: denied, with the fingerprint that was seen and what to do.
Result<void> check_host_key(std::string_view known_hosts, const HostKey& seen);

/// "SHA256:…" as ssh-keygen -l prints it.
std::string fingerprint(std::string_view key);

}  // namespace wick::build
