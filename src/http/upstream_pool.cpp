#include "upstream_pool.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "tls_server.hpp"
#include "tls_session.hpp"

namespace wick::http {

UpstreamConnection::UpstreamConnection(Poller& poller, Fd socket)
    : stream(poller, std::move(socket)), input(stream, poller.blocks()), parser(HeadLimits{}) {}

Error UpstreamConnection::ended(const Io& got) const {
  if (got.error == ETIMEDOUT) return {Errc::timed_out, "the upstream did not answer in time"};
  if (got.error)
    return {Errc::unavailable, std::string("the upstream's connection broke: ") + std::strerror(got.error)};
  if (untouched) return {Errc::unavailable, "the upstream closed the connection without an answer"};
  return {Errc::unavailable, "the upstream closed the connection within its response"};
}

void UpstreamConnection::expect_head(bool answers_head) {
  parser.reset();
  parser.answers_head(answers_head);
  head_state = Parsed::incomplete;
  head_end_ = {};
}

bool UpstreamConnection::have_head() {
  while (head_state == Parsed::incomplete) {
    if (!input.empty()) head_state = parser.parse(input.received());
    if (head_state != Parsed::incomplete) break;
    const auto got = input.try_receive();
    if (got.would_block()) return false;
    if (!got.ok() || got.ended()) {
      head_end_ = got;
      head_state = Parsed::failed;
      break;
    }
    untouched = false;
  }
  return true;
}

awaitable<Result<void>> UpstreamConnection::read_head() {
  while (!have_head()) co_await stream.readable();
  if (head_state == Parsed::complete) co_return Result<void>();
  if (parser.refusal().status != 0)
    co_return fail(Errc::corrupt, std::string("the upstream's response is malformed: ") + parser.refusal().reason);
  co_return fail(ended(head_end_));
}

void UpstreamConnection::take_head() {
  const auto framing = parser.framing();
  input.take(parser.head_bytes());
  input.begin_body(framing);
}

awaitable<Result<void>> UpstreamConnection::fill_body() {
  if (!input.slice().empty() || input.finished()) co_return Result<void>();
  if (!input.broken()) {
    const auto got = co_await input.receive();
    if (!got.ok()) co_return fail(ended(got));
    if (got.ended()) {
      if (!input.end_of_stream()) co_return fail(ended(got));
      co_return Result<void>();
    }
    input.slice();
  }
  if (input.broken())
    co_return fail(Errc::corrupt, std::string("the upstream's response body is malformed: ") + input.broken());
  co_return Result<void>();
}

bool UpstreamConnection::reusable() {
  return request_sent && !untouched && parser.status() >= 200 && parser.framing().kind != BodyKind::until_close &&
         parser.keep_alive() && input.finished() && input.empty() && !stream.interrupted() && !stream.peer_finished();
}

// ---- the pool

Upstream::Impl::Impl(Executor executor, Clock& clock, Connector connector, std::size_t idle_max, Duration idle_limit,
                     UpstreamProtocol protocol)
    : executor_(executor),
      clock_(clock),
      connector_(std::move(connector)),
      idle_max_(idle_max),
      idle_limit_(idle_limit),
      poller_(Poller::of(executor)),
      expiry_(executor),
      alive_(std::make_shared<int>()) {
  if (protocol == UpstreamProtocol::h2c) http2_.emplace(executor_, poller_);
}

UpstreamLease Upstream::Impl::take_idle(InputCheck check) {
  while (!idle_.empty()) {
    auto connection = std::move(idle_.back());
    idle_.pop_back();
    // Input on an idle connection is its end, or an answer that nobody asked for: it must reach no one.
    if (connection->stream.has_input(check)) continue;
    connection->reused = true;
    connection->untouched = true;
    connection->request_sent = false;
    return connection;
  }
  return nullptr;
}

awaitable<Result<UpstreamLease>> Upstream::Impl::connect() {
  auto socket = co_await connector_();
  if (!socket) co_return fail(std::move(socket.error()));
  auto made = std::make_unique<UpstreamConnection>(poller_, std::move(*socket));
  if (!tls_) co_return made;
  auto session = tls_->impl().begin(tls_host_);
  if (!session) co_return fail(std::move(session.error()));
  made->stream.secure(*session);
  const auto shaken = co_await made->stream.handshake();
  if (shaken.ok()) co_return made;
  const auto distrust = made->stream.tls()->distrust();
  if (distrust.empty())
    co_return fail(Errc::unavailable, "no TLS with " + tls_host_ + ": " + std::strerror(shaken.error));
  co_return fail(Errc::denied, "the certificate of " + tls_host_ + " is not trusted: " + distrust,
                 "this machine must trust who signed it: update-ca-certificates, or SSL_CERT_FILE of the daemon");
}

void Upstream::Impl::give_back(UpstreamLease connection) {
  if (!connection || idle_.size() >= idle_max_ || !connection->reusable()) return;
  connection->input.give_block();
  connection->stream.tie(nullptr);
  keep(std::move(connection));
}

void Upstream::Impl::keep(UpstreamLease connection) {
  connection->idle_since = clock_.now();
  idle_.push_back(std::move(connection));
  if (!expiring_) expire_later();
}

/// One look every quarter of the limit while anything is kept. The pool is destroyed without waiting, hence the token.
void Upstream::Impl::expire_later() {
  expiring_ = true;
  expiry_.expires_after(std::max<Duration>(idle_limit_ / 4, 10ms));
  expiry_.async_wait([this, alive = std::weak_ptr(alive_)](boost::system::error_code error) {
    if (error || alive.expired()) return;
    expiring_ = false;
    expire();
  });
}

void Upstream::Impl::expire() {
  const auto oldest = clock_.now() - idle_limit_;
  std::erase_if(idle_, [oldest](const UpstreamLease& connection) {
    return connection->idle_since <= oldest || connection->stream.peer_finished();
  });
  if (!idle_.empty()) expire_later();
}

Upstream::Upstream(Executor executor, Clock& clock, Connector connector, std::size_t idle_max,
                   std::chrono::milliseconds idle_limit, UpstreamProtocol protocol)
    : impl_(std::make_unique<Impl>(executor, clock, std::move(connector), idle_max, idle_limit, protocol)) {}
Upstream::~Upstream() = default;

void Upstream::secure(std::shared_ptr<TlsClient> tls, std::string host) {
  impl_->secure(std::move(tls), std::move(host));
}

Fd Upstream::take_kept() {
  if (impl_->is_secure()) return {};
  if (auto* http2 = impl_->http2()) return http2->take_kept();
  const auto connection = impl_->take_idle(InputCheck::now);
  return connection ? connection->stream.release() : Fd();
}

void Upstream::keep(Fd socket) {
  if (auto* http2 = impl_->http2()) return http2->keep(std::move(socket));
  impl_->keep(std::make_unique<UpstreamConnection>(impl_->poller(), std::move(socket)));
}

}  // namespace wick::http
