// The bytes of one connection, in clear or over TLS: what is to be sent is put down at once and leaves in order; what
// is read is plain. OpenSSL works on memory here, so that a read that has to write (an alert, a key update) never
// writes between somebody else's bytes.
#pragma once

#include <openssl/ssl.h>

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <span>
#include <string>

#include "wick/eventing/mqtt.hpp"
#include "wick/os/fd.hpp"

namespace wick::eventing::mqtt {

class Wire {
 public:
  /// Takes a connected socket over.
  Wire(Executor executor, Fd socket);
  Wire(const Wire&) = delete;

  /// TLS 1.2 or 1.3, with a server that must prove that it is options.host. Errors: corrupt (with what is wrong with
  /// its certificate), invalid (PEM that is none), unavailable.
  awaitable<Result<void>> secure(const Options& options);
  /// Sent by send_all().
  void put(std::string_view bytes);
  std::size_t waiting() const { return out_.size(); }
  /// Sends what was put down, and what will be, until the connection ends.
  awaitable<void> send_all();
  /// Sends what was put down. Nobody else may be sending.
  awaitable<Result<void>> flush();
  /// Plain bytes; 0 at the end of the connection, whatever ended it. A first read may give none and not be the end:
  /// `more` says which.
  struct Read {
    std::size_t bytes = 0;
    bool ended = false;
  };
  awaitable<Read> read_some(std::span<char> into);
  /// Waiting ends, and nothing moves any more.
  void close();
  bool open() const { return open_; }

 private:
  struct Free {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  };
  Result<void> begin_tls(const Options& options);
  awaitable<bool> feed();
  void drain();
  Error tls_error() const;

  asio::generic::stream_protocol::socket socket_;
  asio::steady_timer put_;  // cancelled when there is something to send
  std::unique_ptr<SSL, Free> ssl_;
  std::string out_;  // for the socket
  bool open_ = true;
};

}  // namespace wick::eventing::mqtt
