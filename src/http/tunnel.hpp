// Bytes both ways between two streams until both ends are done.
#pragma once

#include <functional>
#include <string>

#include "stream.hpp"

namespace wick::http {

struct TunnelBytes {
  std::uint64_t to_upstream = 0;
  std::uint64_t to_client = 0;
};

/// A half-close is passed on; an error on either side ends both. `active` is called whenever bytes moved. The strings
/// are what was received before the tunnel began. 32 KB are held a direction.
awaitable<TunnelBytes> run_tunnel(Stream& client, Stream& upstream, std::string from_client, std::string from_upstream,
                                  std::function<void()> active);

}  // namespace wick::http
