#include "tls_server.hpp"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cstring>
#include <span>

#include "chars.hpp"

namespace wick::http {

namespace {

// Mozilla's "intermediate" recommendation, less the finite-field suites: forward secrecy and AEAD alone.
constexpr const char* ciphers_of_tls12 =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
constexpr const char* groups = "X25519:P-256:P-384";
constexpr auto ticket_key_life = std::chrono::hours(1);
constexpr std::size_t ticket_keys_taken = 3;

TlsServer::Impl& server_of(SSL* ssl) {
  return *static_cast<TlsServer::Impl*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
}

std::string asked_name(SSL* ssl) {
  const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  std::string lower(name ? name : "");
  for (char& c : lower) c = chars::lower(c);
  return lower;
}

/// What ClientHello offers is seen here alone: the certificate is chosen before the protocol is. A session that is
/// validated has its server as app data.
int note_validation(SSL* ssl) {
  static constexpr std::string_view alone(
      "\x00\x0b\x0a"
      "acme-tls/1",
      13);  // RFC 8737 3: the only one offered
  auto& server = server_of(ssl);
  const unsigned char* offered = nullptr;
  std::size_t size = 0;
  if (!server.has_challenges() ||
      SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation, &offered, &size) != 1)
    return SSL_CLIENT_HELLO_SUCCESS;
  if (std::string_view(reinterpret_cast<const char*>(offered), size) == alone) SSL_set_app_data(ssl, &server);
  return SSL_CLIENT_HELLO_SUCCESS;
}

/// server_name of a ClientHello (RFC 6066 3): a list of one entry of type host_name. In lower case; empty where it is
/// missing or anything else, which OpenSSL refuses later.
std::string name_in_hello(SSL* ssl) {
  const unsigned char* bytes = nullptr;
  std::size_t size = 0;
  constexpr std::size_t before = 5;  // the list's length, the type, the name's length
  if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &bytes, &size) != 1 || size < before || bytes[2] != 0)
    return {};
  const std::size_t length = static_cast<std::size_t>(bytes[3]) << 8 | bytes[4];
  if (length > size - before) return {};
  std::string name(reinterpret_cast<const char*>(bytes) + before, length);
  for (char& c : name) c = chars::lower(c);
  return name;
}

/// Before anything else is looked at, tickets too: a session that was begun without a certificate must not go on where
/// one is wanted.
int read_hello(SSL* ssl, int*, void*) {
  auto& server = server_of(ssl);
  if (server.requires_clients())
    if (const auto authorities = server.authorities(name_in_hello(ssl))) ask_client(ssl, *authorities);
  return note_validation(ssl);
}

bool is_validation(SSL* ssl) { return SSL_get_app_data(ssl) != nullptr; }

int use_certificate(SSL* ssl, const Certificate& certificate) {
  const auto& parsed = certificate.parsed();
  return SSL_use_cert_and_key(ssl, parsed.own.get(), parsed.key.get(), parsed.above, 1);
}

/// Before the server's part of a handshake: the certificate for the name that the client asked for.
int choose_certificate(SSL* ssl, void*) {
  if (is_validation(ssl)) {
    const auto challenge = server_of(ssl).challenge(asked_name(ssl));
    return challenge ? use_certificate(ssl, *challenge) : 0;
  }
  const auto shown = server_of(ssl).shown();
  const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  const auto* certificate = shown->find(name ? name : "");
  return certificate ? use_certificate(ssl, *certificate) : 0;
}

int refuse_unknown_names(SSL* ssl, int* alert, void*) {
  const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  const bool known = is_validation(ssl) ? server_of(ssl).challenge(asked_name(ssl)).has_value()
                                        : server_of(ssl).shown()->find(name ? name : "") != nullptr;
  if (known) return SSL_TLSEXT_ERR_OK;
  *alert = SSL_AD_UNRECOGNIZED_NAME;
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/// RFC 7301 3.2: a client that names protocols and none of ours is refused.
int choose_protocol(SSL* ssl, const unsigned char** chosen, unsigned char* size, const unsigned char* offered,
                    unsigned offered_size, void*) {
  static constexpr unsigned char ours[] = "\x02h2\x08http/1.1";
  unsigned char* found = nullptr;
  if (is_validation(ssl)) {
    *chosen = reinterpret_cast<const unsigned char*>(acme_protocol.data());
    *size = static_cast<unsigned char>(acme_protocol.size());
    return SSL_TLSEXT_ERR_OK;
  }
  if (SSL_select_next_proto(&found, size, ours, sizeof ours - 1, offered, offered_size) != OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  *chosen = found;
  return SSL_TLSEXT_ERR_OK;
}

/// Found once: by name it is looked for in OpenSSL's tables, under locks, for every ticket.
const EVP_CIPHER* ticket_cipher() {
  static const EVP_CIPHER* const fetched = EVP_CIPHER_fetch(nullptr, "AES-256-CBC", nullptr);
  return fetched;
}

bool set_mac_key(EVP_MAC_CTX* mac, const TicketKeys::Key& key) {
  char digest[] = "SHA256";
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, const_cast<unsigned char*>(key.mac.data()), key.mac.size()),
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0), OSSL_PARAM_construct_end()};
  return EVP_MAC_CTX_set_params(mac, parameters) == 1;
}

/// SSL_CTX_set_tlsext_ticket_key_evp_cb(3): 1 goes on, 2 goes on and renews the ticket, 0 does without it.
int seal_ticket(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac,
                int sealing) {
  auto& keys = server_of(ssl).ticket_keys();
  const auto now = std::chrono::steady_clock::now();
  if (sealing) {
    const auto key = keys.newest(now);
    if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(ticket_cipher())) != 1) return -1;
    std::ranges::copy(key.name, name);
    const bool set = EVP_EncryptInit_ex(cipher, ticket_cipher(), nullptr, key.cipher.data(), iv) == 1;
    return set && set_mac_key(mac, key) ? 1 : -1;
  }
  const auto found = keys.find(name, now);
  if (!found) return 0;
  const bool set = EVP_DecryptInit_ex(cipher, ticket_cipher(), nullptr, found->key.cipher.data(), iv) == 1;
  if (!set || !set_mac_key(mac, found->key)) return -1;
  return found->newest ? 1 : 2;
}

}  // namespace

void TicketKeys::rotate(TimePoint now) {
  if (!keys_.empty() && now < keys_.front().first + ticket_key_life) return;
  Key key;
  for (auto part :
       {std::span<unsigned char>(key.name), std::span<unsigned char>(key.cipher), std::span<unsigned char>(key.mac)})
    RAND_bytes(part.data(), static_cast<int>(part.size()));
  keys_.insert(keys_.begin(), {now, key});
  std::erase_if(keys_, [&](const auto& kept) { return now >= kept.first + ticket_keys_taken * ticket_key_life; });
}

TicketKeys::Key TicketKeys::newest(TimePoint now) {
  const std::lock_guard lock(mutex_);
  rotate(now);
  return keys_.front().second;
}

std::optional<TicketKeys::Found> TicketKeys::find(const unsigned char* name, TimePoint now) {
  const std::lock_guard lock(mutex_);
  rotate(now);
  for (const auto& [made, key] : keys_)
    if (std::memcmp(key.name.data(), name, key.name.size()) == 0) return Found{key, &key == &keys_.front().second};
  return std::nullopt;
}

Result<void> TlsServer::Impl::set_up() {
  context_.reset(SSL_CTX_new(TLS_server_method()));
  auto* context = context_.get();
  if (!context) return fail(Errc::internal, "TLS: " + openssl_complaint());
  static constexpr unsigned char session_context[] = "wick";
  const bool set = SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
                   SSL_CTX_set_cipher_list(context, ciphers_of_tls12) == 1 &&
                   SSL_CTX_set1_groups_list(context, groups) == 1 &&
                   SSL_CTX_set_session_id_context(context, session_context, sizeof session_context - 1) == 1 &&
                   SSL_CTX_set_tlsext_ticket_key_evp_cb(context, seal_ticket) == 1;
  if (!set) return fail(Errc::internal, "TLS: " + openssl_complaint());
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_PRIORITIZE_CHACHA);
  SSL_CTX_set_mode(context,
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS |
                       SSL_MODE_NO_AUTO_CHAIN);  // or each handshake would verify our own chain
  SSL_CTX_set_read_ahead(context, 1);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);  // tickets carry sessions, no memory of ours does
  SSL_CTX_set_num_tickets(context, 1);                          // a second one costs a tenth of a handshake
  SSL_CTX_set_timeout(context, std::chrono::seconds(2 * ticket_key_life).count());
  SSL_CTX_set_app_data(context, this);
  SSL_CTX_set_client_hello_cb(context, read_hello, nullptr);
  SSL_CTX_set_cert_cb(context, choose_certificate, nullptr);
  SSL_CTX_set_tlsext_servername_callback(context, refuse_unknown_names);
  SSL_CTX_set_alpn_select_cb(context, choose_protocol, nullptr);
  return {};
}

Result<SSL*> TlsServer::Impl::begin() {
  auto* ssl = SSL_new(context_.get());
  if (!ssl) return fail(Errc::internal, "TLS: " + openssl_complaint());
  SSL_set_accept_state(ssl);
  return ssl;
}

void TlsServer::Impl::show(std::shared_ptr<const ShownCertificates> shown) {
  const std::lock_guard lock(mutex_);
  shown_.swap(shown);
}

std::shared_ptr<const ShownCertificates> TlsServer::Impl::shown() {
  const std::lock_guard lock(mutex_);
  return shown_;
}

void TlsServer::Impl::show_challenges(std::map<std::string, Certificate, std::less<>> challenges) {
  const std::lock_guard lock(mutex_);
  challenges_ = std::move(challenges);
  any_challenge_.store(!challenges_.empty(), std::memory_order_release);
}

std::optional<Certificate> TlsServer::Impl::challenge(std::string_view host) {
  const std::lock_guard lock(mutex_);
  const auto found = challenges_.find(host);
  return found == challenges_.end() ? std::nullopt : std::optional(found->second);
}

void TlsServer::Impl::require_clients(std::map<std::string, ClientAuthorities, std::less<>> of_hosts) {
  const std::lock_guard lock(mutex_);
  clients_ = std::move(of_hosts);
  any_client_.store(!clients_.empty(), std::memory_order_release);
}

std::optional<ClientAuthorities> TlsServer::Impl::authorities(std::string_view host) {
  const std::lock_guard lock(mutex_);
  const auto found = clients_.find(host);
  return found == clients_.end() ? std::nullopt : std::optional(found->second);
}

TlsServer::TlsServer() : impl_(std::make_unique<Impl>()) {}
TlsServer::~TlsServer() = default;

Result<std::shared_ptr<TlsServer>> TlsServer::make() {
  std::shared_ptr<TlsServer> server(new TlsServer);
  if (auto set = server->impl_->set_up(); !set) return fail(std::move(set.error()));
  return server;
}

void TlsServer::show(std::map<std::string, Certificate, std::less<>> of_hosts, std::vector<Certificate> others) {
  impl_->show(std::make_shared<ShownCertificates>(std::move(of_hosts), std::move(others)));
}

void TlsServer::show_challenges(std::map<std::string, Certificate, std::less<>> challenges) {
  impl_->show_challenges(std::move(challenges));
}

}  // namespace wick::http
