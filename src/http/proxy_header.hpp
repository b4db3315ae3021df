// The header of the PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt): what a load balancer in front
// says of the client. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace wick::http {

struct ProxyHeader {
  static constexpr std::size_t bytes_max = 1024;  // version 1 has at most 107; what version 2 adds is skipped

  enum class State { incomplete, complete, failed } state = State::incomplete;
  std::size_t bytes = 0;  // of the header, once complete
  std::string client;     // its address; empty where the proxy speaks for itself (LOCAL) or does not know (UNKNOWN)
};

/// `bytes`: everything received so far, at most ProxyHeader::bytes_max.
ProxyHeader read_proxy_header(std::string_view bytes);

}  // namespace wick::http
