// The instance side: a pool of connections to one upstream, and the relay of one exchange through it.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "wick/http/handler.hpp"
#include "wick/http/tls.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/fd.hpp"

namespace wick::http {

/// Makes one connected stream socket to the upstream (non-blocking or not). For an instance the runner opens it inside
/// the instance's network namespace.
using Connector = std::function<awaitable<Result<Fd>>()>;

enum class UpstreamProtocol {
  http1,
  h2c,  // HTTP/2 in clear, with prior knowledge (RFC 9113 3.3): what a port named h2c speaks
};

/// Idle connections to one upstream. At most `idle_max` are kept, each at most `idle_limit`; a connection whose last
/// response was not cleanly framed is never kept. Must outlive the exchanges that run through it. With h2c the requests
/// of one time share connections, which are kept until the upstream ends them.
class Upstream {
 public:
  Upstream(Executor executor, Clock& clock, Connector connector, std::size_t idle_max = 64,
           std::chrono::milliseconds idle_limit = std::chrono::milliseconds(60'000),
           UpstreamProtocol protocol = UpstreamProtocol::http1);
  ~Upstream();
  Upstream(const Upstream&) = delete;

  /// Before the first exchange: TLS is spoken, with a server that must prove that it is `host`. Not for h2c.
  void secure(std::shared_ptr<TlsClient> tls, std::string host);
  /// The socket of a kept connection that is silent, for somebody else's requests; empty when there is none,
  /// and over TLS.
  Fd take_kept();
  /// Keeps a connection that has served nothing yet, or that take_kept() gave.
  void keep(Fd socket);

  class Impl;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

struct RelayOptions {
  std::chrono::milliseconds request_limit{300'000};   // from accept of the head to the end of the response: 504, or cut
  std::chrono::milliseconds response_start_limit{0};  // the same, to the first byte of the final response; 0: none
  std::chrono::milliseconds idle_limit{0};            // between bytes of the response; 0: none
  std::string forwarded_proto = "http";
  bool trust_forwarded = false;  // append to the client's X-Forwarded-* and Forwarded in place of overwriting them
  Fields extra_fields;           // set on the request towards the instance
};

struct RelayOutcome {
  int status = 0;                // what the client got; 0 when nothing could be sent
  std::optional<Error> error;    // what went wrong on either side, if anything
  bool upstream_failed = false;  // the instance is to blame (refused, cut, malformed)
  std::uint64_t request_bytes = 0;
  std::uint64_t response_bytes = 0;
  bool upgraded = false;  // became a WebSocket tunnel
};

/// Sends the exchange's request to the upstream and its response back, with backpressure both ways: 32 KB a direction,
/// whatever the body's size. Messages are re-generated, never copied (hop-by-hop fields dropped, one framing field,
/// Host kept, Forwarded and X-Forwarded-* set, Via added). 1xx passed on, WebSocket upgrade tunnelled until either side
/// ends. Answers 502 or 504 itself when the upstream fails before the first byte; cuts the connection after it. A stale
/// idle connection is retried once on a new one when no body byte was consumed.
awaitable<RelayOutcome> relay(Exchange& exchange, Upstream& upstream, RelayOptions options);

/// A whole request over the pool, a whole answer of at most `bytes_max`. Errors: unavailable, timed_out, corrupt,
/// too_large.
awaitable<Result<Response>> call(Upstream& upstream, Clock& clock, Request request, std::chrono::milliseconds limit,
                                 std::size_t bytes_max = 8 << 20);

/// Connector to "host:port" (resolved) or "unix:/path"; for clients and tests.
Connector connect_to(Executor executor, std::string address);

/// A streamed GET/POST whose response body is handed over as it comes: the CLI's follow and watch. Returns at the end
/// of the body, or when `on_bytes` returns false. `body` is the request body.
awaitable<Result<ResponseHead>> stream(Upstream& upstream, Clock& clock, Request request,
                                       std::function<bool(std::string_view)> on_bytes);

}  // namespace wick::http
