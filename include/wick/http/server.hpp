// The strict HTTP/1.1 server (RFC 9112): limits and rules in trust-and-ux.md 8.1 and 8.2, each limit a setting.
#pragma once

#include <chrono>
#include <memory>

#include "wick/http/handler.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/fd.hpp"

namespace wick::http {

struct ServerLimits {
  std::size_t head_bytes_max = 32 << 10;         // 431
  std::size_t line_bytes_max = 16 << 10;         // 414 for the request line, 431 for a field
  std::size_t fields_max = 100;                  // 431
  std::size_t connections_max = 10'000;          // past it the listener waits
  std::chrono::milliseconds head_limit{10'000};  // from the first byte: 408
  std::chrono::milliseconds body_idle_limit{60'000};
  std::chrono::milliseconds keep_alive_limit{75'000};
};

class Server {
 public:
  /// `clock` must outlive the server. Once it listens, co_await stop() before it is destroyed.
  Server(Executor executor, Clock& clock, ServerLimits limits, Handler handler);
  ~Server();
  Server(const Server&) = delete;

  /// Accepts on a listening TCP or unix socket until stopped. Several listeners may share one server.
  void listen(Fd listener);
  /// Stops accepting, lets requests in flight end for at most `grace`, then closes what is left.
  awaitable<void> stop(std::chrono::milliseconds grace);
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
