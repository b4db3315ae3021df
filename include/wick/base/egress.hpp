// What an instance may reach, as a value: `wick.dev/egress` in a manifest, a setting of builds, a field of the runner's
// requests (trust-and-ux.md 9).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"

namespace wick {

enum class Egress : std::uint8_t {
  none,      // nothing but the daemon's own gateway
  internet,  // public addresses: no private, link-local, metadata or host address
  open,      // whatever the host can reach, the host included
};

/// One entry of an allow-list: IPv4 addresses by prefix, all ports or one.
struct EgressRule {
  std::array<std::uint8_t, 4> address{};
  std::uint8_t prefix = 32;
  std::uint16_t port = 0;  // 0: all
  bool operator==(const EgressRule&) const = default;
};

struct EgressPolicy {
  static constexpr std::size_t allow_max = 16;

  Egress base = Egress::internet;
  std::vector<EgressRule> allow;  // beside what `base` allows
  bool operator==(const EgressPolicy&) const = default;
};

/// "internet", "none", "open", or an allow-list "10.1.0.0/16,192.0.2.7:5432"; an allow-list may begin with "internet".
/// Errors: invalid, naming the entry.
Result<EgressPolicy> parse_egress(std::string_view text);
std::string to_string(const EgressPolicy& policy);
/// "10.1.0.0/16", "192.0.2.7:5432".
std::string to_string(const EgressRule& rule);

}  // namespace wick
