#include "relay_http2.hpp"

#include <algorithm>

#include "forwarding.hpp"
#include "relay_failure.hpp"
#include "wick/os/deadline.hpp"
#include "wick/os/together.hpp"

namespace wick::http {

namespace {

class Http2Relay {
 public:
  Http2Relay(WireExchange& client, Upstream::Impl& pool, const RelayOptions& options)
      : client_(client), pool_(pool), options_(options), until_(pool.clock().now() + options.request_limit) {
    start_until_ = options.response_start_limit.count() > 0
                       ? std::min(until_, pool.clock().now() + options.response_start_limit)
                       : until_;
  }

  awaitable<void> run();
  RelayOutcome take_outcome() { return std::move(outcome_); }

 private:
  awaitable<bool> attempt();
  awaitable<bool> open();
  awaitable<bool> pump_request();
  awaitable<bool> respond();
  awaitable<bool> run_response();
  awaitable<bool> pass_body();
  ResponseView response_view();
  void alive();
  void upstream_failed(Error error);
  void client_failed(Error error);
  /// Nothing of it has been used up, and the upstream has not begun to act.
  bool may_retry() const;

  WireExchange& client_;
  Upstream::Impl& pool_;
  const RelayOptions& options_;
  TimePoint until_;
  TimePoint start_until_;
  std::unique_ptr<Http2ClientStream> stream_;
  std::vector<FieldView> fields_;
  bool body_touched_ = false;
  bool responded_ = false;
  RelayOutcome outcome_;
};

awaitable<void> Http2Relay::run() {
  if (own_hops(client_.head()) >= own_hops_max) {
    co_await answer_loop(client_, outcome_);
    co_return;
  }
  if (client_.wants_body_tunnel()) {
    outcome_.error = Error(Errc::unsupported, "a port named h2c takes no WebSocket");
    co_await answer_relay_failure(client_, outcome_);
    co_return;
  }
  bool done = co_await attempt();
  if (!done && may_retry()) {
    client_.release();
    outcome_.error.reset();
    outcome_.upstream_failed = false;
    done = co_await attempt();
  }
  client_.release();
  if (!done) {
    stream_.reset();
    co_await answer_relay_failure(client_, outcome_);
  }
}

bool Http2Relay::may_retry() const {
  return stream_ && outcome_.upstream_failed && !client_.started() && !body_touched_ && !stream_->interrupted() &&
         stream_->untouched() && (stream_->refused() || is_idempotent(client_.head().method));
}

awaitable<bool> Http2Relay::open() {
  stream_.reset();
  try {
    auto opening = pool_.http2()->open(pool_.connector());
    auto opened = co_await with_deadline(pool_.clock(), connect_limit, std::move(opening));
    if (opened)
      stream_ = std::move(*opened);
    else
      upstream_failed(std::move(opened.error()));
  } catch (const DeadlineExceeded&) {
    upstream_failed({Errc::timed_out, "no connection to the upstream within 10 s"});
  }
  co_return stream_ != nullptr;
}

/// True when the answer went to the client as a whole.
awaitable<bool> Http2Relay::attempt() {
  const bool opened = co_await open();
  if (!opened) co_return false;
  const bool has_body = !client_.body_finished();
  auto framing = client_.body_framing();
  if (framing.kind == BodyKind::chunked) framing = {};
  const ForwardContext context{.peer = client_.peer(),
                               .request_id = client_.id(),
                               .proto = client_.secure() ? "https" : std::string_view(options_.forwarded_proto),
                               .trust_forwarded = options_.trust_forwarded || client_.from_trusted_proxy(),
                               .websocket = false,
                               .traces = &pool_.traces(),
                               .extra = &options_.extra_fields,
                               .client_lines = client_.client_lines()};
  std::string head;
  const bool of_unknown_length = has_body && framing.kind == BodyKind::none;
  append_request_head(head, client_.head(), of_unknown_length ? Framing{BodyKind::chunked, 0} : framing, context);
  stream_->send_head(head, has_body);
  client_.guard(stream_.get(), start_until_);
  if (!has_body) co_return co_await respond();
  auto pumping = pump_request();
  auto responding = run_response();
  const auto end = co_await run_together(std::move(pumping), std::move(responding));
  for (const auto& error : {end.first_error, end.second_error})
    if (error) std::rethrow_exception(error);
  co_return responded_ && !outcome_.error;
}

awaitable<bool> Http2Relay::run_response() {
  responded_ = co_await respond();
  co_return true;
}

/// True when the exchange is over because of it.
awaitable<bool> Http2Relay::pump_request() {
  while (true) {
    const auto slice = client_.buffered_body();
    if (slice.empty() && client_.body_finished()) break;
    if (slice.empty()) {
      auto filled = co_await client_.fill_body();
      if (filled) continue;
      if (stream_->interrupted())
        upstream_failed(std::move(filled.error()));
      else
        client_failed(std::move(filled.error()));
      co_return true;
    }
    auto sent = co_await stream_->send_body(slice, false);
    if (!sent) co_return false;  // the instance reads no more: what it answers still counts
    body_touched_ = true;
    outcome_.request_bytes += slice.size();
    client_.consume_body(slice.size());
  }
  auto sent = co_await stream_->send_body({}, true);
  (void)sent;  // the same
  co_return false;
}

void Http2Relay::alive() {
  const bool paused_at_most = options_.idle_limit.count() > 0;
  if (!paused_at_most && start_until_ == until_) return;
  client_.guard(stream_.get(), paused_at_most ? std::min(until_, pool_.clock().now() + options_.idle_limit) : until_);
}

ResponseView Http2Relay::response_view() {
  ResponseView view{.status = stream_->status(), .reason = reason_phrase(stream_->status())};
  view.has_date = forward_response_fields(stream_->fields(), fields_);
  view.fields = fields_;
  const auto length = stream_->declared_length();
  const bool never_a_body = view.status == 204 || view.status == 304 || client_.head().method == "HEAD";
  if (never_a_body) {
    if (view.status != 204) view.declared_length = length;
  } else if (length) {
    view.framing = {BodyKind::length, *length};
  } else if (stream_->finished() && stream_->trailers().empty()) {
    view.framing = {BodyKind::length, 0};
  } else {
    view.framing = {BodyKind::chunked, 0};
  }
  return view;
}

awaitable<bool> Http2Relay::respond() {
  const auto pass_interim = [this](int status, std::span<const Field> fields) {
    if (status == 100) return;  // answers an Expect that was ours to answer
    std::vector<FieldView> views;
    for (const auto& field : fields) views.push_back({field.name, field.value});
    client_.put_informational(status, views);
  };
  auto head = co_await stream_->read_head(pass_interim);
  if (!head) {
    upstream_failed(std::move(head.error()));
    co_return false;
  }
  const auto view = response_view();
  outcome_.status = view.status;
  if (view.framing.kind == BodyKind::none) {
    client_.begin(view, {}, true);
    co_return true;
  }
  const bool last = stream_->finished() && stream_->buffered().empty();
  if (last && client_.wants_trailers()) client_.set_trailers(passed_trailers(stream_->trailers()));
  client_.begin(view, {}, last);
  if (last) co_return true;
  alive();
  co_return co_await pass_body();
}

awaitable<bool> Http2Relay::pass_body() {
  while (true) {
    auto filled = co_await stream_->fill_body();
    if (!filled) {
      upstream_failed(std::move(filled.error()));
      co_return false;
    }
    const auto slice = stream_->buffered();
    const auto size = slice.size();
    if (size > 0) {
      client_.put(slice, false);
      outcome_.response_bytes += size;
      stream_->consume(size);
      alive();
    }
    const bool last = stream_->finished();
    if (last) {
      if (client_.wants_trailers()) client_.set_trailers(passed_trailers(stream_->trailers()));
      client_.put({}, true);
    }
    if (client_.needs_flush()) {
      auto flushed = co_await client_.flush();
      if (!flushed) {
        client_failed(std::move(flushed.error()));
        co_return false;
      }
    }
    if (last) co_return true;
  }
}

void Http2Relay::upstream_failed(Error error) {
  if (outcome_.error) return;
  // What looks like the instance's failure may be ours to blame on the client or the clock.
  const int interrupted = stream_ ? stream_->interrupted() : 0;
  if (interrupted == ECONNRESET) return client_failed({Errc::unavailable, "the client went away"});
  if (interrupted == ETIMEDOUT) error = Error(Errc::timed_out, "request timeout");  // serving.md 3.7
  outcome_.error = std::move(error);
  outcome_.upstream_failed = true;
}

void Http2Relay::client_failed(Error error) {
  if (!outcome_.error) outcome_.error = std::move(error);
}

}  // namespace

awaitable<RelayOutcome> relay_http2(WireExchange& client, Upstream::Impl& pool, const RelayOptions& options) {
  Http2Relay relay(client, pool, options);
  co_await relay.run();
  co_return relay.take_outcome();
}

}  // namespace wick::http
