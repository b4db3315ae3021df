// One exchange through a stream of HTTP/2 and back: towards services whose port is named h2c.
#pragma once

#include "upstream_pool.hpp"
#include "wick/http/upstream.hpp"
#include "wire_exchange.hpp"

namespace wick::http {

/// As relay(), over pool.http2(). Trailers are passed on to clients that can read them; a gRPC answer without a message
/// stays one head.
awaitable<RelayOutcome> relay_http2(WireExchange& client, Upstream::Impl& pool, const RelayOptions& options);

}  // namespace wick::http
