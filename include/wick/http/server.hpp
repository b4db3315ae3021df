// The strict HTTP/1.1 server (RFC 9112): limits and rules in trust-and-ux.md 8.1 and 8.2, each limit a setting.
#pragma once

#include <chrono>
#include <memory>

#include "wick/base/metrics.hpp"
#include "wick/http/handler.hpp"
#include "wick/http/tls.hpp"
#include "wick/http/trusted_proxies.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/fd.hpp"

namespace wick::http {

struct ServerLimits {
  std::size_t head_bytes_max = 32 << 10;               // 431
  std::size_t line_bytes_max = 16 << 10;               // 414 for the request line, 431 for a field
  std::size_t fields_max = 100;                        // 431
  std::size_t chunk_extension_bytes_max = 4 << 10;     // of one message: 400
  std::size_t trailer_bytes_max = 8 << 10;             // 400
  std::size_t connections_max = 0;                     // past it the listener waits; 0: open files allowed less 256
  std::size_t connections_per_client_max = 512;        // past it 503; loopback and trusted proxies are not counted
  std::chrono::milliseconds head_limit{10'000};        // from the first byte: 408
  std::chrono::milliseconds body_idle_limit{60'000};   // without a byte of body, or with none taken of an answer
  std::size_t body_rate_min = 256;                     // bytes a second, over …
  std::chrono::milliseconds body_rate_window{30'000};  // … so much time spent waiting for the client
  std::chrono::milliseconds keep_alive_limit{75'000};
  std::size_t memory_percent_max = 90;  // of our own cgroup's limit: past it new requests get 503; 0: never
};

/// Sets one limit by its name, e.g. "head-bytes=16384" or "head-ms=5000". Errors: invalid, with the names there are.
Result<void> set_limit(ServerLimits& limits, std::string_view assignment);
/// "head-bytes, line-bytes, …"
std::string limit_names();

/// How the clients of a listener speak.
struct Listening {
  std::shared_ptr<TlsServer> tls;  // nullptr: in clear
  bool clear_too = false;          // with `tls`: who does not begin with a handshake is served in clear
  bool proxy_header = false;       // trusted proxies alone connect, and say first for whom (the PROXY protocol)
};

/// What each of several servers on the same listeners may have: its part of `connections_max`.
ServerLimits share_of(ServerLimits limits, std::size_t servers);

class Server {
 public:
  /// `clock` must outlive the server. Once it listens, co_await stop() before it is destroyed.
  Server(Executor executor, Clock& clock, ServerLimits limits, Handler handler);
  ~Server();
  Server(const Server&) = delete;

  /// Before listen(): whose forwarding fields are taken, and where connections and refusals are counted (`listener` is
  /// their label; the series are few and fixed).
  void trust(TrustedProxies proxies);
  void count_in(Metrics& metrics, std::string_view listener);
  /// Before listen(), for a server on a loop of its own beside `first`, on the same listeners: clients are counted
  /// together, and what is counted in metrics is sent to the loop of `first`.
  void stand_beside(Server& first);

  /// Accepts on a listening TCP or unix socket until stopped. Several listeners may share one server.
  void listen(Fd listener, Listening how = {});
  /// Stops accepting, lets requests in flight end for at most `grace`, then closes what is left. Who is idle has 200 ms
  /// of that for one more request: it may be on its way.
  awaitable<void> stop(std::chrono::milliseconds grace);
  /// Before stop(), where another process takes over: accepts no more, lets who is idle ask once more as stop() does,
  /// and returns when in all that is left something flows (a tunnel, an answer that has begun), or after `limit`. What
  /// asks later is not answered.
  awaitable<void> leave(std::chrono::milliseconds limit);
  std::size_t connections() const;
  std::size_t in_flight() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// Listening sockets. "127.0.0.1:8080", "[::1]:0", ":80" (all addresses), "unix:/run/wick/wick.sock" (mode 0660).
Result<Fd> listen_on(std::string_view address);
/// The address a TCP listener is bound to, e.g. "127.0.0.1:41233".
std::string bound_address(const Fd& listener);

}  // namespace wick::http
