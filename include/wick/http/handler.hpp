// One request and its answer, streaming both ways, as a handler sees it.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "wick/base/error.hpp"
#include "wick/http/message.hpp"
#include "wick/os/loop.hpp"

namespace wick::http {

class WireExchange;

/// The request side is read and the response side written at the caller's pace; neither is ever held whole.
/// A handler that returns without an answer gets 500 sent for it. Throwing does the same and closes the connection.
class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual const RequestHead& head() const = 0;
  /// Address of the client as text, without port; "unix" on a unix socket.
  virtual std::string_view peer() const = 0;
  /// uid of the peer on a unix socket (SO_PEERCRED), -1 elsewhere.
  virtual long peer_uid() const = 0;
  /// Came over TLS.
  virtual bool secure() const { return false; }
  /// The peer is a proxy whose forwarding fields are taken.
  virtual bool from_trusted_proxy() const { return false; }
  /// Unique for the life of the daemon; goes to logs and X-Request-Id.
  virtual std::string_view id() const = 0;

  /// The next body bytes; 0 at the end of the body. Sends "100 Continue" first where the client waits for it.
  /// Errors: invalid (framing), too_large, timed_out (client too slow), unavailable (client gone).
  virtual awaitable<Result<std::size_t>> read_some(std::span<char> into) = 0;
  /// read_some() until `into` is full or the body ends, so that many pieces on the wire are one write to disk. What
  /// came before an error is returned; the next call tells the error.
  awaitable<Result<std::size_t>> read_full(std::span<char> into);
  /// The whole body. Errors: as read_some; too_large past `bytes_max`.
  awaitable<Result<std::string>> read_all(std::size_t bytes_max);

  /// A complete answer; Content-Length is set from the body.
  virtual awaitable<Result<void>> respond(ResponseHead head, std::string body = {}) = 0;
  /// Begins a streamed answer: chunked unless the head has Content-Length. Errors: unavailable (client gone).
  /// With 101 the connection is the handler's from then on: read_some() and write() are its bytes, finish() closes it.
  virtual awaitable<Result<void>> start(ResponseHead head) = 0;
  virtual awaitable<Result<void>> write(std::string_view bytes) = 0;
  virtual awaitable<Result<void>> finish() = 0;
  /// True once start or respond was called.
  virtual bool started() const = 0;
  /// Returns when the client hung up (for handlers that stream for a long time and would not notice otherwise).
  virtual awaitable<void> wait_gone() = 0;

  /// For the relay: this exchange as bytes on a connection; nullptr where it is none.
  virtual WireExchange* wire() { return nullptr; }
};

using Handler = std::function<awaitable<void>(Exchange&)>;

/// Sends a whole request somewhere and gives the whole answer: how `eventing` reaches a Service without knowing
/// `serving`.
using Caller = std::function<awaitable<Result<Response>>(Request)>;

/// text/plain answer with a newline at the end.
awaitable<void> respond_text(Exchange& exchange, int status, std::string text);
/// Proxy-made answer that can be told from the app's own: adds `Wick-Error: <slug>` (the status comes from the caller).
awaitable<void> respond_error(Exchange& exchange, int status, const Error& error);

}  // namespace wick::http
