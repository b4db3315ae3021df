#include "connection.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/task_group.hpp"

namespace wick::http {

namespace {

constexpr auto linger_limit = 1s;
constexpr std::size_t linger_bytes_max = 64 << 10;
constexpr std::size_t kept_output_bytes = 8 << 10;  // capacity of the output buffers that an idle connection may keep

void append_number(std::string& text, std::uint64_t value, int base = 10) {
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof digits, value, base).ptr;
  text.append(digits, end);
}

void append_status_line(std::string& text, int status, std::string_view reason) {
  if (status == 200 && reason == "OK") {
    text += "HTTP/1.1 200 OK\r\n";
    return;
  }
  text += "HTTP/1.1 ";
  append_number(text, static_cast<std::uint64_t>(status));
  text += ' ';
  text += reason;
  text += "\r\n";
}

void append_field(std::string& text, std::string_view name, std::string_view value) {
  text.append(name);
  text += ": ";
  text.append(value);
  text += "\r\n";
}

/// A handler's field must not be able to break the framing of the answer.
bool is_safe_field(const Field& field) {
  return !field.name.empty() && chars::all<chars::token>(field.name) && chars::all<chars::value>(field.value);
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
      input_(stream_, server.poller.blocks()),
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
    if (head_.target == "*") {
      const bool sent = co_await answer_about_server();
      if (!sent) co_return;
    } else {
      std::exception_ptr failure;
      ++server_.in_flight;
      try {
        co_await server_.handler(*this);
      } catch (...) {
        failure = std::current_exception();
      }
      --server_.in_flight;
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
  started_ = answered_ = tunnelled_ = false;
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
    read_deadline_ = server_.clock.now() + server_.limits.body_idle_limit;
    const auto got = co_await input_.receive();
    read_deadline_ = TimePoint::max();
    if (got.error == ETIMEDOUT) {
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

awaitable<Result<std::size_t>> Connection::read_some(std::span<char> into) {
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

// ---- answering

/// What the socket does not take is kept.
void Connection::send(std::string_view first, std::string_view second, std::string_view third) {
  if (write_error_) return;
  if (out_.empty()) {
    iovec parts[3];
    int count = 0;
    for (const auto part : {first, second, third})
      if (!part.empty()) parts[count++] = {const_cast<char*>(part.data()), part.size()};
    if (count == 0) return;
    const auto sent = stream_.try_write(parts, count);
    if (!sent.ok() && !sent.would_block()) {
      write_error_ = sent.error;
      return;
    }
    auto skip = sent.bytes;
    for (auto* part : {&first, &second, &third}) {
      const auto of_part = std::min(skip, part->size());
      part->remove_prefix(of_part);
      skip -= of_part;
    }
  }
  out_.append(first).append(second).append(third);
}

awaitable<Result<void>> Connection::flush() {
  if (!write_error_ && !out_.empty()) {
    write_deadline_ = server_.clock.now() + server_.limits.body_idle_limit;
    std::size_t done = 0;
    while (done < out_.size()) {
      const auto sent = stream_.try_write(std::string_view(out_).substr(done));
      if (sent.would_block()) {
        co_await stream_.writable();
        continue;
      }
      if (!sent.ok()) {
        write_error_ = sent.error;
        break;
      }
      done += sent.bytes;
      write_deadline_ = server_.clock.now() + server_.limits.body_idle_limit;
    }
    write_deadline_ = TimePoint::max();
    out_.clear();
  }
  if (write_error_) {
    keep_ = false;
    co_return fail(write_failure());
  }
  co_return Result<void>();
}

Error Connection::write_failure() const {
  if (write_error_ == ETIMEDOUT) return {Errc::timed_out, "the client read no more of the response in time"};
  return {Errc::unavailable, "the client went away"};
}

void Connection::begin(const ResponseView& head, std::string_view body, bool last) {
  started_ = true;
  // Whatever of the request's body is here already is dropped; what is still to come would be read as the next request.
  if (last || head.framing.kind == BodyKind::none) {
    drop_buffered_body();
  }
  if (!body_finished() || server_.draining) keep_ = false;
  auto framing = head.framing;
  if (framing.kind == BodyKind::chunked && head_.minor_version == 0) framing.kind = BodyKind::until_close;
  if (framing.kind == BodyKind::until_close) keep_ = false;
  answer_kind_ = framing.kind;
  answer_left_ = framing.length;

  auto& text = scratch_;
  text.clear();
  append_status_line(text, head.status, head.reason);
  for (const auto& field : head.fields) append_field(text, field.name, field.value);
  if (!head.has_date) append_field(text, "Date", server_.date.at(server_.clock));
  if (framing.kind == BodyKind::length || head.declared_length) {
    text += "Content-Length: ";
    append_number(text, head.declared_length.value_or(framing.length));
    text += "\r\n";
  } else if (framing.kind == BodyKind::chunked) {
    text += "Transfer-Encoding: chunked\r\n";
  }
  if (head.status == 101)
    text += "Connection: Upgrade\r\n";
  else if (!keep_)
    text += "Connection: close\r\n";
  else if (head_.minor_version == 0)
    text += "Connection: keep-alive\r\n";
  text += "\r\n";
  if (framing.kind == BodyKind::none) {
    answered_ = true;
    send(text);
    return;
  }
  put(body, last);
}

void Connection::put(std::string_view body, bool last) {
  // scratch_ may hold a head that was not sent yet.
  std::string_view after;
  if (answer_kind_ == BodyKind::chunked) {
    if (!body.empty()) {
      append_number(scratch_, body.size(), 16);
      scratch_ += "\r\n";
      after = last ? "\r\n0\r\n\r\n" : "\r\n";
    } else if (last) {
      after = "0\r\n\r\n";
    }
  } else if (answer_kind_ == BodyKind::length) {
    body = body.substr(0, std::min<std::uint64_t>(answer_left_, body.size()));
    answer_left_ -= body.size();
    if (last && answer_left_ > 0) {  // too short: the client must not take it for whole
      cut();
      return;
    }
  }
  send(scratch_, body, after);
  scratch_.clear();
  if (last) answered_ = true;
}

void Connection::put_informational(int status, std::span<const FieldView> fields) {
  if (head_.minor_version == 0) return;  // RFC 9110 15.2
  scratch_.clear();
  append_status_line(scratch_, status, reason_phrase(status));
  for (const auto& field : fields) append_field(scratch_, field.name, field.value);
  scratch_ += "\r\n";
  send(scratch_);
  scratch_.clear();
  if (status == 100) continue_wanted_ = false;
}

void Connection::drop_buffered_body() {
  while (!input_.slice().empty()) input_.drop_slice();
}

void Connection::cut() {
  started_ = true;
  keep_ = false;
  answered_ = false;
  write_error_ = ECONNABORTED;
  out_.clear();
}

void Connection::begin_own(const ResponseHead& head, std::optional<std::uint64_t> length, std::string_view body,
                           bool last) {
  ResponseView view{.status = head.status, .reason = reason_phrase(head.status)};
  std::vector<FieldView> fields;
  fields.reserve(head.fields.size());
  for (const auto& field : head.fields) {
    switch (field_name(field.name)) {
      case FieldName::connection:
        if (iequals(field.value, "close")) keep_ = false;
        continue;
      case FieldName::transfer_encoding:
      case FieldName::keep_alive:
        continue;
      case FieldName::content_length:
        if (!length) length = parse_unsigned(field.value);
        continue;
      case FieldName::date:
        view.has_date = true;
        break;
      default:
        break;
    }
    if (!is_safe_field(field)) {
      log::warn("a response field was left out: it would break the message", {{"field", printable(field.name)}});
      continue;
    }
    fields.push_back({field.name, field.value});
  }
  view.fields = fields;
  const bool never_a_body = head.status < 200 || head.status == 204 || head.status == 304;
  if (never_a_body) {
    view.framing = {};
  } else if (head_request_) {
    view.declared_length = length;
  } else if (length) {
    view.framing = {BodyKind::length, *length};
  } else {
    view.framing = {BodyKind::chunked, 0};
  }
  begin(view, body, last);
}

awaitable<Result<void>> Connection::respond(ResponseHead head, std::string body) {
  if (started_) co_return fail(Errc::internal, "the exchange is answered already");
  head.fields.erase("Content-Length");
  begin_own(head, body.size(), body, true);
  co_return co_await flush();
}

awaitable<Result<void>> Connection::start(ResponseHead head) {
  if (started_) co_return fail(Errc::internal, "the exchange is answered already");
  begin_own(head, std::nullopt, {}, false);
  if (answered_ && !head_request_ && head.status >= 200) answered_ = false;  // finish() is still to come
  co_return co_await flush();
}

awaitable<Result<void>> Connection::write(std::string_view bytes) {
  if (!started_) co_return fail(Errc::internal, "write before start");
  if (answer_kind_ == BodyKind::none || bytes.empty()) co_return Result<void>();
  put(bytes, false);
  co_return co_await flush();
}

awaitable<Result<void>> Connection::finish() {
  if (answered_) co_return Result<void>();
  if (answer_kind_ == BodyKind::none)
    answered_ = true;
  else
    put({}, true);
  co_return co_await flush();
}

awaitable<void> Connection::wait_gone() {
  if (!stream_.peer_finished()) co_await stream_.gone();
}

// ---- the life of an exchange

/// OPTIONS * (RFC 9110 9.3.7) is about the server as a whole, so no service sees it.
awaitable<bool> Connection::answer_about_server() {
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
  if (tunnelled_ || !answered_ || !keep_ || needs_flush() || !body_finished()) return false;
  if (out_.capacity() > kept_output_bytes || scratch_.capacity() > kept_output_bytes) return false;
  stream_.resume();
  return true;
}

awaitable<bool> Connection::end_exchange() {
  if (tunnelled_) co_return false;
  stream_.resume();
  if (!started_) {
    ResponseHead head{.status = 500, .fields = {{"Content-Type", "text/plain; charset=utf-8"}}};
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
  stream_.resume();
  read_deadline_ = TimePoint::max();
  keep_ = false;
  std::string body = std::string(refusal.reason) + "\n";
  std::string text;
  append_status_line(text, refusal.status, reason_phrase(refusal.status));
  append_field(text, "Content-Type", "text/plain; charset=utf-8");
  append_field(text, "Date", server_.date.at(server_.clock));
  append_field(text, "Content-Length", std::to_string(body.size()));
  append_field(text, "Wick-Error", "E_INVALID");
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
