// Bytes both ways between two streams until both ends are done.
#pragma once

#include <functional>
#include <string>

#include "stream.hpp"
#include "wire_exchange.hpp"

namespace wick::http {

struct TunnelBytes {
  std::uint64_t to_upstream = 0;
  std::uint64_t to_client = 0;
};

/// A half-close is passed on; an error on either side ends both. `active` is called whenever bytes moved. The strings
/// are what was received before the tunnel began. 32 KB are held a direction.
awaitable<TunnelBytes> run_tunnel(Stream& client, Stream& upstream, std::string from_client, std::string from_upstream,
                                  std::function<void()> active);

/// The same with a client whose side of it runs in the bodies of its exchange, after begin_body_tunnel(): the end of
/// one is a half-close, a stream that is reset an error.
awaitable<TunnelBytes> run_body_tunnel(WireExchange& client, Stream& upstream, std::string from_upstream,
                                       std::function<void()> active);

}  // namespace wick::http
