#include "connection.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/task_group.hpp"
#include "wire_text.hpp"

namespace wick::http {

namespace {

constexpr auto linger_limit = 1s;
constexpr std::size_t linger_bytes_max = 64 << 10;
constexpr std::size_t kept_output_bytes = 8 << 10;  // capacity of the output buffers that an idle connection may keep

/// Of a refused head, for Wick-Error.
Errc kind_of(int status) {
  switch (status) {
    case 408:
      return Errc::timed_out;
    case 413:
    case 414:
    case 431:
      return Errc::too_large;
    case 501:
    case 505:
      return Errc::unsupported;
    default:
      return Errc::invalid;
  }
}

void assign_lower(std::string& into, std::string_view text) {
  into.assign(text);
  for (char& c : into) c = chars::lower(c);
}

}  // namespace

Connection::Connection(ServerState& server, Fd socket, std::string peer, long peer_uid)
    : server_(server),
      stream_(server.poller, std::move(socket)),
      peer_(std::move(peer)),
      peer_uid_(peer_uid),
      trusted_(server.trusted.contains(peer_)),
      input_(stream_, server.poller.blocks(),
             {.extension_bytes_max = server.limits.chunk_extension_bytes_max,
              .trailer_bytes_max = server.limits.trailer_bytes_max}),
      parser_({.head_bytes_max = std::min(server.limits.head_bytes_max, Blocks::block_bytes - 512),
               .line_bytes_max = server.limits.line_bytes_max,
               .fields_max = server.limits.fields_max}) {}

Connection::~Connection() = default;

/// One frame that lives as long as the connection: a request costs it no coroutine of its own but the handler's.
awaitable<void> Connection::run() {
  while (true) {
    begin_head();
    auto step = step_head();
    while (step == HeadStep::wait) {
      co_await stream_.readable();
      step = step_head();
    }
    if (step == HeadStep::refused) co_await refuse();
    if (step != HeadStep::complete) co_return;
    begin_exchange();
    if (head_.target == "*" || server_.shedding) {
      const bool sent = co_await answer_about_server();
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
      if (failure) log_failure(failure);
    }
    if (!ends_at_once()) {
      const bool again = co_await end_exchange();
      if (!again) co_return;
    }
  }
}

void Connection::check_limits(TimePoint now) {
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
  parser_.reset();
  read_deadline_ = server_.clock.now() + server_.limits.keep_alive_limit;
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
      if (parsed == Parsed::failed) {
        refusal_ = parser_.refusal();
        return HeadStep::refused;
      }
    } else if (server_.draining && served_) {
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
  const auto text = [bytes](Span span) { return HeadParser::text(bytes, span); };
  head_.method.assign(text(parser_.method()));
  head_.target.assign(text(parser_.target()));
  if (head_.target.empty()) head_.target = "/";
  assign_lower(head_.authority, text(parser_.authority()));
  head_.minor_version = parser_.minor_version();
  std::size_t count = 0;
  for (const auto& span : parser_.fields()) {
    auto& field = head_.fields.slot(count++);
    field.name.assign(text(span.name));
    field.value.assign(text(span.value));
  }
  head_.fields.truncate(count);
  input_.take(parser_.head_bytes());

  head_request_ = head_.method == "HEAD";
  input_.begin_body(parser_.framing());
  continue_wanted_ = parser_.expects_continue() && parser_.framing().kind != BodyKind::none;
  served_ = true;
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
  while (true) {
    const auto slice = buffered_body();
    if (!slice.empty()) {
      const auto size = std::min(slice.size(), into.size());
      std::memcpy(into.data(), slice.data(), size);
      consume_body(size);
      co_return size;
    }
    if (body_finished()) co_return 0;
    auto filled = co_await fill_body();
    if (!filled) co_return fail(std::move(filled.error()));
  }
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

/// No service sees these: OPTIONS * (RFC 9110 9.3.7), and anything while memory is short.
awaitable<bool> Connection::answer_about_server() {
  if (server_.shedding) {
    ResponseHead busy{.status = 503,
                      .fields = {{"Content-Type", "text/plain; charset=utf-8"},
                                 {"Wick-Error", slug(Errc::overloaded)},
                                 {"Retry-After", "1"}}};
    auto refused = co_await respond(std::move(busy), "memory is short: try again\n");
    co_return refused.has_value();
  }
  ResponseHead allowed{.status = 204, .fields = {{"Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"}}};
  auto sent = co_await respond(std::move(allowed), {});
  co_return sent.has_value();
}

/// A cancelled handler is the connection's end and goes on as an exception.
void Connection::log_failure(const std::exception_ptr& failure) {
  if (is_cancellation(failure)) std::rethrow_exception(failure);
  keep_ = false;
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& e) {
    log::error("a request handler failed", {{"request", id_}, {"error", e.what()}});
  } catch (...) {
    log::error("a request handler failed", {{"request", id_}, {"error", "unknown exception"}});
  }
}

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
    ResponseHead head{.status = 500,
                      .fields = {{"Content-Type", "text/plain; charset=utf-8"}, {"Wick-Error", slug(Errc::internal)}}};
    auto sent = co_await respond(std::move(head), "the server failed to answer this request\n");
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
  append_field(text, "Wick-Error", slug(kind_of(refusal.status)));
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

void Connection::guard(Stream* upstream, TimePoint until) {
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
