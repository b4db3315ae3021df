// One exchange through an upstream connection and back.
//
// The warm path (a kept connection, request wholly at hand, answer in one read) is one write and one read at the
// instance and one write to the client, in one coroutine frame: send_warm(), the wait for the head, end_warm(). Where
// it does not hold, run() goes on from what has been done. A request body that is still arriving is pumped beside the
// response.
#include <algorithm>
#include <cerrno>
#include <charconv>

#include "adapted_exchange.hpp"
#include "forwarding.hpp"
#include "relay_failure.hpp"
#include "relay_http2.hpp"
#include "tunnel.hpp"
#include "upstream_pool.hpp"
#include "wick/base/text.hpp"
#include "wick/http/websocket.hpp"
#include "wick/os/deadline.hpp"
#include "wick/os/task_group.hpp"
#include "wick/os/together.hpp"
#include "wire_exchange.hpp"

namespace wick::http {

namespace {

constexpr std::size_t body_at_hand_max = 32 << 10;  // sent with the head
constexpr int informational_max = 16;               // interim responses, and …
constexpr std::size_t informational_bytes_max = 32 << 10;

void append_chunk_size(std::string& text, std::size_t size) {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof digits, size, 16).ptr;
  text.append(digits, end).append("\r\n");
}

class Relay {
 public:
  Relay(WireExchange& client, Upstream::Impl& pool, const RelayOptions& options)
      : client_(client), pool_(pool), options_(options), until_(pool.clock().now() + options_.request_limit) {
    start_until_ = options_.response_start_limit.count() > 0
                       ? std::min(until_, until_ - options_.request_limit + options_.response_start_limit)
                       : until_;
  }

  /// True when the whole request is on its way over a kept connection.
  bool send_warm();
  /// After that: waits for nothing.
  bool have_head() { return upstream_->have_head(); }
  auto readable() { return upstream_->stream.readable(); }
  /// True when the whole answer was at hand and is passed on.
  bool end_warm();
  /// Everything else, from where that came to.
  awaitable<void> run();
  RelayOutcome take_outcome() { return std::move(outcome_); }

 private:
  struct Failure {
    Error error;
    bool upstream_failed = true;
  };
  // By pointer, which keeps every coroutine frame of the warm path below the 1020 bytes that Asio recycles.
  using Step = std::expected<void, std::unique_ptr<Failure>>;
  using Failed = std::unexpected<std::unique_ptr<Failure>>;

  awaitable<Step> exchange();
  awaitable<Step> connect();
  awaitable<Step> attempt();
  void prepare_request();
  Io send_at_once();
  bool whole_request_went(const Io& sent) const {
    return sent.bytes == upstream_->head_out.size() + upstream_->body_out.size();
  }
  awaitable<Step> send_rest(Io sent);
  awaitable<Step> response();
  ResponseView response_view();
  awaitable<Step> response_body();
  awaitable<Step> switch_protocols();
  awaitable<Step> begin_body_tunnel();
  awaitable<Step> response_beside_body();
  awaitable<bool> pump_request();
  awaitable<bool> run_response();
  bool may_retry() const;
  Failed upstream_failure(Error error);
  static Failed failure(Error error, bool upstream_failed) {
    return Failed(std::make_unique<Failure>(std::move(error), upstream_failed));
  }
  Failed client_failure(Error error) { return failure(std::move(error), false); }

  WireExchange& client_;
  Upstream::Impl& pool_;
  const RelayOptions& options_;
  /// The response has begun, or went on: the limit on its start is over, the one on its pauses begins.
  void alive() {
    const bool paused_at_most = options_.idle_limit.count() > 0;
    if (!paused_at_most && start_until_ == until_) return;
    client_.guard(&upstream_->stream,
                  paused_at_most ? std::min(until_, pool_.clock().now() + options_.idle_limit) : until_);
  }

  TimePoint until_;
  TimePoint start_until_;
  UpstreamLease upstream_;
  Framing framing_;            // of the request towards the instance
  bool sent_ = false;          // by send_warm()
  bool body_pending_ = false;  // the request's body is not wholly at hand
  Io sent_at_once_;
  bool websocket_ = false;
  bool write_refused_ = false;  // not one byte of the request went out
  bool trailers_kept_ = false;
  bool send_failed_ = false;  // the instance stopped reading the request
  std::unique_ptr<Failure> body_failure_;
  Step response_result_;
  RelayOutcome outcome_;
};

bool Relay::send_warm() {
  if (client_.wants_body_tunnel()) return false;
  if (own_hops(client_.head()) >= own_hops_max) return false;
  upstream_ = pool_.take_idle(is_idempotent(client_.head().method) ? InputCheck::noticed : InputCheck::now);
  if (!upstream_) return false;
  prepare_request();
  if (body_pending_) return false;
  client_.guard(&upstream_->stream, start_until_);
  sent_at_once_ = send_at_once();
  sent_ = true;
  upstream_->request_sent = whole_request_went(sent_at_once_);
  upstream_->expect_head(client_.head().method == "HEAD");
  return upstream_->request_sent;
}

bool Relay::end_warm() {
  const auto& parser = upstream_->parser;
  if (upstream_->head_state != Parsed::complete || parser.status() < 200) return false;
  const auto& framing = parser.framing();
  const auto at_hand = upstream_->input.received().size() - parser.head_bytes();
  if (framing.kind != BodyKind::none && (framing.kind != BodyKind::length || framing.length > at_hand)) return false;
  const auto view = response_view();
  upstream_->take_head();
  auto& input = upstream_->input;
  const auto body = input.slice();
  outcome_.status = view.status;
  outcome_.response_bytes = body.size();
  input.drop_slice();
  client_.begin(view, body, true);  // what the client does not take now is flushed by its connection
  client_.release();
  pool_.give_back(std::move(upstream_));
  return true;
}

awaitable<void> Relay::run() {
  if (own_hops(client_.head()) >= own_hops_max) {
    co_await answer_loop(client_, outcome_);
    co_return;
  }
  auto done = co_await exchange();
  client_.release();
  if (done) {
    pool_.give_back(std::move(upstream_));
    co_return;
  }
  outcome_.error = std::move(done.error()->error);
  outcome_.upstream_failed = done.error()->upstream_failed;
  upstream_.reset();
  co_await answer_relay_failure(client_, outcome_);
  co_return;
}

Relay::Failed Relay::upstream_failure(Error error) {
  // What looks like the instance's failure may be ours to blame on the client or the clock.
  const int interrupted = upstream_ ? upstream_->stream.interrupted() : 0;
  if (interrupted == ECONNRESET) return client_failure({Errc::unavailable, "the client went away"});
  if (interrupted == ETIMEDOUT) error = Error(Errc::timed_out, "request timeout");  // Knative's text (serving.md 3.7)
  return failure(std::move(error), true);
}

awaitable<Relay::Step> Relay::exchange() {
  if (!upstream_) {
    auto connected = co_await connect();
    if (!connected) co_return connected;
    prepare_request();
  }
  auto done = co_await attempt();
  if (done || !may_retry()) co_return done;
  client_.release();
  auto stale = std::move(upstream_);
  auto connected = co_await connect();
  if (!connected) co_return connected;
  upstream_->head_out.swap(stale->head_out);
  upstream_->body_out.swap(stale->body_out);
  stale.reset();
  co_return co_await attempt();
}

awaitable<Relay::Step> Relay::connect() {
  try {
    auto connecting = pool_.connect();
    auto made = co_await with_deadline(pool_.clock(), connect_limit, std::move(connecting));
    if (!made) co_return upstream_failure(std::move(made.error()));
    upstream_ = std::move(*made);
    co_return Step();
  } catch (const DeadlineExceeded&) {
    co_return upstream_failure({Errc::timed_out, "no connection to the upstream within 10 s"});
  }
}

awaitable<Relay::Step> Relay::attempt() {
  if (!std::exchange(sent_, false)) {
    client_.guard(&upstream_->stream, start_until_);
    sent_at_once_ = send_at_once();
    upstream_->expect_head(client_.head().method == "HEAD");
  }
  if (!whole_request_went(sent_at_once_)) {
    auto sent = co_await send_rest(sent_at_once_);
    if (!sent) co_return sent;
  }
  if (body_pending_) co_return co_await response_beside_body();
  upstream_->request_sent = true;
  co_return co_await response();
}

/// Only for a kept connection that ended before a byte of an answer: it was closed while idle, and our request crossed
/// that.
bool Relay::may_retry() const {
  return upstream_ && upstream_->reused && upstream_->untouched && !upstream_->stream.interrupted() && !body_pending_ &&
         !client_.started() && (write_refused_ || is_idempotent(client_.head().method));
}

void Relay::prepare_request() {
  auto& body = upstream_->body_out;
  body.clear();
  while (body.size() < body_at_hand_max) {
    const auto slice = client_.buffered_body();
    if (slice.empty()) break;
    body.append(slice);
    client_.consume_body(slice.size());
  }
  outcome_.request_bytes = body.size();
  body_pending_ = !client_.body_finished();
  framing_ = client_.body_framing();
  // A chunked body that is wholly here has a length.
  if (!body_pending_ && framing_.kind == BodyKind::chunked) framing_ = {BodyKind::length, body.size()};
  websocket_ = client_.wants_websocket();
  const ForwardContext context{.peer = client_.peer(),
                               .request_id = client_.id(),
                               .proto = client_.secure() ? "https" : std::string_view(options_.forwarded_proto),
                               .trust_forwarded = options_.trust_forwarded || client_.from_trusted_proxy(),
                               .websocket = websocket_,
                               .traces = &pool_.traces(),
                               .extra = &options_.extra_fields,
                               .client_lines = client_.client_lines()};
  upstream_->head_out.clear();
  append_request_head(upstream_->head_out, client_.head(), framing_, context);
  if (framing_.kind == BodyKind::chunked && !body.empty()) {
    append_chunk_size(upstream_->head_out, body.size());
    body += "\r\n";
  }
}

/// Bytes of head and body that went out at once.
Io Relay::send_at_once() {
  const auto& head = upstream_->head_out;
  const auto& body = upstream_->body_out;
  const iovec parts[] = {{const_cast<char*>(head.data()), head.size()}, {const_cast<char*>(body.data()), body.size()}};
  return upstream_->stream.try_write(parts, body.empty() ? 1 : 2);
}

awaitable<Relay::Step> Relay::send_rest(Io sent) {
  auto& stream = upstream_->stream;
  write_refused_ = !sent.ok() && !sent.would_block();
  if (!write_refused_) {
    const std::string_view head = upstream_->head_out;
    const auto of_head = std::min(sent.bytes, head.size());
    const auto body = std::string_view(upstream_->body_out).substr(sent.bytes - of_head);
    sent = co_await stream.write_all(head.substr(of_head), body);
    if (sent.ok()) co_return Step();
  }
  if (stream.interrupted()) co_return upstream_failure({});
  if (write_refused_ && upstream_->reused)
    co_return upstream_failure({Errc::unavailable, "the upstream closed the connection"});
  // An instance may answer (say, 413) and close without reading the request: its answer still counts.
  body_pending_ = false;
  send_failed_ = true;
  co_return Step();
}

// ---- the response

awaitable<Relay::Step> Relay::response() {
  std::size_t informational_bytes = 0;
  for (int informational = 0;; ++informational) {
    auto head = co_await upstream_->read_head();
    if (!head) co_return upstream_failure(std::move(head.error()));
    const int status = upstream_->parser.status();
    if (status >= 200) break;
    if (status == 101) co_return co_await switch_protocols();
    informational_bytes += upstream_->parser.head_bytes();
    if (informational == informational_max || informational_bytes > informational_bytes_max)
      co_return upstream_failure({Errc::corrupt, "the upstream sent more than 16 interim responses, or 32 KB of them"});
    // 100 answers an Expect that was ours to answer; the others are the client's (RFC 9110 15.2).
    if (status != 100) {
      forward_response_fields(upstream_->parser, upstream_->head_text(), upstream_->fields);
      client_.put_informational(status, upstream_->fields);
    }
    upstream_->input.take(upstream_->parser.head_bytes());
    upstream_->expect_head(client_.head().method == "HEAD");
    if (client_.needs_flush()) {
      auto flushed = co_await client_.flush();
      if (!flushed) co_return client_failure(std::move(flushed.error()));
    }
  }
  if (send_failed_) upstream_->request_sent = false;
  if (client_.wants_body_tunnel() && upstream_->parser.status() < 300)
    co_return upstream_failure({Errc::corrupt, "the upstream did not switch to WebSocket"});

  const auto view = response_view();
  upstream_->take_head();
  auto& input = upstream_->input;
  if (view.framing.kind == BodyKind::chunked && client_.wants_trailers()) {
    upstream_->trailers.clear();
    input.keep_trailers(upstream_->trailers);
    trailers_kept_ = true;
  }
  const auto body = input.joined_slice();
  outcome_.status = view.status;
  outcome_.response_bytes = body.size();
  input.drop_slice();
  const bool last = input.finished();
  if (input.broken())
    co_return upstream_failure({Errc::corrupt, std::string("the upstream's response: ") + input.broken()});
  if (last && trailers_kept_) client_.set_trailers(passed_trailers(upstream_->trailers));
  client_.begin(view, body, last);
  if (client_.needs_flush()) {
    auto flushed = co_await client_.flush();
    if (!flushed) co_return client_failure(std::move(flushed.error()));
  }
  if (last) co_return Step();
  alive();
  co_return co_await response_body();
}

/// The final head as the client gets it. Views of the upstream's input and fields.
ResponseView Relay::response_view() {
  const auto& parser = upstream_->parser;
  const auto text = upstream_->head_text();
  ResponseView view{.status = parser.status(), .reason = HeadParser::text(text, parser.reason_phrase())};
  view.has_date = forward_response_fields(parser, text, upstream_->fields);
  view.fields = upstream_->fields;
  view.framing = parser.framing();
  if (view.framing.kind == BodyKind::none && view.status != 204) view.declared_length = parser.declared_length();
  if (view.framing.kind == BodyKind::until_close) view.framing.kind = BodyKind::chunked;
  return view;
}

awaitable<Relay::Step> Relay::response_body() {
  auto& input = upstream_->input;
  while (true) {
    auto filled = co_await upstream_->fill_body();
    if (!filled) co_return upstream_failure(std::move(filled.error()));
    const auto body = input.joined_slice();
    input.drop_slice();
    const bool last = input.finished();
    outcome_.response_bytes += body.size();
    if (options_.idle_limit.count() > 0 && !last) alive();
    if (last && trailers_kept_) client_.set_trailers(passed_trailers(upstream_->trailers));
    if (!body.empty() || last) client_.put(body, last);
    if (client_.needs_flush()) {
      auto flushed = co_await client_.flush();
      if (!flushed) co_return client_failure(std::move(flushed.error()));
    }
    if (last) co_return Step();
  }
}

/// The same for a client that asked over HTTP/2 (RFC 8441 5).
awaitable<Relay::Step> Relay::begin_body_tunnel() {
  const auto key = client_.head().fields.find("sec-websocket-key");
  auto& fields = upstream_->fields;
  const auto is_accept = [](const FieldView& field) { return iequals(field.name, "Sec-WebSocket-Accept"); };
  const auto accept = std::ranges::find_if(fields, is_accept);
  if (!key || accept == fields.end() || accept->value != websocket_accept(*key))
    co_return upstream_failure({Errc::corrupt, "the upstream's Sec-WebSocket-Accept is not that of the request"});
  std::erase_if(fields, is_accept);
  ResponseView view{.status = 200, .fields = fields, .framing = {BodyKind::chunked, 0}, .has_date = true};
  outcome_.status = 200;
  outcome_.upgraded = true;
  client_.begin_body_tunnel();
  client_.begin(view, {}, false);
  upstream_->input.take(upstream_->parser.head_bytes());
  std::string from_upstream(upstream_->input.received());
  upstream_->input.drop();
  auto active = [this] { client_.tunnel_active(options_.request_limit); };
  active();
  const auto bytes = co_await run_body_tunnel(client_, upstream_->stream, std::move(from_upstream), active);
  outcome_.request_bytes += bytes.to_upstream;
  outcome_.response_bytes += bytes.to_client;
  co_return Step();
}

awaitable<Relay::Step> Relay::switch_protocols() {
  if (!websocket_ || !upstream_->parser.websocket_upgrade())
    co_return upstream_failure({Errc::corrupt, "the upstream switched protocols without being asked"});
  std::string from_client;
  forward_response_fields(upstream_->parser, upstream_->head_text(), upstream_->fields);
  if (client_.wants_body_tunnel()) co_return co_await begin_body_tunnel();
  upstream_->fields.push_back({"Upgrade", "websocket"});
  ResponseView view{.status = 101, .reason = reason_phrase(101), .fields = upstream_->fields, .has_date = true};
  outcome_.status = 101;
  client_.begin(view, {}, true);
  auto flushed = co_await client_.flush();
  if (!flushed) co_return client_failure(std::move(flushed.error()));
  Stream* client = client_.tunnel(from_client);
  if (!client) co_return client_failure({Errc::unsupported, "this connection cannot become a tunnel"});
  outcome_.upgraded = true;
  upstream_->input.take(upstream_->parser.head_bytes());
  std::string from_upstream(upstream_->input.received());
  upstream_->input.drop();
  auto active = [this] { client_.tunnel_active(options_.request_limit); };
  active();
  const auto bytes =
      co_await run_tunnel(*client, upstream_->stream, std::move(from_client), std::move(from_upstream), active);
  outcome_.request_bytes += bytes.to_upstream;
  outcome_.response_bytes += bytes.to_client;
  co_return Step();
}

// ---- a request body that is still arriving

awaitable<Relay::Step> Relay::response_beside_body() {
  // Over when the response is, or when the request failed in a way that makes an answer pointless.
  const auto end = co_await run_together(pump_request(), run_response());
  if (body_failure_) co_return Failed(std::move(body_failure_));
  for (const auto& error : {end.first_error, end.second_error})
    if (error && !is_cancellation(error)) std::rethrow_exception(error);
  if (end.second_error) std::rethrow_exception(end.second_error);
  co_return std::move(response_result_);
}

awaitable<bool> Relay::run_response() {
  response_result_ = co_await response();
  co_return true;
}

/// True when the exchange is over because of it.
awaitable<bool> Relay::pump_request() {
  const bool chunked = framing_.kind == BodyKind::chunked;
  std::string frame;
  while (true) {
    const auto slice = client_.buffered_body();
    if (slice.empty() && client_.body_finished()) break;
    if (slice.empty()) {
      auto filled = co_await client_.fill_body();
      if (filled) continue;
      if (upstream_->stream.interrupted())
        body_failure_ = std::move(upstream_failure(std::move(filled.error())).error());
      else
        body_failure_ = std::move(client_failure(std::move(filled.error())).error());
      co_return true;
    }
    frame.clear();
    if (chunked) append_chunk_size(frame, slice.size());
    auto sent = co_await upstream_->stream.write_all(frame, slice);
    if (sent.ok() && chunked) sent = co_await upstream_->stream.write_all("\r\n");
    if (!sent.ok()) co_return false;  // the instance reads no more: what it answers still counts
    outcome_.request_bytes += slice.size();
    client_.consume_body(slice.size());
  }
  if (chunked) {
    const auto sent = co_await upstream_->stream.write_all("0\r\n\r\n");
    if (!sent.ok()) co_return false;
  }
  upstream_->request_sent = true;
  co_return false;
}

awaitable<RelayOutcome> relay_wire(WireExchange& client, Upstream::Impl& pool, RelayOptions options) {
  if (pool.http2()) co_return co_await relay_http2(client, pool, options);
  Relay relay(client, pool, options);
  if (relay.send_warm()) {
    while (!relay.have_head()) co_await relay.readable();
    if (relay.end_warm()) co_return relay.take_outcome();
  }
  co_await relay.run();
  co_return relay.take_outcome();
}

awaitable<RelayOutcome> relay_any(Exchange& exchange, Upstream::Impl& pool, RelayOptions options) {
  AdaptedExchange client(exchange);
  auto outcome = co_await relay_wire(client, pool, std::move(options));
  // A connection sends what it has not taken yet by itself; nobody else does that for this one.
  if (client.needs_flush())
    if (auto flushed = co_await client.flush(); !flushed && !outcome.error) outcome.error = std::move(flushed.error());
  co_return outcome;
}

}  // namespace

awaitable<RelayOutcome> relay(Exchange& exchange, Upstream& upstream, RelayOptions options) {
  if (auto* client = exchange.wire()) return relay_wire(*client, upstream.impl(), std::move(options));
  return relay_any(exchange, upstream.impl(), std::move(options));
}

}  // namespace wick::http
