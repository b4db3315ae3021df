#include "http2_exchange.hpp"

#include <algorithm>

#include "http2_fields.hpp"
#include "server_answers.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/http/websocket.hpp"
#include "wire_text.hpp"

namespace wick::http {

namespace {

constexpr std::size_t answer_bytes_held_max = 64 << 10;  // of one stream, while the client takes nothing

bool is_one_word(std::string_view text) {
  return !text.empty() && std::ranges::none_of(text, [](unsigned char c) { return c <= ' ' || c == 0x7f; });
}

}  // namespace

Http2Exchange::Http2Exchange(Http2Server& connection, std::int32_t stream)
    : connection_(connection), stream_(stream), begun_(now()) {
  id_.assign(connection_.server_.id_prefix);
  append_number(id_, ++connection_.server_.next_id, 16);
}

// ---- the request

void Http2Exchange::add_field(std::string_view name, std::string_view value) {
  const auto& limits = connection_.server_.limits;
  if (too_large_) return;
  if (field_lines_.size() + cookies_.size() + path_.size() + name.size() + value.size() > limits.head_bytes_max ||
      ++fields_ > limits.fields_max + 4) {
    too_large_ = true;
    return;
  }
  if (name == ":method") {
    method_ = value;
  } else if (name == ":path") {
    path_ = value;
  } else if (name == ":protocol") {
    protocol_ = value;
  } else if (name == ":authority") {
    authority_ = value;
  } else if (name.starts_with(':')) {
    return;                       // :scheme says what we know; others nghttp2 refuses
  } else if (name == "cookie") {  // may come in crumbs (RFC 9113 8.2.3)
    if (!cookies_.empty()) cookies_ += "; ";
    cookies_ += value;
  } else if (name == "host") {
    if (authority_.empty())
      authority_ = value;
    else if (!chars::equals_lower(value, to_lower(authority_)))
      bad_ = true;  // RFC 9113 8.3.1
  } else {
    if (!chars::all<chars::token>(name) || !chars::all<chars::value>(value)) bad_ = true;
    if (name == "content-length") has_length_ = true;
    append_field(field_lines_, name, value);
  }
}

/// Written down as HTTP/1.1 and read by its parser, so that one set of rules holds for both.
void Http2Exchange::complete_head(bool last) {
  has_head_ = true;
  body_ended_ = last;
  if (too_large_) refusal_ = {431, "the header fields are too large"};
  if (method_ == "CONNECT" && protocol_.empty()) refusal_ = {405, "CONNECT is not offered"};
  if (!protocol_.empty() && protocol_ != "websocket") refusal_ = {501, "CONNECT is offered for websocket alone"};
  if (refusal_) return;
  if (bad_ || !is_one_word(method_) || !is_one_word(path_) || (!authority_.empty() && !is_one_word(authority_)) ||
      !chars::all<chars::value>(cookies_)) {
    refusal_ = {400, "a header field cannot be passed on"};
    return;
  }
  if (!protocol_.empty()) return complete_connect();
  std::string text = method_ + " " + path_ + " HTTP/1.1\r\n";
  append_field(text, "host", authority_);
  text += field_lines_;
  if (!cookies_.empty()) append_field(text, "cookie", cookies_);
  if (!last && !has_length_) text += "transfer-encoding: chunked\r\n";
  text += "\r\n";
  if (!parse_head(text)) return;
  head_.fields.erase("transfer-encoding");
  if (last && framing_.kind == BodyKind::chunked) framing_ = {};
}

/// As the handshake of HTTP/1.1 that says the same (RFC 8441 5): the key is the connection's there, and ours here.
void Http2Exchange::complete_connect() {
  if (has_length_) {
    refusal_ = {400, "an extended CONNECT has no content-length"};
    return;
  }
  std::string text = "GET " + path_ + " HTTP/1.1\r\n";
  append_field(text, "host", authority_);
  text += "connection: Upgrade\r\nupgrade: websocket\r\n";
  append_field(text, "sec-websocket-key", websocket_key());
  text += field_lines_;
  if (!cookies_.empty()) append_field(text, "cookie", cookies_);
  text += "\r\n";
  if (!parse_head(text)) return;
  const auto request = websocket_request(head_);
  std::size_t keys = 0;
  for (const auto& field : head_.fields) keys += chars::equals_lower(field.name, "sec-websocket-key") ? 1 : 0;
  if (!request || keys != 1) {
    refusal_ = {400, "a WebSocket over HTTP/2 has Sec-WebSocket-Version: 13 and no Sec-WebSocket-Key"};
    return;
  }
  connect_ = true;
  continue_wanted_ = false;
}

bool Http2Exchange::parse_head(const std::string& text) {
  const auto& limits = connection_.server_.limits;
  RequestParser parser({.head_bytes_max = limits.head_bytes_max + 160,
                        .line_bytes_max = limits.line_bytes_max,
                        .fields_max = limits.fields_max + 5});
  const auto parsed = parser.parse(text);
  if (parsed != Parsed::complete) {
    refusal_ = parsed == Parsed::failed ? parser.refusal() : Refusal{400, "the header fields are no head"};
    return false;
  }
  assign_head(head_, parser, text);
  framing_ = parser.framing();
  continue_wanted_ = parser.expects_continue() && !body_ended_;
  for (auto* spent : {&method_, &path_, &authority_, &cookies_, &protocol_, &field_lines_}) *spent = {};
  return true;
}

/// False when nobody will read it.
bool Http2Exchange::add_body(std::string_view bytes) {
  if ((answered_ && !tunnels_) || refusal_) return false;
  arrived_.append(bytes);
  connection_.server_.poller.wake_soon(body_waiter_);
  return true;
}

void Http2Exchange::end_body() {
  body_ended_ = true;
  connection_.server_.poller.wake_soon(body_waiter_);
}

std::string_view Http2Exchange::buffered_body() {
  if (waits_for_tunnel()) return {};
  if (body_read_ == body_.size()) {
    body_.clear();
    body_.swap(arrived_);
    body_read_ = 0;
  }
  return std::string_view(body_).substr(body_read_);
}

void Http2Exchange::consume_body(std::size_t bytes) {
  body_read_ += bytes;
  if (closed_) return;
  nghttp2_session_consume(connection_.wire_.session(), stream_, bytes);
  connection_.pump();
}

awaitable<Result<void>> Http2Exchange::fill_body() {
  if (std::exchange(continue_wanted_, false) && buffered_body().empty() && !started_) put_informational(100, {});
  if (!tunnels_) read_deadline_ = now() + connection_.server_.limits.body_idle_limit;
  while (buffered_body().empty() && !body_ended_ && !closed_ && !too_slow_)
    co_await connection_.server_.poller.wait(body_waiter_);
  read_deadline_ = TimePoint::max();
  if (!buffered_body().empty() || (body_ended_ && !closed_)) co_return Result<void>();
  if (std::exchange(too_slow_, false))
    co_return fail(Errc::timed_out, "the client sent no more of the request body in time");
  co_return fail(gone_error());
}

// ---- the answer

awaitable<void> Http2Exchange::answer_refusal() {
  const auto refusal = *refusal_;
  ResponseHead head{
      .status = refusal.status,
      .fields = {{"Content-Type", "text/plain; charset=utf-8"}, {"Wick-Error", slug(kind_of_refusal(refusal.status))}}};
  auto sent = co_await respond(std::move(head), std::string(refusal.reason) + "\n");
  (void)sent;  // who is gone reads no answer
}

void Http2Exchange::begin(const ResponseView& head, std::string_view body, bool last) {
  started_ = true;
  if (closed_) return;
  if (waits_for_tunnel() && head.status / 100 == 2) return cut();  // the client would take it for a WebSocket
  // gRPC ends a call that has no message with its head alone ("Trailers-Only").
  const bool no_body =
      head.framing.kind == BodyKind::none || (last && body.empty() && trailers_.empty() && head.framing.length == 0);
  Http2Fields fields(head.fields.size() + 3);
  const auto status = std::to_string(head.status);
  fields.add(":status", status);
  for (const auto& field : head.fields) fields.add(field.name, field.value);
  if (!head.has_date) fields.add("date", connection_.server_.date.at(connection_.server_.clock));
  std::optional<std::uint64_t> length = head.declared_length;
  if (head.framing.kind == BodyKind::length) length = answer_left_ = head.framing.length;
  const auto length_text = std::to_string(length.value_or(0));
  if (length) fields.add("content-length", length_text);
  nghttp2_data_provider source{.source = {.ptr = this}, .read_callback = read_answer};
  if (nghttp2_submit_response(connection_.wire_.session(), stream_, fields.data(), fields.size(),
                              no_body ? nullptr : &source) != 0) {
    reset(NGHTTP2_INTERNAL_ERROR);
    return;
  }
  progress_ = now();
  if (no_body) {
    answered_ = true;
    connection_.pump();
    return;
  }
  put(body, last);
}

void Http2Exchange::put(std::string_view body, bool last) {
  if (closed_ || cut_) return;
  if (answer_left_) {
    body = body.substr(0, std::min<std::uint64_t>(*answer_left_, body.size()));
    *answer_left_ -= body.size();
    if (last && *answer_left_ > 0) return cut();  // too short: the client must not take it for whole
  }
  if (needs_flush() || !out_.empty())
    out_.append(body);
  else
    direct_ = body;
  if (last) answered_ = true;
  if (std::exchange(deferred_, false)) nghttp2_session_resume_data(connection_.wire_.session(), stream_);
  connection_.pump();
  out_.append(std::exchange(direct_, {}));
}

ssize_t Http2Exchange::read_answer(nghttp2_session*, std::int32_t, std::uint8_t* into, std::size_t size,
                                   std::uint32_t* flags, nghttp2_data_source* source, void*) {
  auto& exchange = *static_cast<Http2Exchange*>(source->ptr);
  const auto given = exchange.give_answer(reinterpret_cast<char*>(into), size);
  const bool all = exchange.out_.empty() && exchange.direct_.empty();
  if (all && exchange.answered_) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (!exchange.trailers_.empty()) {
      *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      exchange.submit_trailers();
    }
  } else if (given == 0) {
    exchange.deferred_ = true;
    return NGHTTP2_ERR_DEFERRED;
  }
  return static_cast<ssize_t>(given);
}

std::size_t Http2Exchange::give_answer(char* into, std::size_t size) {
  const auto kept = std::string_view(out_).substr(out_sent_).copy(into, size);
  out_sent_ += kept;
  if (out_sent_ == out_.size()) out_.clear(), out_sent_ = 0;
  const auto more = direct_.copy(into + kept, size - kept);
  direct_.remove_prefix(more);
  if (kept + more > 0) progress_ = now();
  if (!needs_flush()) connection_.server_.poller.wake_soon(flush_waiter_);
  return kept + more;
}

void Http2Exchange::submit_trailers() {
  const auto lines = std::exchange(trailers_, {});
  std::vector<std::string_view> all;
  for (std::string_view rest = lines; !rest.empty();) {
    const auto end = rest.find("\r\n");
    if (end == rest.npos) break;
    all.push_back(rest.substr(0, end));
    rest.remove_prefix(end + 2);
  }
  Http2Fields fields(all.size());
  for (const auto line : all)
    if (const auto colon = line.find(':'); colon != line.npos)
      fields.add(line.substr(0, colon), trim(line.substr(colon + 1)));
  nghttp2_submit_trailer(connection_.wire_.session(), stream_, fields.data(), fields.size());
}

void Http2Exchange::put_informational(int status, std::span<const FieldView> fields) {
  if (closed_ || status == 101) return;
  Http2Fields lines(fields.size() + 1);
  const auto text = std::to_string(status);
  lines.add(":status", text);
  for (const auto& field : fields) lines.add(field.name, field.value);
  nghttp2_submit_headers(connection_.wire_.session(), NGHTTP2_FLAG_NONE, stream_, nullptr, lines.data(), lines.size(),
                         nullptr);
  connection_.pump();
}

bool Http2Exchange::needs_flush() const { return closed_ || cut_ || out_.size() - out_sent_ > answer_bytes_held_max; }

awaitable<Result<void>> Http2Exchange::flush() {
  while (!closed_ && !cut_ && needs_flush()) co_await connection_.server_.poller.wait(flush_waiter_);
  if (closed_ || cut_) {
    if (answered_ && !cut_ && out_.empty()) co_return Result<void>();  // it went, and the stream with it
    co_return fail(gone_error());
  }
  co_return Result<void>();
}

void Http2Exchange::cut() {
  started_ = true;
  cut_ = true;
  reset(NGHTTP2_INTERNAL_ERROR);
}

void Http2Exchange::reset(std::uint32_t code) {
  if (closed_) return;
  nghttp2_submit_rst_stream(connection_.wire_.session(), NGHTTP2_FLAG_NONE, stream_, code);
  connection_.pump();
}

void Http2Exchange::answer_sent() {
  if (!body_ended_ && !tunnels_) reset(NGHTTP2_NO_ERROR);  // the rest of the request is not wanted (RFC 9113 8.1)
}

void Http2Exchange::begin_own(const ResponseHead& head, std::optional<std::uint64_t> length, std::string_view body,
                              bool last) {
  OwnAnswer answer;
  make_own_answer(head, head_.method == "HEAD", length, answer);
  begin(answer.view, body, last);
}

awaitable<Result<void>> Http2Exchange::respond(ResponseHead head, std::string body) {
  if (started_) co_return fail(Errc::internal, "the exchange is answered already");
  head.fields.erase("Content-Length");
  begin_own(head, body.size(), body, true);
  co_return co_await flush();
}

awaitable<Result<void>> Http2Exchange::start(ResponseHead head) {
  if (started_) co_return fail(Errc::internal, "the exchange is answered already");
  if (head.status == 101) co_return fail(Errc::unsupported, "HTTP/2 switches no protocols");
  begin_own(head, std::nullopt, {}, false);
  co_return co_await flush();
}

awaitable<Result<void>> Http2Exchange::write(std::string_view bytes) {
  if (!started_) co_return fail(Errc::internal, "write before start");
  if (answered_ || bytes.empty()) co_return Result<void>();
  put(bytes, false);
  co_return co_await flush();
}

awaitable<Result<void>> Http2Exchange::finish() {
  if (answered_) co_return Result<void>();
  put({}, true);
  co_return co_await flush();
}

// ---- the end

void Http2Exchange::close() {
  if (std::exchange(closed_, true)) return;
  // What nobody will read must not narrow the connection's window.
  nghttp2_session_consume_connection(connection_.wire_.session(), body_.size() - body_read_ + arrived_.size());
  if (guarded_) std::exchange(guarded_, nullptr)->interrupt(ECONNRESET);
  auto& poller = connection_.server_.poller;
  for (auto* waiter : {&body_waiter_, &flush_waiter_, &gone_waiter_}) poller.wake_soon(*waiter);
}

awaitable<void> Http2Exchange::wait_gone() {
  while (!closed_) co_await connection_.server_.poller.wait(gone_waiter_);
}

Error Http2Exchange::gone_error() const { return {Errc::unavailable, "the client went away"}; }

void Http2Exchange::guard(Interruptible* upstream, TimePoint until) {
  guarded_ = upstream;
  request_deadline_ = until;
  if (upstream && closed_) upstream->interrupt(ECONNRESET);
}

void Http2Exchange::release() {
  guarded_ = nullptr;
  request_deadline_ = TimePoint::max();
}

void Http2Exchange::check_limits(TimePoint now) {
  if (now >= request_deadline_) {
    request_deadline_ = TimePoint::max();
    if (guarded_) guarded_->interrupt(ETIMEDOUT);
  }
  if (now >= read_deadline_) {
    read_deadline_ = TimePoint::max();
    too_slow_ = true;
    connection_.server_.poller.wake_soon(body_waiter_);
  }
  const bool waits_for_client = started_ && !out_.empty();
  if (waits_for_client && now >= progress_ + connection_.server_.limits.body_idle_limit) cut();
}

}  // namespace wick::http
