// One client connection of the server that speaks HTTP/2 (RFC 9113): each stream is an exchange of its own, with the
// rules of the HTTP/1.1 edge: its head is written down as one of HTTP/1.1 and read by the strict parser.
//
//   stream: head --complete--> exchange (the handler runs) --answered, body read--> closed
//           head --refused--> answer                       --reset by either side--> gone
//
// Bounds of one connection: 100 streams; 512 KB of request bodies that nobody read (flow control); per stream 64 KB of
// an answer that the client does not take; resets, pings, settings and CONTINUATIONs as nghttp2 bounds them.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "http2_wire.hpp"
#include "server_state.hpp"
#include "wick/http/client_certificates.hpp"
#include "wick/os/task_group.hpp"

namespace wick::http {

class Http2Exchange;

class Http2Server {
 public:
  struct Client {
    std::string peer;
    long peer_uid = -1;
    bool secure = false;
    bool trusted = false;
    std::shared_ptr<const VerifiedClient> verified{};
  };
  Http2Server(ServerState& server, Stream& stream, Client client);
  ~Http2Server();
  Http2Server(const Http2Server&) = delete;

  /// Until the connection is over and every handler has ended. `first` has come already.
  awaitable<void> run(std::string_view first);
  /// Called by the server's sweep.
  void check_limits(TimePoint now);
  /// The client knows that no stream more is taken, and every answer has begun.
  bool flows() const;

 private:
  friend class Http2Exchange;
  using ExchangePtr = std::shared_ptr<Http2Exchange>;

  Http2SessionPtr make_session();
  void start_exchanges();
  awaitable<void> serve(ExchangePtr exchange);
  void closed(std::int32_t stream);
  void pump();

  // nghttp2's callbacks
  int on_begin_headers(std::int32_t stream);
  int on_field(std::int32_t stream, std::string_view name, std::string_view value);
  int on_frame(const nghttp2_frame& frame);
  int on_data(std::int32_t stream, std::string_view bytes);

  ServerState& server_;
  Client client_;
  Http2Wire wire_;
  std::map<std::int32_t, ExchangePtr> exchanges_;
  std::vector<ExchangePtr> complete_;  // heads since the last look
  TimePoint idle_since_;
  bool going_soon_ = false;  // the client was told to begin no more streams …
  bool going_away_ = false;  // … and which was the last that is answered (RFC 9113 6.8)
  std::size_t running_ = 0;  // handlers
  Waiter handler_ended_;
  TaskGroup handlers_;
};

}  // namespace wick::http
