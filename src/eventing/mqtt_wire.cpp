#include "mqtt_wire.hpp"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>

#include "wick/base/text.hpp"

namespace wick::eventing::mqtt {

namespace {

constexpr std::size_t sent_at_once = 64 << 10;

struct FreeBio {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
struct FreeX509 {
  void operator()(X509* certificate) const { X509_free(certificate); }
};
struct FreePrivateKey {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
using Bio = std::unique_ptr<BIO, FreeBio>;

Bio bio_over(const std::string& text) { return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

std::unique_ptr<X509, FreeX509> next_certificate(BIO* from) {
  return std::unique_ptr<X509, FreeX509>(PEM_read_bio_X509(from, nullptr, nullptr, nullptr));
}

/// An encrypted key is not asked for: there is nobody to ask.
int no_passphrase(char*, int, int, void*) { return -1; }

Result<void> trust(SSL_CTX* context, const std::string& authorities) {
  const auto from = bio_over(authorities);
  int trusted = 0;
  while (const auto authority = next_certificate(from.get()))
    trusted += X509_STORE_add_cert(SSL_CTX_get_cert_store(context), authority.get());
  ERR_clear_error();  // the end of the text is one
  if (!authorities.empty() && trusted == 0)
    return fail(Errc::invalid, "ca.crt is not PEM of a certificate", "it starts with -----BEGIN CERTIFICATE-----");
  return {};
}

Result<void> identify(SSL_CTX* context, const std::string& chain, const std::string& key_text) {
  if (chain.empty() && key_text.empty()) return {};
  const auto from = bio_over(chain), key_from = bio_over(key_text);
  const auto own = next_certificate(from.get());
  const std::unique_ptr<EVP_PKEY, FreePrivateKey> key(
      PEM_read_bio_PrivateKey(key_from.get(), nullptr, no_passphrase, nullptr));
  const bool set = own && key && SSL_CTX_use_certificate(context, own.get()) == 1 &&
                   SSL_CTX_use_PrivateKey(context, key.get()) == 1 && SSL_CTX_check_private_key(context) == 1;
  while (const auto above = set ? next_certificate(from.get()) : nullptr) SSL_CTX_add1_chain_cert(context, above.get());
  ERR_clear_error();
  if (!set)
    return fail(Errc::invalid, "tls.crt and tls.key are not PEM of a certificate and of its key",
                "an encrypted key is not read");
  return {};
}

}  // namespace

Wire::Wire(Executor executor, Fd socket)
    : socket_(executor, asio::generic::stream_protocol(AF_INET, IPPROTO_TCP), socket.release()),
      put_(executor, asio::steady_timer::time_point::max()) {}

Result<void> Wire::begin_tls(const Options& options) {
  const std::unique_ptr<SSL_CTX, Free> context(SSL_CTX_new(TLS_client_method()));
  if (!context || SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION) != 1 ||
      SSL_CTX_set_default_verify_paths(context.get()) != 1)
    return fail(Errc::internal, "TLS cannot be set up");
  if (auto trusted = trust(context.get(), options.authorities); !trusted) return trusted;
  if (auto identified = identify(context.get(), options.certificate, options.key); !identified) return identified;
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  ssl_.reset(SSL_new(context.get()));
  if (!ssl_) return fail(Errc::internal, "TLS cannot be set up");
  const auto& host = options.host;
  unsigned char bytes[16];
  const bool address = inet_pton(AF_INET, host.c_str(), bytes) == 1 || inet_pton(AF_INET6, host.c_str(), bytes) == 1;
  const bool set =
      address ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_.get()), host.c_str()) == 1
              : SSL_set1_host(ssl_.get(), host.c_str()) == 1 && SSL_set_tlsext_host_name(ssl_.get(), host.c_str()) == 1;
  SSL_set_hostflags(ssl_.get(), X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  if (!set) return fail(Errc::invalid, "TLS cannot name the host '" + printable(host) + "'");
  SSL_set_bio(ssl_.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  SSL_set_connect_state(ssl_.get());
  return {};
}

Error Wire::tls_error() const {
  if (const auto verdict = SSL_get_verify_result(ssl_.get()); verdict != X509_V_OK)
    return {Errc::corrupt,
            std::string("TLS: the server's certificate is not trusted: ") + X509_verify_cert_error_string(verdict)};
  const auto code = ERR_get_error();
  const auto* text = code ? ERR_reason_error_string(code) : nullptr;
  ERR_clear_error();
  return {Errc::corrupt, std::string("TLS: ") + (text ? text : "the server ended the handshake")};
}

awaitable<Result<void>> Wire::secure(const Options& options) {
  if (auto begun = begin_tls(options); !begun) co_return begun;
  while (true) {
    ERR_clear_error();
    const int done = SSL_do_handshake(ssl_.get());
    const int state = done == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl_.get(), done);
    std::optional<Error> error;
    if (state != SSL_ERROR_NONE && state != SSL_ERROR_WANT_READ && state != SSL_ERROR_WANT_WRITE) error = tls_error();
    drain();
    auto flushed = co_await flush();
    if (error) co_return fail(std::move(*error));
    if (!flushed) co_return flushed;
    if (done == 1) co_return Result<void>();
    const bool fed = co_await feed();
    if (!fed) co_return fail(Errc::corrupt, "TLS: the server ended the connection in the handshake");
  }
}

/// Bytes of the socket for OpenSSL; false at its end.
awaitable<bool> Wire::feed() {
  char bytes[16 << 10];
  const auto [error, size] = co_await socket_.async_read_some(asio::buffer(bytes), asio::as_tuple(use_awaitable));
  if (error || size == 0) co_return false;
  BIO_write(SSL_get_rbio(ssl_.get()), bytes, static_cast<int>(size));
  co_return true;
}

/// What OpenSSL has for the socket.
void Wire::drain() {
  char bytes[16 << 10];
  int size = 0;
  while ((size = BIO_read(SSL_get_wbio(ssl_.get()), bytes, sizeof bytes)) > 0)
    out_.append(bytes, static_cast<std::size_t>(size));
  if (!out_.empty()) put_.cancel();
}

void Wire::put(std::string_view bytes) {
  if (!open_ || bytes.empty()) return;
  if (!ssl_) {
    out_ += bytes;
    put_.cancel();
    return;
  }
  std::size_t written = 0;
  ERR_clear_error();
  // Into memory: all of it, or never again.
  if (SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &written) != 1) close();
  drain();
}

awaitable<Result<void>> Wire::flush() {
  while (!out_.empty() && open_) {
    const std::string part = out_.substr(0, sent_at_once);
    const auto [error, size] = co_await socket_.async_write_some(asio::buffer(part), asio::as_tuple(use_awaitable));
    if (error) {
      close();
      co_return fail(Errc::unavailable, "the connection to the server ended: " + error.message());
    }
    out_.erase(0, size);
  }
  co_return Result<void>();
}

awaitable<void> Wire::send_all() {
  while (open_) {
    if (out_.empty()) {
      put_.expires_at(asio::steady_timer::time_point::max());
      co_await put_.async_wait(asio::as_tuple(use_awaitable));
      if ((co_await asio::this_coro::cancellation_state).cancelled() != asio::cancellation_type::none) co_return;
      continue;
    }
    auto flushed = co_await flush();
    if (!flushed) co_return;
  }
}

awaitable<Wire::Read> Wire::read_some(std::span<char> into) {
  while (open_) {
    if (!ssl_) {
      const auto [error, size] =
          co_await socket_.async_read_some(asio::buffer(into.data(), into.size()), asio::as_tuple(use_awaitable));
      co_return Read{.bytes = error ? 0 : size, .ended = bool(error)};
    }
    std::size_t size = 0;
    ERR_clear_error();
    const int read = SSL_read_ex(ssl_.get(), into.data(), into.size(), &size);
    const int state = read == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl_.get(), read);
    drain();
    if (read == 1) co_return Read{.bytes = size};
    if (state != SSL_ERROR_WANT_READ) break;
    const bool fed = co_await feed();
    if (!fed) break;
  }
  co_return Read{.ended = true};
}

void Wire::close() {
  if (!open_) return;
  open_ = false;
  boost::system::error_code ignored;
  socket_.close(ignored);
  put_.cancel();
}

}  // namespace wick::eventing::mqtt
