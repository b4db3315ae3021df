#include "connection.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "http2_server.hpp"
#include "proxy_header.hpp"
#include "server_answers.hpp"
#include "tls_server.hpp"
#include "tls_session.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/task_group.hpp"
#include "wire_text.hpp"

namespace wick::http {

namespace {

constexpr auto linger_limit = 1s;
constexpr std::size_t linger_bytes_max = 64 << 10;
constexpr std::string_view http2_preface = "PRI * HTTP/2.0\r\n";  // the part that no request of HTTP/1.1 begins with
constexpr std::string_view http_on_tls_port =
    "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 56\r\n"
    "Wick-Error: E_INVALID\r\nConnection: close\r\n\r\n"
    "this port speaks TLS: the request must come by https://\n";
constexpr std::size_t kept_output_bytes = 8 << 10;  // capacity of the output buffers that an idle connection may keep

}  // namespace

Connection::Connection(ServerState& server, Fd socket, std::string peer, long peer_uid, Listening how)
    : server_(server),
      stream_(server.poller, std::move(socket)),
      peer_(std::move(peer)),
      peer_uid_(peer_uid),
      trusted_(server.trusted.contains(peer_)),
      how_(std::move(how)),
      input_(stream_, server.poller.blocks(),
             {.extension_bytes_max = server.limits.chunk_extension_bytes_max,
              .trailer_bytes_max = server.limits.trailer_bytes_max}),
      parser_({.head_bytes_max = std::min(server.limits.head_bytes_max, Blocks::block_bytes - 512),
               .line_bytes_max = server.limits.line_bytes_max,
               .fields_max = server.limits.fields_max}) {}

Connection::~Connection() = default;

/// False when who connects may not say for whom, or does not within the time for a head.
awaitable<bool> Connection::read_proxy() {
  if (!trusted_) co_return false;
  read_deadline_ = server_.clock.now() + server_.limits.head_limit;
  std::array<char, ProxyHeader::bytes_max> bytes;
  std::size_t seen = 0;
  while (true) {
    const auto got = stream_.peek(bytes);
    if (!got.ok() && !got.would_block()) co_return false;
    if (got.ended() || (got.bytes == seen && stream_.peer_finished())) co_return false;
    const auto header = read_proxy_header({bytes.data(), got.bytes});
    if (header.state == ProxyHeader::State::failed) co_return false;
    if (header.state == ProxyHeader::State::complete) {
      stream_.skip(header.bytes);
      read_deadline_ = TimePoint::max();
      if (header.client.empty()) co_return true;  // the proxy asks for itself
      peer_ = header.client;
      trusted_ = server_.trusted.contains(peer_);
      co_return true;
    }
    seen = got.bytes;
    co_await stream_.readable();
  }
}

/// A handshake begins with a record of type 22 (RFC 8446 5.1); no method of HTTP does. Nothing where nobody says
/// anything.
awaitable<std::optional<bool>> Connection::begins_in_clear() {
  constexpr unsigned char handshake = 22;
  read_deadline_ = server_.clock.now() + server_.limits.keep_alive_limit;
  char first = 0;
  Io got;
  while ((got = stream_.peek({&first, 1})).would_block()) co_await stream_.readable();
  if (got.bytes == 0) co_return std::nullopt;
  co_return first != handshake;
}

/// The client has as long for it as for a head.
awaitable<bool> Connection::shake_hands() {
  auto session = how_.tls->impl().begin();
  if (!session) {
    log::warn("a connection was closed", {{"error", session.error().what()}});
    co_return false;
  }
  stream_.secure(*session);
  secure_ = true;
  idle_ = false;
  read_deadline_ = server_.clock.now() + server_.limits.head_limit;
  const auto shaken = co_await stream_.handshake();
  read_deadline_ = TimePoint::max();
  if (shaken.ok()) {
    verified_ = stream_.tls()->verified_client();
    co_return true;
  }
  if (server_.metrics) server_.metrics->failed_handshake();
  if (stream_.tls()->spoke_http()) {
    stream_.end_tls();
    send(http_on_tls_port);
    co_await linger();
  }
  co_return false;
}

/// One frame that lives as long as the connection: a request costs it no coroutine of its own but the handler's.
awaitable<void> Connection::run() {
  if (how_.proxy_header) {
    const bool named = co_await read_proxy();
    if (!named) co_return;
  }
  if (how_.tls) {
    std::optional<bool> clear(false);
    if (how_.clear_too) clear = co_await begins_in_clear();
    if (!clear) co_return;
    const bool shaken = *clear || co_await shake_hands();
    if (!shaken) co_return;
    if (secure_ && stream_.tls()->protocol() == "h2") co_return co_await run_http2();
    if (secure_ && stream_.tls()->protocol() == acme_protocol) co_return;  // the handshake was the answer
  }
  while (true) {
    begin_head();
    auto step = step_head();
    while (step == HeadStep::wait) {
      co_await stream_.readable();
      step = step_head();
    }
    if (step == HeadStep::http2) co_return co_await run_http2();
    if (step == HeadStep::refused) co_await refuse();
    if (step != HeadStep::complete || server_.left) co_return;
    begin_exchange();
    if (head_.target == "*" || server_.shedding) {
      const bool sent = co_await answer_for_server(*this, server_.shedding);
      if (!sent) co_return;
    } else {
      std::exception_ptr failure;
      ++server_.in_flight;
      server_.poller.count_requests(1);
      try {
        co_await server_.handler(*this);
      } catch (...) {
        failure = std::current_exception();
      }
      --server_.in_flight;
      server_.poller.count_requests(-1);
      release();
      if (failure) {
        keep_ = false;
        log_handler_failure(id_, failure);
      }
    }
    if (!ends_at_once()) {
      const bool again = co_await end_exchange();
      if (!again) co_return;
    }
  }
}

bool Connection::flows() const { return http2_ ? http2_->flows() : in_exchange_ && started_; }

awaitable<void> Connection::run_http2() {
  read_deadline_ = TimePoint::max();
  Http2Server::Client client{
      .peer = peer_, .peer_uid = peer_uid_, .secure = secure_, .trusted = trusted_, .verified = verified_};
  http2_ = std::make_unique<Http2Server>(server_, stream_, std::move(client));
  const std::string first(input_.received());
  input_.drop();
  input_.give_block();
  co_await http2_->run(first);
  stream_.resume();
}

void Connection::check_limits(TimePoint now) {
  if (http2_) return http2_->check_limits(now);
  if (now >= request_deadline_) {
    request_deadline_ = TimePoint::max();
    if (guarded_) guarded_->interrupt(ETIMEDOUT);
    stream_.interrupt(ETIMEDOUT);
  }
  if (now >= read_deadline_ || now >= write_deadline_) {
    read_deadline_ = write_deadline_ = TimePoint::max();
    stream_.interrupt(ETIMEDOUT);
  }
}

// ---- reading

void Connection::begin_head() {
  in_exchange_ = false;
  parser_.reset();
  // The answer that just ended may have promised another one before the server began to leave.
  read_deadline_ =
      server_.clock.now() + (server_.idle_given_up && served_ ? last_request_limit : server_.limits.keep_alive_limit);
  idle_ = input_.empty();
}

/// Reads and parses as far as it goes without waiting.
Connection::HeadStep Connection::step_head() {
  while (true) {
    if (!input_.empty()) {
      if (idle_ || !parser_.begun()) read_deadline_ = server_.clock.now() + server_.limits.head_limit;
      idle_ = false;
      const auto parsed = parser_.parse(input_.received());
      if (parsed == Parsed::complete) {
        read_deadline_ = TimePoint::max();
        return HeadStep::complete;
      }
      if (parsed == Parsed::failed && !served_ && input_.received().starts_with(http2_preface)) return HeadStep::http2;
      if (parsed == Parsed::failed) {
        refusal_ = parser_.refusal();
        return HeadStep::refused;
      }
    } else if (server_.left && served_) {
      return HeadStep::ended;
    }
    const auto got = input_.try_receive();
    if (got.would_block()) {
      if (input_.empty()) input_.give_block();
      return HeadStep::wait;
    }
    if (got.error == ETIMEDOUT && !idle_) {
      refusal_ = {408, "the request head took too long"};
      return HeadStep::refused;
    }
    if (!got.ok() || got.ended()) return HeadStep::ended;
  }
}

void Connection::begin_exchange() {
  const auto bytes = input_.received();
  assign_head(head_, parser_, bytes);
  input_.take(parser_.head_bytes());

  head_request_ = head_.method == "HEAD";
  input_.begin_body(parser_.framing());
  continue_wanted_ = parser_.expects_continue() && parser_.framing().kind != BodyKind::none;
  served_ = in_exchange_ = true;
  started_ = answered_ = tunnelled_ = upgraded_ = false;
  body_pace_ = answer_pace_ = {};
  keep_ = parser_.keep_alive();
  id_.assign(server_.id_prefix);
  append_number(id_, ++server_.next_id, 16);
}

awaitable<Result<void>> Connection::fill_body() {
  if (std::exchange(continue_wanted_, false) && input_.empty() && !started_) {
    send("HTTP/1.1 100 Continue\r\n\r\n");
    if (needs_flush()) {
      auto flushed = co_await flush();
      if (!flushed) co_return flushed;
    }
  }
  if (input_.slice().empty() && !input_.finished() && !input_.broken()) {
    const auto since = server_.clock.now();
    read_deadline_ = since + server_.limits.body_idle_limit;
    const auto got = co_await input_.receive();
    read_deadline_ = TimePoint::max();
    if (got.error == ETIMEDOUT || (got.bytes > 0 && too_slow(body_pace_, since, got.bytes))) {
      keep_ = false;
      stream_.resume();
      co_return fail(Errc::timed_out, "the client sent no more of the request body in time");
    }
    if (!got.ok() || got.ended()) {
      keep_ = false;
      co_return fail(Errc::unavailable, "the client went away within the request body");
    }
  }
  input_.slice();
  if (input_.broken()) {
    keep_ = false;
    co_return fail(Errc::invalid, std::string("request body: ") + input_.broken());
  }
  co_return Result<void>();
}

/// Fewer bytes than body_rate_min over a window of waiting; time in which the client was not waited for is not counted.
bool Connection::too_slow(Pace& pace, TimePoint since, std::size_t bytes) {
  pace.bytes += bytes;
  pace.waited += server_.clock.now() - since;
  if (pace.waited < server_.limits.body_rate_window) return false;
  const auto waited = std::chrono::duration<double>(pace.waited).count();
  const bool slow = static_cast<double>(pace.bytes) < waited * static_cast<double>(server_.limits.body_rate_min);
  pace = {};
  return slow;
}

awaitable<Result<std::size_t>> Connection::read_some(std::span<char> into) {
  if (upgraded_) co_return co_await read_upgraded(into);
  co_return co_await WireExchange::read_some(into);
}

// ---- after 101

/// Both ends may be silent for as long as they like: what tells that the client is gone without a word is the kernel.
void Connection::begin_upgraded() {
  upgraded_ = true;
  keep_ = false;
  const int on = 1, idle_seconds = 30, probe_seconds = 10, probes = 6;
  setsockopt(stream_.fd(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);  // on a unix socket they do nothing
  setsockopt(stream_.fd(), IPPROTO_TCP, TCP_KEEPIDLE, &idle_seconds, sizeof idle_seconds);
  setsockopt(stream_.fd(), IPPROTO_TCP, TCP_KEEPINTVL, &probe_seconds, sizeof probe_seconds);
  setsockopt(stream_.fd(), IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

awaitable<Result<std::size_t>> Connection::read_upgraded(std::span<char> into) {
  if (input_.empty()) {
    const auto got = co_await stream_.read_some(into);
    if (!got.ok()) co_return fail(Errc::unavailable, "the client went away");
    co_return got.bytes;
  }
  const auto received = input_.received();  // with the request
  const auto size = std::min(received.size(), into.size());
  std::memcpy(into.data(), received.data(), size);
  input_.take(size);
  co_return size;
}

// ---- the life of an exchange

/// The usual end: everything read, answered and sent, and the connection may go on.
bool Connection::ends_at_once() {
  if (tunnelled_ || upgraded_ || !answered_ || !keep_ || needs_flush() || !body_finished()) return false;
  if (out_.capacity() > kept_output_bytes || scratch_.capacity() > kept_output_bytes) return false;
  stream_.resume();
  return true;
}

awaitable<bool> Connection::end_exchange() {
  if (tunnelled_) co_return false;
  if (upgraded_) {
    if (!stream_.hung_up() && !stream_.interrupted()) co_await linger();
    co_return false;
  }
  stream_.resume();
  if (!started_) {
    const bool sent = co_await answer_for_silent_handler(*this);
    if (!sent) co_return false;
  }
  if (needs_flush()) {
    auto flushed = co_await flush();
    if (!flushed) co_return false;
  }
  if (!answered_) co_return false;  // a stream that was not finished: closing shows the client that it was cut
  drop_buffered_body();
  if (!keep_ || !body_finished()) {
    if (!body_finished() || !input_.empty()) co_await linger();
    co_return false;
  }
  if (out_.capacity() > kept_output_bytes) out_ = {};
  if (scratch_.capacity() > kept_output_bytes) scratch_ = {};
  co_return true;
}

awaitable<void> Connection::refuse() {
  const auto refusal = refusal_;
  if (server_.metrics) server_.metrics->refused_request(refusal.status);
  stream_.resume();
  read_deadline_ = TimePoint::max();
  keep_ = false;
  std::string body = std::string(refusal.reason) + "\n";
  std::string text;
  append_status_line(text, refusal.status, reason_phrase(refusal.status));
  append_field(text, "Content-Type", "text/plain; charset=utf-8");
  append_field(text, "Date", server_.date.at(server_.clock));
  append_field(text, "Content-Length", std::to_string(body.size()));
  append_field(text, "Wick-Error", slug(kind_of_refusal(refusal.status)));
  append_field(text, "Connection", "close");
  text += "\r\n";
  send(text, body);
  auto flushed = co_await flush();
  if (flushed) co_await linger();
}

/// RFC 9112 9.6: closing with input unread would make the kernel reset the connection, and the client might never see
/// the answer.
awaitable<void> Connection::linger() {
  stream_.shutdown_send();
  read_deadline_ = server_.clock.now() + linger_limit;
  std::size_t dropped = 0;
  input_.drop();
  while (dropped < linger_bytes_max) {
    const auto got = co_await input_.receive();
    if (!got.ok() || got.ended()) break;
    dropped += got.bytes;
    input_.drop();
  }
  read_deadline_ = TimePoint::max();
}

// ---- for the relay

Stream* Connection::tunnel(std::string& already_received) {
  tunnelled_ = true;
  keep_ = false;
  already_received.assign(input_.received());
  input_.drop();
  return &stream_;
}

void Connection::tunnel_active(Duration idle_limit) { request_deadline_ = server_.clock.now() + idle_limit; }

void Connection::guard(Interruptible* upstream, TimePoint until) {
  guarded_ = upstream;
  request_deadline_ = until;
  stream_.tie(upstream);
  if (upstream && stream_.hung_up()) upstream->interrupt(ECONNRESET);
}

void Connection::release() {
  if (guarded_) stream_.resume();
  guarded_ = nullptr;
  request_deadline_ = TimePoint::max();
  stream_.tie(nullptr);
}

}  // namespace wick::http
