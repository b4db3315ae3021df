#include "wick/http/trusted_proxies.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "chars.hpp"
#include "wick/base/text.hpp"

namespace wick::http {

namespace {

constexpr std::string_view unix_peer = "unix";  // what a server calls who connects to a unix socket
constexpr int bits_of_unix = -1;

}  // namespace

bool TrustedProxies::parse_address(std::string_view text, Address& address) {
  const std::string terminated(text.substr(0, INET6_ADDRSTRLEN));
  if (terminated.find(':') != std::string::npos) return inet_pton(AF_INET6, terminated.c_str(), address.data()) == 1;
  address = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return inet_pton(AF_INET, terminated.c_str(), address.data() + 12) == 1;
}

Result<TrustedProxies> TrustedProxies::parse(std::string_view text) {
  TrustedProxies proxies;
  std::string wrong;
  for_each_element(text, [&](std::string_view element) {
    if (element == unix_peer) {
      proxies.networks_.push_back({.address = {}, .bits = bits_of_unix});
      return;
    }
    const auto slash = element.find('/');
    Network network{};
    const bool is_address = parse_address(element.substr(0, slash), network.address);
    const bool is_v4 = element.find(':') == std::string_view::npos;
    std::uint64_t bits = is_v4 ? 32 : 128;
    if (slash != std::string_view::npos) {
      const auto given = parse_unsigned(element.substr(slash + 1));
      bits = given && *given <= bits ? *given : 129;
    }
    if (!is_address || bits > 128)
      wrong = element;
    else
      network.bits = static_cast<int>(bits) + (is_v4 ? 96 : 0);
    proxies.networks_.push_back(network);
  });
  if (!wrong.empty())
    return fail(Errc::invalid,
                "expected addresses, networks such as 10.0.0.0/8, or unix, found '" + printable(wrong) + "'");
  return proxies;
}

bool TrustedProxies::contains(std::string_view address) const {
  Address peer;
  if (address == unix_peer)
    return std::ranges::any_of(networks_, [](const Network& each) { return each.bits == bits_of_unix; });
  if (networks_.empty() || !parse_address(address, peer)) return false;
  for (const auto& network : networks_) {
    if (network.bits == bits_of_unix) continue;
    const auto whole = static_cast<std::size_t>(network.bits / 8);
    if (std::memcmp(peer.data(), network.address.data(), whole) != 0) continue;
    const int rest = network.bits % 8;
    if (rest == 0 || ((peer[whole] ^ network.address[whole]) >> (8 - rest)) == 0) return true;
  }
  return false;
}

}  // namespace wick::http
