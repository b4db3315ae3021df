// TLS of the server: the certificate by name, what is refused, answers of any size, and what it costs a slow client.
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "http_fixture.hpp"
#include "tls_server.hpp"
#include "tls_session.hpp"
#include "wick/http/client_certificates.hpp"
#include "wick/http/tls.hpp"

using namespace wick;
using namespace wick::http;

namespace {

/// A TLS client of OpenSSL's own over a Wire.
class TlsWire {
 public:
  struct Wishes {
    std::string host = "v.test";
    std::vector<std::string> protocols;
    int version_max = TLS1_3_VERSION;
    SSL_SESSION* session = nullptr;
    std::optional<Certificate> own{};  // to show when asked
  };
  TlsWire(HttpFixture& fixture, Wishes wishes) : TlsWire(fixture, fixture.connect(), std::move(wishes)) {}
  TlsWire(HttpFixture& fixture, Wire wire, Wishes wishes) : fixture_(fixture), wire_(std::move(wire)) {
    context_.reset(SSL_CTX_new(TLS_client_method()));
    SSL_CTX_set_max_proto_version(context_.get(), wishes.version_max);
    SSL_CTX_set_min_proto_version(context_.get(), TLS1_VERSION);
    SSL_CTX_set_security_level(context_.get(), 0);
    ssl_ = SSL_new(context_.get());
    SSL_set_connect_state(ssl_);
    SSL_set_bio(ssl_, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    if (!wishes.host.empty()) SSL_set_tlsext_host_name(ssl_, wishes.host.c_str());
    std::string names;
    for (const auto& name : wishes.protocols) names += static_cast<char>(name.size()) + name;
    if (!names.empty())
      SSL_set_alpn_protos(ssl_, reinterpret_cast<const unsigned char*>(names.data()),
                          static_cast<unsigned>(names.size()));
    if (wishes.session) SSL_set_session(ssl_, wishes.session);
    if (wishes.own)
      SSL_use_cert_and_key(ssl_, wishes.own->parsed().own.get(), wishes.own->parsed().key.get(),
                           wishes.own->parsed().above, 1);
  }
  ~TlsWire() { SSL_free(ssl_); }
  TlsWire(const TlsWire&) = delete;

  bool shake_hands() {
    for (int i = 0; i < 8; ++i) {
      const int done = SSL_do_handshake(ssl_);
      exchange();
      if (done == 1) return true;
    }
    return false;
  }
  std::string talk(std::string_view request) {
    send(request);
    return read();
  }
  void send(std::string_view bytes) {
    REQUIRE(SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size())) == static_cast<int>(bytes.size()));
    exchange();
  }
  /// What has come by now, after our side ran.
  std::string read() {
    exchange();
    std::string text;
    char buffer[16384];
    for (int got; (got = SSL_read(ssl_, buffer, sizeof buffer)) > 0;)
      text.append(buffer, static_cast<std::size_t>(got));
    ended_ = SSL_get_shutdown(ssl_) & SSL_RECEIVED_SHUTDOWN;
    return text;
  }
  bool ended_cleanly() const { return ended_; }
  std::string common_names() {
    OpensslPtr<X509> peer(SSL_get1_peer_certificate(ssl_));
    if (!peer) return "";
    auto* names = static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(peer.get(), NID_subject_alt_name, nullptr, nullptr));
    std::string text;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i)
      text += reinterpret_cast<const char*>(ASN1_STRING_get0_data(sk_GENERAL_NAME_value(names, i)->d.dNSName));
    GENERAL_NAMES_free(names);
    return text;
  }
  std::string protocol() {
    const unsigned char* name = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(ssl_, &name, &size);
    return {reinterpret_cast<const char*>(name), size};
  }
  SSL* ssl() { return ssl_; }
  Wire& wire() { return wire_; }

 private:
  void exchange() {
    char* bytes = nullptr;
    const auto size = BIO_get_mem_data(SSL_get_wbio(ssl_), &bytes);
    if (size > 0) wire_.send({bytes, static_cast<std::size_t>(size)});
    (void)BIO_reset(SSL_get_wbio(ssl_));
    fixture_.settle();
    const auto got = wire_.read();
    if (!got.empty()) BIO_write(SSL_get_rbio(ssl_), got.data(), static_cast<int>(got.size()));
  }

  HttpFixture& fixture_;
  Wire wire_;
  OpensslPtr<SSL_CTX> context_;
  SSL* ssl_;
  bool ended_ = false;
};

struct TlsFixture : HttpFixture {
  TlsFixture() {
    authority = LocalAuthority::create(clock.wall()).value();
    tls = TlsServer::make().value();
    tls->show({}, {issue({"v.test"})});
  }
  ~TlsFixture() {  // it counts in `metrics`
    if (server) run(server->stop(milliseconds(0)));
    server.reset();
  }
  Certificate issue(std::vector<std::string> names) { return authority.issue(names, clock.wall()).value(); }
  void serve_tls(Handler handler, ServerLimits limits = {}) {
    server = std::make_unique<Server>(loop.get_executor(), clock, limits, std::move(handler));
    server->count_in(metrics, "edge");
    server->listen(listen_on("unix:" + path()).value(), {.tls = tls, .clear_too = clear_too});
    settle();
  }

  bool clear_too = false;
  Metrics metrics;
  LocalAuthority authority;
  std::shared_ptr<TlsServer> tls;
};

awaitable<void> say_what_came(Exchange& exchange) {
  auto body = co_await exchange.read_all(1 << 20);
  co_await respond_text(exchange, 200,
                        exchange.head().target + " " + body.value_or("?") + (exchange.secure() ? " secure" : " clear"));
}

std::string get(std::string target) { return "GET " + target + " HTTP/1.1\r\nHost: v.test\r\n\r\n"; }

}  // namespace

TEST_CASE("requests over TLS are answered one after the other on one connection, and the handler knows") {
  TlsFixture f;
  f.serve_tls(say_what_came);
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    TlsWire client(f, {.version_max = version});
    REQUIRE(client.shake_hands());
    CHECK(SSL_version(client.ssl()) == version);
    CHECK_THAT(client.talk(get("/1")), StartsWith("HTTP/1.1 200 OK\r\n") && Contains("/1  secure"));
    CHECK_THAT(client.talk("POST /2 HTTP/1.1\r\nHost: v.test\r\nContent-Length: 2\r\n\r\nhi"),
               Contains("/2 hi secure"));
  }
}

TEST_CASE("nothing below TLS 1.2 is spoken") {
  TlsFixture f;
  f.serve_tls(say_what_came);
  TlsWire client(f, {.version_max = TLS1_1_VERSION});
  CHECK_FALSE(client.shake_hands());
  CHECK_THAT(f.metrics.expose(), Contains("wick_http_tls_handshakes_failed_total{listener=\"edge\"} 1"));
}

TEST_CASE("a big answer arrives whole at a client that reads slowly, and ends with close_notify") {
  const std::string big(3 << 20, 'b');
  TlsFixture f;
  f.serve_tls([&](Exchange& exchange) -> awaitable<void> { co_await respond_text(exchange, 200, big); });
  TlsWire client(f, {});
  REQUIRE(client.shake_hands());
  client.send("GET / HTTP/1.1\r\nHost: v.test\r\nConnection: close\r\n\r\n");
  std::string text;
  for (int i = 0; i < 1000 && !client.ended_cleanly(); ++i) text += client.read();
  CHECK(client.ended_cleanly());
  CHECK(text.size() > big.size());
  CHECK_THAT(text, EndsWith("bbbb\n"));
}

TEST_CASE("a big body is read whole, whatever its records") {
  TlsFixture f;
  f.serve_tls([](Exchange& exchange) -> awaitable<void> {
    auto body = co_await exchange.read_all(8 << 20);
    co_await respond_text(exchange, 200, std::to_string(body->size()));
  });
  TlsWire client(f, {});
  REQUIRE(client.shake_hands());
  client.send("POST / HTTP/1.1\r\nHost: v.test\r\nContent-Length: 1000000\r\n\r\n");
  for (int i = 0; i < 100; ++i) client.send(std::string(10'000, 'x'));
  CHECK_THAT(client.read(), EndsWith("1000000\n"));
}

TEST_CASE("the certificate is that of the name: of a host, then exact, then by wildcard, then the first") {
  TlsFixture f;
  f.tls->show({{"mapped.test", f.issue({"of.mapping"})}},
              {f.issue({"first.test"}), f.issue({"*.wild.test"}), f.issue({"a.wild.test"}), f.issue({"mapped.test"})});
  f.serve_tls(say_what_came);
  const std::pair<const char*, const char*> cases[] = {{"mapped.test", "of.mapping"},   {"a.wild.test", "a.wild.test"},
                                                       {"A.Wild.Test", "a.wild.test"},  {"b.wild.test", "*.wild.test"},
                                                       {"c.b.wild.test", "first.test"}, {"wild.test", "first.test"},
                                                       {"other", "first.test"},         {"", "first.test"}};
  for (const auto& [host, shown] : cases) {
    CAPTURE(host);
    TlsWire client(f, {.host = host});
    REQUIRE(client.shake_hands());
    CHECK(client.common_names() == shown);
  }
}

TEST_CASE("certificates change under way: who is connected stays, who comes next sees the new one") {
  TlsFixture f;
  f.serve_tls(say_what_came);
  TlsWire before(f, {});
  REQUIRE(before.shake_hands());
  f.tls->show({}, {f.issue({"v.test", "new.test"})});
  TlsWire after(f, {});
  REQUIRE(after.shake_hands());
  CHECK(after.common_names() == "v.testnew.test");
  CHECK_THAT(before.talk(get("/still")), Contains("/still"));
}

TEST_CASE("without a certificate for the name the handshake ends with unrecognized_name") {
  TlsFixture f;
  f.tls->show({{"mine.test", f.issue({"mine.test"})}}, {});
  f.serve_tls(say_what_came);
  TlsWire stranger(f, {.host = "yours.test"});
  CHECK_FALSE(stranger.shake_hands());
  CHECK(ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_TLSV1_UNRECOGNIZED_NAME);
  ERR_clear_error();
  TlsWire known(f, {.host = "mine.test"});
  CHECK(known.shake_hands());
}

TEST_CASE("of the protocols a client names one that we speak is chosen; one that names only others is refused") {
  TlsFixture f;
  f.serve_tls(say_what_came);
  TlsWire some(f, {.protocols = {"spdy/3", "http/1.1"}});
  REQUIRE(some.shake_hands());
  CHECK(some.protocol() == "http/1.1");
  TlsWire none(f, {});
  REQUIRE(none.shake_hands());
  CHECK(none.protocol() == "");
  TlsWire other(f, {.protocols = {"spdy/3"}});
  CHECK_FALSE(other.shake_hands());
  ERR_clear_error();
}

TEST_CASE("a session is taken up again by its ticket, also after the certificates changed") {
  TlsFixture f;
  f.serve_tls(say_what_came);
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    TlsWire first(f, {.version_max = version});
    REQUIRE(first.shake_hands());
    first.talk(get("/"));
    auto* session = SSL_get1_session(first.ssl());
    f.tls->show({}, {f.issue({"v.test"})});
    TlsWire second(f, {.version_max = version, .session = session});
    REQUIRE(second.shake_hands());
    CHECK(SSL_session_reused(second.ssl()) == 1);
    CHECK_THAT(second.talk(get("/again")), Contains("/again"));
    SSL_SESSION_free(session);
  }
}

TEST_CASE("ticket keys change by the hour; older ones are taken for two more, and their tickets renewed") {
  TicketKeys keys;
  const TimePoint start{};
  const auto first = keys.newest(start);
  CHECK(keys.newest(start + 59min).name == first.name);
  CHECK(keys.find(first.name.data(), start + 59min)->newest);
  CHECK(keys.newest(start + 1h).name != first.name);
  REQUIRE(keys.find(first.name.data(), start + 2h));
  CHECK_FALSE(keys.find(first.name.data(), start + 2h)->newest);
  CHECK_FALSE(keys.find(first.name.data(), start + 4h));
}

TEST_CASE("a request in clear on a port of TLS is told so") {
  TlsFixture f;
  f.serve_tls(say_what_came);
  auto client = f.connect();
  const auto answer = f.talk(client, get("/"));
  CHECK_THAT(answer, StartsWith("HTTP/1.1 400 Bad Request\r\n") && EndsWith("must come by https://\n"));
  const auto body = answer.substr(answer.find("\r\n\r\n") + 4);
  CHECK_THAT(answer, Contains("Content-Length: " + std::to_string(body.size()) + "\r\n"));
}

TEST_CASE("where clear is served too, the first byte tells who speaks what") {
  TlsFixture f;
  f.clear_too = true;
  f.serve_tls(say_what_came);
  auto clear = f.connect();
  CHECK_THAT(f.talk(clear, get("/1")), EndsWith("/1  clear\n"));
  TlsWire secure(f, {});
  REQUIRE(secure.shake_hands());
  CHECK_THAT(secure.talk(get("/2")), EndsWith("/2  secure\n"));
  auto gone = f.connect();
  gone.close();
  auto silent = f.connect();
  f.clock.advance(80s);
  CHECK(silent.closed());
}

TEST_CASE("what one session has to say is never said in another: an alert found by looking for input") {
  TlsFixture f;
  auto& poller = Poller::of(f.loop.get_executor());
  struct Pair {
    Pair(TlsFixture& f, Poller& poller) {
      int ends[2];
      REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
      server = std::make_unique<Stream>(poller, Fd(ends[0]));
      server->secure(*f.tls->impl().begin());
      client = std::make_unique<TlsWire>(f, Wire(ends[1]), TlsWire::Wishes{});
      auto shaking = [this]() -> awaitable<void> { shaken = co_await server->handshake(); };
      asio::co_spawn(f.loop, shaking, [](std::exception_ptr) {});
      CHECK(client->shake_hands());
      f.settle();
    }
    std::unique_ptr<Stream> server;
    std::unique_ptr<TlsWire> client;
    Io shaken{0, EAGAIN};
  };
  Pair first(f, poller);
  CHECK(first.shaken.ok());
  first.client->wire().send(std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'x'));  // no record of its keys
  CHECK(first.server->has_input());
  Pair second(f, poller);
  CHECK(second.shaken.ok());
}

TEST_CASE("garbage in place of a handshake ends the connection, and the next client is served") {
  TlsFixture f;
  f.serve_tls(say_what_came);
  auto rude = f.connect();
  f.talk(rude, std::string("\x16\x03\x01\x00\x05", 5) + "hello, I am no handshake");
  CHECK(rude.closed());
  TlsWire client(f, {});
  REQUIRE(client.shake_hands());
  CHECK_THAT(client.talk(get("/after")), Contains("/after"));
}

TEST_CASE("a handshake that does not go on is closed when a head would be") {
  TlsFixture f;
  f.serve_tls(say_what_came, {.head_limit = 10s});
  auto silent = f.connect();
  f.clock.advance(9s);
  CHECK_FALSE(silent.closed());
  f.clock.advance(2s);
  CHECK(silent.closed());
  CHECK(f.server->connections() == 0);
}

TEST_CASE("what is wrong with a certificate is said") {
  TlsFixture f;
  const auto other = LocalAuthority::create(f.clock.wall()).value();
  const auto& mine = f.authority;
  CHECK_THAT(Certificate::parse("nonsense", mine.key()).error().what(), Contains("not PEM of a certificate"));
  CHECK_THAT(Certificate::parse(mine.certificate(), "nonsense").error().what(), Contains("not PEM of a key"));
  CHECK_THAT(Certificate::parse(mine.certificate(), other.key()).error().what(), Contains("belongs to another"));
  CHECK_THAT(Certificate::parse(mine.certificate(),
                                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n")
                 .error()
                 .what(),
             Contains("encrypted"));
  const auto certificate = f.issue({"a.test", "*.b.test", "127.0.0.1", "::1"});
  CHECK(certificate.names() == std::vector<std::string>{"a.test", "*.b.test", "127.0.0.1", "::1"});
  CHECK(certificate.covers("A.test"));
  CHECK(certificate.covers("x.b.test"));
  CHECK_FALSE(certificate.covers("b.test"));
  CHECK_FALSE(certificate.covers("y.x.b.test"));
  CHECK(certificate.not_after() > f.clock.wall() + std::chrono::hours(24 * 89));
  CHECK(certificate.not_before() < f.clock.wall());
  CHECK_THAT(mine.issue({"a b"}, f.clock.wall()).error().what(), Contains("'a b'"));
  CHECK(LocalAuthority::parse(mine.certificate(), mine.key()));
  CHECK_THAT(LocalAuthority::parse(mine.certificate(), other.key()).error().what(), Contains("belongs to another"));
}

namespace {

/// A server over TLS, and what calls it trusting the machine's authorities, which are this file's for as long as it
/// lives.
struct CallFixture : TlsFixture {
  explicit CallFixture(bool trusted) {
    const auto file = path() + ".pem";
    std::FILE* out = std::fopen(file.c_str(), "w");
    const auto other = LocalAuthority::create(clock.wall()).value();
    const auto& text = trusted ? authority.certificate() : other.certificate();
    std::fwrite(text.data(), 1, text.size(), out);
    std::fclose(out);
    setenv("SSL_CERT_FILE", file.c_str(), 1);
    setenv("SSL_CERT_DIR", "/nonexistent", 1);
    client = TlsClient::make().value();
    unsetenv("SSL_CERT_FILE");
    unsetenv("SSL_CERT_DIR");
    serve_tls(say_what_came);
  }
  Result<Response> ask(std::string host, std::string body = "") {
    if (!upstream || host != host_) {
      host_ = host;
      upstream.emplace(loop.get_executor(), clock, [this]() -> awaitable<Result<Fd>> {
        ++connections;
        auto connect = connect_to(loop.get_executor(), "unix:" + path());
        co_return co_await connect();
      });
      upstream->secure(client, host);
    }
    std::optional<Result<Response>> answer;
    auto calling = [&]() -> awaitable<void> {
      Request request{.head = {.method = "POST", .target = "/", .authority = host}, .body = body};
      answer.emplace(co_await call(*upstream, clock, std::move(request), milliseconds(1000)));
    };
    run(calling());
    REQUIRE(answer);
    return std::move(*answer);
  }

  std::shared_ptr<TlsClient> client;
  std::optional<Upstream> upstream;
  std::string host_;
  int connections = 0;
};

}  // namespace

TEST_CASE("calls of ours go over TLS to a server that proves its name, on kept connections") {
  CallFixture f(true);
  f.clock.set_back(
      -std::chrono::duration_cast<Duration>(wall_now() - f.clock.wall()));  // OpenSSL looks at the real clock
  f.tls->show({}, {f.issue({"v.test"})});
  for (const auto& body : {std::string("one"), std::string(300'000, 'x')}) {
    const auto answer = f.ask("v.test", body);
    REQUIRE(answer);
    CHECK(answer->body == "/ " + body + " secure\n");
  }
  CHECK(f.connections == 1);
}

TEST_CASE("a server whose certificate is another's, or nobody's, is not spoken to") {
  CallFixture f(true);
  f.clock.set_back(-std::chrono::duration_cast<Duration>(wall_now() - f.clock.wall()));
  f.tls->show({}, {f.issue({"v.test"})});
  const auto other = f.ask("w.test");
  REQUIRE_FALSE(other);
  CHECK(other.error().code() == Errc::denied);
  CHECK_THAT(other.error().what(),
             Contains("the certificate of w.test is not trusted: ") && Contains("hostname mismatch"));
  CallFixture stranger(false);
  const auto unsigned_by_ours = stranger.ask("v.test");
  REQUIRE_FALSE(unsigned_by_ours);
  CHECK_THAT(unsigned_by_ours.error().what(), Contains("is not trusted"));
  CHECK_THAT(unsigned_by_ours.error().hint(), Contains("SSL_CERT_FILE"));
}

TEST_CASE("a validation by TLS-ALPN-01 gets the challenge's certificate, and the connection ends (RFC 8737 3)") {
  TlsFixture f;
  f.serve_tls(say_what_came);
  f.tls->show_challenges({{"w.test", f.issue({"challenge.test"})}});
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    TlsWire validation(f, {.host = "W.test", .protocols = {"acme-tls/1"}, .version_max = version});
    REQUIRE(validation.shake_hands());
    CHECK(validation.protocol() == "acme-tls/1");
    CHECK(validation.common_names() == "challenge.test");
    CHECK(validation.read() == "");
    CHECK(validation.ended_cleanly());
  }
  TlsWire other_name(f, {.host = "v.test", .protocols = {"acme-tls/1"}});
  CHECK_FALSE(other_name.shake_hands());
  TlsWire among_others(f, {.host = "v.test", .protocols = {"acme-tls/1", "http/1.1"}});
  REQUIRE(among_others.shake_hands());
  CHECK(among_others.protocol() == "http/1.1");
  CHECK(among_others.common_names() == "v.test");
  f.tls->show_challenges({});
  TlsWire later(f, {.host = "w.test", .protocols = {"acme-tls/1"}});
  CHECK_FALSE(later.shake_hands());
  TlsWire client(f, {});
  REQUIRE(client.shake_hands());
  CHECK_THAT(client.talk(get("/1")), Contains("/1  secure"));
}

namespace {

/// An authority for clients, and a client's certificate of it: LocalAuthority makes certificates of servers.
struct Clients {
  OpensslPtr<EVP_PKEY> key{EVP_EC_gen("P-256")};
  OpensslPtr<X509> authority = make("CN=clients", nullptr, key.get(), key.get(), "critical,CA:TRUE");

  static OpensslPtr<X509> make(const std::string& subject, X509* above, EVP_PKEY* own, EVP_PKEY* signer,
                               const std::string& constraints) {
    OpensslPtr<X509> made(X509_new());
    X509_set_version(made.get(), X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(made.get()), 1);
    X509_gmtime_adj(X509_getm_notBefore(made.get()), -3600);
    X509_gmtime_adj(X509_getm_notAfter(made.get()), 86400);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(made.get()), "CN", MBSTRING_UTF8,
                               reinterpret_cast<const unsigned char*>(subject.c_str() + 3), -1, -1, 0);
    X509_set_issuer_name(made.get(), X509_get_subject_name(above ? above : made.get()));
    X509_set_pubkey(made.get(), own);
    for (const auto& [kind, value] : {std::pair{NID_basic_constraints, constraints},
                                      {NID_subject_alt_name, std::string("DNS:ann.test,URI:spiffe://box/ann")}}) {
      auto* extension = X509V3_EXT_conf_nid(nullptr, nullptr, kind, value.c_str());
      X509_add_ext(made.get(), extension, -1);
      X509_EXTENSION_free(extension);
    }
    X509_sign(made.get(), signer, EVP_sha256());
    return made;
  }
  static std::string pem(X509* certificate) {
    const OpensslPtr<BIO> bio(BIO_new(BIO_s_mem()));
    PEM_write_bio_X509(bio.get(), certificate);
    char* bytes = nullptr;
    const auto size = BIO_get_mem_data(bio.get(), &bytes);
    return {bytes, static_cast<std::size_t>(size)};
  }
  ClientAuthorities authorities() const { return ClientAuthorities::parse(pem(authority.get())).value(); }
  Certificate client(const std::string& subject) const {
    const OpensslPtr<EVP_PKEY> own(EVP_EC_gen("P-256"));
    const auto made = make(subject, authority.get(), own.get(), key.get(), "critical,CA:FALSE");
    const OpensslPtr<BIO> bio(BIO_new(BIO_s_mem()));
    PEM_write_bio_PKCS8PrivateKey(bio.get(), own.get(), nullptr, nullptr, 0, nullptr, nullptr);
    char* bytes = nullptr;
    const auto size = BIO_get_mem_data(bio.get(), &bytes);
    return Certificate::parse(pem(made.get()), {bytes, static_cast<std::size_t>(size)}).value();
  }
};

awaitable<void> say_who(Exchange& exchange) {
  const auto client = verified_client(exchange);
  co_await respond_text(exchange, 200, client ? client->authorities + "\n" + client->lines : "nobody");
}

/// The first answer of a client, or "refused".
std::string first_answer(TlsFixture& f, TlsWire::Wishes wishes) {
  TlsWire wire(f, std::move(wishes));
  if (!wire.shake_hands()) return "refused";
  ERR_clear_error();
  wire.read();  // TLS 1.3: an alert comes after the client's side of the handshake
  return ERR_peek_error() != 0 ? "refused" : wire.talk(get("/"));
}

}  // namespace

TEST_CASE("a name that wants certificates of its clients lets in those of its authorities alone") {
  TlsFixture f;
  const Clients clients, others;
  f.serve_tls(say_who);
  require_clients(*f.tls, {{"v.test", clients.authorities()}});
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    CHECK(first_answer(f, {.version_max = version}) == "refused");
    CHECK(first_answer(f, {.version_max = version, .own = others.client("CN=mallory")}) == "refused");
    const auto let_in = first_answer(f, {.version_max = version, .own = clients.client("CN=ann \"a\"")});
    CHECK_THAT(let_in, Contains(clients.authorities().id()) && Contains("Client-Cert: :MII") &&
                           Contains(";Subject=\"CN=ann \\\"a\\\"\";DNS=ann.test;URI=spiffe://box/ann\r\n"));
    CHECK_THAT(first_answer(f, {.host = "other.test", .version_max = version}), Contains("nobody"));
  }
  require_clients(*f.tls, {});
  CHECK_THAT(first_answer(f, {}), Contains("nobody"));
}

TEST_CASE("a session that was begun without a certificate does not go on where one is wanted") {
  TlsFixture f;
  f.serve_tls(say_who);
  const Clients clients;
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    require_clients(*f.tls, {});
    TlsWire first(f, {.version_max = version});
    REQUIRE(first.shake_hands());
    CHECK_THAT(first.talk(get("/")), Contains("nobody"));
    auto* session = SSL_get1_session(first.ssl());
    require_clients(*f.tls, {{"v.test", clients.authorities()}});
    CHECK(first_answer(f, {.version_max = version, .session = session}) == "refused");
    SSL_SESSION_free(session);
  }
}

TEST_CASE("what is no PEM of an authority is refused") {
  CHECK_FALSE(ClientAuthorities::parse("nonsense"));
  CHECK_FALSE(ClientAuthorities::parse(""));
}
