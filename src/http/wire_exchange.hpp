// An Exchange as the relay needs it: body bytes where they lie, answers that are put on the wire without a coroutine in
// between.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "framing.hpp"
#include "stream.hpp"
#include "wick/base/time.hpp"
#include "wick/http/client_certificates.hpp"
#include "wick/http/handler.hpp"

namespace wick::http {

struct FieldView {
  std::string_view name;
  std::string_view value;
};

/// A response head ready to be written: end-to-end fields only, framing apart.
struct ResponseView {
  int status = 200;
  std::string_view reason;
  std::span<const FieldView> fields;
  Framing framing;                               // of the body that follows
  std::optional<std::uint64_t> declared_length;  // Content-Length where no body follows (HEAD, 304)
  bool has_date = false;
};

class WireExchange : public Exchange {
 public:
  WireExchange* wire() override { return this; }

  /// Of what buffered_body() and fill_body() give.
  awaitable<Result<std::size_t>> read_some(std::span<char> into) override;

  /// Who the client proved to be; nullptr: nobody asked it.
  virtual std::shared_ptr<const VerifiedClient> verified_client() const { return nullptr; }
  std::string_view client_lines() const {
    const auto client = verified_client();
    return client ? std::string_view(client->lines) : std::string_view();  // the connection keeps it
  }

  virtual const Framing& body_framing() const = 0;
  /// Body bytes that are already here, decoded; empty when there are none. Valid until consumed or
  /// fill_body(), whatever comes meanwhile.
  virtual std::string_view buffered_body() = 0;
  virtual void consume_body(std::size_t bytes) = 0;
  /// Nothing of the body is left to read.
  virtual bool body_finished() = 0;
  /// Waits for more of the body, asking for it first where the client waits for "100 Continue". Errors: as
  /// Exchange::read_some.
  virtual awaitable<Result<void>> fill_body() = 0;

  /// Puts the head and `body` on the wire as far as the socket takes them; what it does not take is kept for flush().
  virtual void begin(const ResponseView& head, std::string_view body, bool last) = 0;
  virtual void put(std::string_view body, bool last) = 0;
  /// The client said that it reads trailers (RFC 9110 10.1.4) and can be sent some.
  virtual bool wants_trailers() const { return false; }
  /// Before the last put(): whole field lines that follow a chunked body.
  virtual void set_trailers(std::string) {}
  /// Passes a 1xx response on.
  virtual void put_informational(int status, std::span<const FieldView> fields) = 0;
  virtual bool needs_flush() const = 0;
  virtual awaitable<Result<void>> flush() = 0;
  /// Ends the connection without a clean end of the message: the client must see that it was cut.
  virtual void cut() = 0;

  virtual bool wants_websocket() const = 0;
  /// The raw connection once a 101 was put, with the bytes that came after the request. nullptr where there is none.
  virtual Stream* tunnel(std::string& already_received) = 0;
  /// A tunnel is wanted that runs in the bodies of request and answer: WebSocket over HTTP/2 (RFC 8441). Any 2xx begins
  /// it, so none may be put but after begin_body_tunnel(); until then the request has no body.
  virtual bool wants_body_tunnel() const { return false; }
  virtual void begin_body_tunnel() {}
  /// Counts as activity on a tunnel: moves its idle limit.
  virtual void tunnel_active(Duration idle_limit) = 0;

  /// Until release(): interrupts `upstream` with ECONNRESET when the client hangs up, and with ETIMEDOUT at `until`.
  virtual void guard(Interruptible* upstream, TimePoint until) = 0;
  virtual void release() = 0;
};

}  // namespace wick::http
