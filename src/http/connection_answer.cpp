// What a connection writes: answers of handlers and of the relay, in the framing that the client can read.
#include <algorithm>

#include "connection.hpp"
#include "server_answers.hpp"
#include "wick/base/text.hpp"
#include "wire_text.hpp"

namespace wick::http {

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
  if (!write_error_ && needs_flush()) {
    auto since = server_.clock.now();
    write_deadline_ = since + server_.limits.body_idle_limit;
    std::size_t done = 0;
    while (done < out_.size() || stream_.holds_back()) {
      const auto left = std::string_view(out_).substr(done);
      const auto sent = left.empty() ? stream_.push() : stream_.try_write(left);
      if (sent.would_block()) {
        co_await stream_.writable();
        continue;
      }
      if (!sent.ok()) {
        write_error_ = sent.error;
        break;
      }
      done += sent.bytes;
      if (too_slow(answer_pace_, since, sent.bytes)) {
        write_error_ = ETIMEDOUT;
        break;
      }
      since = server_.clock.now();
      write_deadline_ = since + server_.limits.body_idle_limit;
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
  std::string tail;
  if (answer_kind_ == BodyKind::chunked) {
    if (!body.empty()) {
      append_number(scratch_, body.size(), 16);
      scratch_ += "\r\n";
      after = last ? "\r\n0\r\n\r\n" : "\r\n";
    } else if (last) {
      after = "0\r\n\r\n";
    }
    if (last && !trailers_.empty()) {
      tail = (body.empty() ? "0\r\n" : "\r\n0\r\n") + std::exchange(trailers_, {}) + "\r\n";
      after = tail;
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

bool Connection::wants_trailers() const {
  if (head_.minor_version == 0) return false;
  bool wanted = false;
  for (const auto& field : head_.fields)
    if (field_name(field.name) == FieldName::te)
      for_each_element(field.value,
                       [&](std::string_view coding) { wanted |= chars::equals_lower(coding, "trailers"); });
  return wanted;
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
  OwnAnswer answer;
  make_own_answer(head, head_request_, length, answer);
  if (answer.close) keep_ = false;
  begin(answer.view, body, last);
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
  if (head.status == 101) begin_upgraded();
  co_return co_await flush();
}

awaitable<Result<void>> Connection::write(std::string_view bytes) {
  if (!started_) co_return fail(Errc::internal, "write before start");
  if (upgraded_) {
    const auto sent = co_await stream_.write_all(bytes);  // no limit: a terminal may be paused for hours
    if (!sent.ok()) co_return fail(Errc::unavailable, "the client went away");
    co_return Result<void>();
  }
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

}  // namespace wick::http
