// Connections to one upstream: what Upstream keeps, and reading one response from such a connection.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <string>
#include <vector>

#include "head_parser.hpp"
#include "http2_client.hpp"
#include "input.hpp"
#include "trace_context.hpp"
#include "wick/http/upstream.hpp"
#include "wire_exchange.hpp"

namespace wick::http {

/// One connection to the upstream, used for one exchange at a time.
struct UpstreamConnection {
  UpstreamConnection(Poller& poller, Fd socket);

  /// Begins the next response head, 1xx included.
  void expect_head(bool answers_head);
  /// Reads as far as it goes without waiting: true once the head is complete or will never be.
  bool have_head();
  /// Waits for that. `parser` then describes the head; its bytes are head_text().
  /// Errors: unavailable (ended or reset; see `untouched`), timed_out, corrupt (malformed).
  awaitable<Result<void>> read_head();
  /// The head that read_head found: valid until take_head(). Views of it live until the next receive.
  std::string_view head_text() const { return input.received().substr(0, parser.head_bytes()); }
  /// Goes on to the body.
  void take_head();
  /// Waits for more of the body. Errors: as read_head.
  awaitable<Result<void>> fill_body();
  /// The response is over and the connection fit for another: keep-alive, no byte too many.
  bool reusable();

  Stream stream;
  Input input;
  ResponseParser parser;
  std::string head_out;           // the request head being sent; capacity is kept
  std::string body_out;           // body bytes that were at hand with the head
  std::vector<FieldView> fields;  // of the response being passed on
  std::string trailers;           // of the response, as received
  bool reused = false;            // has served an exchange before
  bool untouched = true;          // no byte of the response has come
  bool request_sent = false;      // wholly
  Parsed head_state = Parsed::incomplete;
  TimePoint idle_since{};

 private:
  Error ended(const Io& got) const;

  Io head_end_;  // what ended the connection before the head was complete
};

using UpstreamLease = std::unique_ptr<UpstreamConnection>;

class Upstream::Impl {
 public:
  Impl(Executor executor, Clock& clock, Connector connector, std::size_t idle_max, Duration idle_limit,
       UpstreamProtocol protocol);

  void secure(std::shared_ptr<TlsClient> tls, std::string host) {
    tls_ = std::move(tls);
    tls_host_ = std::move(host);
  }
  bool is_secure() const { return tls_ != nullptr; }
  /// The connections of an upstream that speaks HTTP/2; nullptr of any other.
  Http2Pool* http2() { return http2_ ? &*http2_ : nullptr; }
  const Connector& connector() const { return connector_; }

  /// A kept connection that is still alive and silent; nullptr when there is none. `now` for what must not be sent
  /// twice.
  UpstreamLease take_idle(InputCheck check);
  awaitable<Result<UpstreamLease>> connect();
  /// Keeps the connection if it is reusable(), else closes it.
  void give_back(UpstreamLease connection);
  void keep(UpstreamLease connection);
  Poller& poller() { return poller_; }
  Clock& clock() { return clock_; }
  TraceSource& traces() { return traces_; }

 private:
  void expire_later();
  void expire();

  Executor executor_;
  Clock& clock_;
  Connector connector_;
  std::size_t idle_max_;
  Duration idle_limit_;
  Poller& poller_;
  TraceSource traces_;
  std::shared_ptr<TlsClient> tls_;
  std::string tls_host_;
  std::optional<Http2Pool> http2_;
  std::vector<UpstreamLease> idle_;  // the most recently used last
  bool expiring_ = false;
  asio::steady_timer expiry_;
  std::shared_ptr<int> alive_;
};

}  // namespace wick::http
