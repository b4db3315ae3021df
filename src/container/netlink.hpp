// The handful of rtnetlink(7) requests that a link between two network namespaces takes. The socket decides which
// namespace a request is about: it is the one the socket was made in.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "wick/base/error.hpp"
#include "wick/os/fd.hpp"

namespace wick::container {

using Ipv4 = std::array<std::uint8_t, 4>;
using MacAddress = std::array<std::uint8_t, 6>;

class RouteNetlink {
 public:
  /// In the calling thread's network namespace.
  static Result<RouteNetlink> open();

  struct Pair {
    std::string_view name;  // of this end
    MacAddress address{};
    std::uint32_t group = 0;
    std::string_view peer_name;  // of the end in `peer_namespace`
    MacAddress peer_address{};
    int peer_index = 2;  // its interface index there: chosen, so that nobody has to ask
    int peer_namespace = -1;
  };
  /// A veth pair, both ends down. Errors: already_exists when the name is taken.
  Result<void> make_pair(const Pair& pair) const;
  Result<void> set_up(int index) const;
  Result<void> set_group(int index, std::uint32_t group) const;
  /// `address`/32.
  Result<void> add_address(int index, Ipv4 address) const;
  /// To `destination`/32 by the link itself.
  Result<void> add_host_route(int index, Ipv4 destination) const;
  /// Everything else by `gateway`, which is on the link.
  Result<void> add_default_route(int index, Ipv4 gateway) const;
  /// Permanent: nothing has to be asked on the link.
  Result<void> add_neighbour(int index, Ipv4 address, MacAddress mac) const;

 private:
  explicit RouteNetlink(Fd socket) : socket_(std::move(socket)) {}
  Result<void> request(class RouteRequest& request, std::string_view what) const;
  Fd socket_;
};

}  // namespace wick::container
