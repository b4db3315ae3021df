// TLS on one Stream: what it reads is decrypted, what it writes leaves as records. Sits between the stream's callers
// and its socket, so that nothing above a Stream knows.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <string_view>

#include "stream.hpp"
#include "wick/http/client_certificates.hpp"

namespace wick::http {

class TlsSession {
 public:
  /// Takes over `ssl`, which has its role. `stream` must outlive the session.
  TlsSession(Stream& stream, SSL* ssl);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;

  /// One step of the handshake; EAGAIN: again once the stream is ready. EPROTO: the peer does not speak TLS as it must.
  Io step_handshake();
  /// After EPROTO: what the peer sent first was a request of HTTP in clear.
  bool spoke_http() const { return spoke_http_; }
  /// After EPROTO: why the peer's certificate was not taken; empty where that was not it.
  std::string distrust() const;
  /// Who a client proved to be, once it has shaken hands; nullptr: nobody asked.
  std::shared_ptr<const VerifiedClient> verified_client() const;
  /// "h2", "http/1.1", or empty where the client named none.
  std::string_view protocol() const;

  Io try_read(char* into, std::size_t size);
  /// Takes bytes while the socket takes their records. What it took is on its way only once holds_back() is false.
  Io try_write(const iovec* parts, int count);
  /// Records that the socket has not taken yet.
  bool holds_back() const { return !held_.empty(); }
  /// Sends what is held back.
  Io push();
  /// Tells the peer that no more comes.
  void say_goodbye();
  /// Application data, or an end, waits to be read.
  bool has_input();

 private:
  struct Socket;  // OpenSSL's way to our stream
  Io result(int returned);
  void send_collected();
  std::size_t send(std::string_view bytes);

  Stream& stream_;
  SSL* ssl_;
  std::string held_;
  int read_error_ = 0;
  int write_error_ = 0;
  bool spoke_http_ = false;
  bool said_goodbye_ = false;
};

}  // namespace wick::http
