// The proxies in front of this one whose word about the client is taken: their Forwarded and X-Forwarded-* fields are
// appended to in place of being overwritten.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"

namespace wick::http {

class TrustedProxies {
 public:
  /// Addresses and networks, comma-separated, and "unix" for whoever may open a unix socket of ours:
  /// "10.0.0.0/8, ::1, 192.0.2.7, unix". An empty text trusts nobody.
  /// Errors: invalid, naming the element.
  static Result<TrustedProxies> parse(std::string_view text);
  /// `address` as Exchange::peer() gives it.
  bool contains(std::string_view address) const;
  bool empty() const { return networks_.empty(); }

 private:
  using Address = std::array<std::uint8_t, 16>;  // IPv4 as ::ffff:a.b.c.d
  struct Network {
    Address address;
    int bits;
  };
  static bool parse_address(std::string_view text, Address& address);

  std::vector<Network> networks_;
};

}  // namespace wick::http
