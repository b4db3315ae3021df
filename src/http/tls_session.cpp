#include "tls_session.hpp"

#include <openssl/err.h>
#include <openssl/x509_vfy.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace wick::http {

namespace {

constexpr std::size_t record_bytes = 16 << 10;     // RFC 8446 5.1
constexpr std::size_t records_at_once = 64 << 10;  // of plain bytes, in one system call

/// What OpenSSL wrote within the current call, of whatever session: a connection that is silent keeps no buffer. Every
/// call that may write ends with send_collected(): what is left here would go out in somebody else's session.
thread_local std::string collected;

}  // namespace

/// A BIO over Stream's raw reads and writes. Writes are collected, so that several records leave in one system call.
struct TlsSession::Socket {
  static BIO_METHOD* method() {
    static BIO_METHOD* const made = [] {
      auto* method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "wick stream");
      BIO_meth_set_read_ex(method, read);
      BIO_meth_set_write_ex(method, write);
      BIO_meth_set_ctrl(method, control);
      return method;
    }();
    return made;
  }

  static int read(BIO* bio, char* into, std::size_t size, std::size_t* got) {
    auto& session = *static_cast<TlsSession*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    const auto io = session.stream_.raw_read(into, size);
    *got = io.bytes;
    if (io.would_block()) BIO_set_retry_read(bio);
    session.read_error_ = io.would_block() ? 0 : io.error;
    if (io.ended()) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return io.bytes > 0;
  }
  static int write(BIO*, const char* from, std::size_t size, std::size_t* written) {
    collected.append(from, size);
    *written = size;
    return 1;
  }
  static long control(BIO* bio, int command, long, void*) {
    if (command == BIO_CTRL_EOF) return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    return command == BIO_CTRL_FLUSH;
  }
};

TlsSession::TlsSession(Stream& stream, SSL* ssl) : stream_(stream), ssl_(ssl) {
  auto* bio = BIO_new(Socket::method());
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_, bio, bio);
}

TlsSession::~TlsSession() { SSL_free(ssl_); }

/// What an operation of OpenSSL's that did not succeed means to a caller of Stream.
Io TlsSession::result(int returned) {
  switch (SSL_get_error(ssl_, returned)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
      return {0, EAGAIN};
    case SSL_ERROR_ZERO_RETURN:
      return {0, 0};
    case SSL_ERROR_SYSCALL:
      return {0, read_error_ ? read_error_ : ECONNRESET};
    default:
      // An end without close_notify may be an attacker's cut (RFC 8446 6.1).
      const auto reason = ERR_GET_REASON(ERR_peek_error());
      spoke_http_ = reason == SSL_R_HTTP_REQUEST;
      return {0, reason == SSL_R_UNEXPECTED_EOF_WHILE_READING ? ECONNRESET : EPROTO};
  }
}

Io TlsSession::step_handshake() {
  if (holds_back())
    if (const auto pushed = push(); !pushed.ok()) return pushed;
  ERR_clear_error();
  const int done = SSL_do_handshake(ssl_);
  const auto io = done == 1 ? Io{} : result(done);
  send_collected();
  if (io.ok() && holds_back()) return {0, EAGAIN};
  return io;
}

std::string TlsSession::distrust() const {
  const auto verdict = SSL_get_verify_result(ssl_);
  return verdict == X509_V_OK ? std::string() : X509_verify_cert_error_string(verdict);
}

std::string_view TlsSession::protocol() const {
  const unsigned char* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl_, &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

Io TlsSession::try_read(char* into, std::size_t size) {
  std::size_t got = 0;
  ERR_clear_error();
  const int read = SSL_read_ex(ssl_, into, size, &got);
  const auto io = read == 1 ? Io{got, 0} : result(read);
  send_collected();  // an alert, or the answer to a key update
  return io;
}

Io TlsSession::try_write(const iovec* parts, int count) {
  if (holds_back())
    if (const auto pushed = push(); !pushed.ok()) return pushed;
  char together[record_bytes];
  std::size_t accepted = 0;
  std::size_t offset = 0;  // in *parts
  while (count > 0 && accepted < records_at_once) {
    const auto* bytes = static_cast<const char*>(parts->iov_base) + offset;
    auto size = std::min(parts->iov_len - offset, record_bytes);
    if (size < record_bytes && count > 1) {  // head and body share a record
      size = 0;
      auto at = offset;
      for (int i = 0; i < count && size < record_bytes; ++i, at = 0) {
        const auto more = std::min(parts[i].iov_len - at, record_bytes - size);
        std::memcpy(together + size, static_cast<const char*>(parts[i].iov_base) + at, more);
        size += more;
      }
      bytes = together;
    }
    std::size_t written = 0;
    ERR_clear_error();
    const int done = SSL_write_ex(ssl_, bytes, size, &written);  // our BIO takes everything: whole records, or an error
    if (done != 1) {
      const auto io = result(done);
      send_collected();
      return io.would_block() ? Io{0, EPROTO} : io;
    }
    accepted += written;
    offset += written;
    while (count > 0 && offset >= parts->iov_len) {
      offset -= parts->iov_len;
      ++parts, --count;
    }
  }
  send_collected();
  if (write_error_) return {0, write_error_};
  return {accepted, 0};
}

void TlsSession::send_collected() {
  if (collected.empty()) return;
  std::string_view left = collected;
  if (held_.empty()) left.remove_prefix(send(left));
  if (!write_error_) held_.append(left);
  collected.clear();
}

/// As much as the socket takes.
std::size_t TlsSession::send(std::string_view bytes) {
  std::size_t done = 0;
  while (done < bytes.size() && !write_error_) {
    const iovec part{const_cast<char*>(bytes.data()) + done, bytes.size() - done};
    const auto sent = stream_.raw_write(&part, 1);
    if (sent.would_block()) break;
    write_error_ = sent.error;
    done += sent.bytes;
  }
  return done;
}

Io TlsSession::push() {
  held_.erase(0, send(held_));
  if (write_error_) return held_.clear(), Io{0, write_error_};
  return held_.empty() ? Io{} : Io{0, EAGAIN};
}

void TlsSession::say_goodbye() {
  if (std::exchange(said_goodbye_, true) || !SSL_is_init_finished(ssl_)) return;
  ERR_clear_error();
  SSL_shutdown(ssl_);
  send_collected();
}

bool TlsSession::has_input() {
  char byte;
  std::size_t got = 0;
  ERR_clear_error();
  const int peeked = SSL_peek_ex(ssl_, &byte, 1, &got);
  const bool found = peeked == 1 || !result(peeked).would_block();
  send_collected();
  return found;
}

}  // namespace wick::http
