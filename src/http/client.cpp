// Requests of our own over the pool: whole answers, and streamed ones.
#include <charconv>

#include "forwarding.hpp"
#include "upstream_pool.hpp"
#include "wick/base/text.hpp"
#include "wick/os/deadline.hpp"

namespace wick::http {

namespace {

Result<std::string> request_text(const Request& request) {
  const auto& head = request.head;
  const bool bad_line = head.method.empty() || !chars::all<chars::token>(head.method) || head.target.empty() ||
                        !chars::all<chars::target>(head.target);
  if (bad_line)
    return fail(Errc::invalid, "the request line would be malformed: " + printable(head.method + " " + head.target));
  std::string text = head.method + " " + head.target + " HTTP/1.1\r\nHost: ";
  text += head.authority.empty() ? "localhost" : head.authority;
  text += "\r\n";
  for (const auto& field : head.fields) {
    if (field.name.empty() || !chars::all<chars::token>(field.name) || !chars::all<chars::value>(field.value))
      return fail(Errc::invalid, "the request field '" + printable(field.name) + "' would break the message");
    switch (field_name(field.name)) {
      case FieldName::host:
      case FieldName::content_length:
      case FieldName::transfer_encoding:
      case FieldName::connection:
      case FieldName::expect:
        continue;
      default:
        text.append(field.name).append(": ").append(field.value).append("\r\n");
    }
  }
  const bool expects_content = head.method == "POST" || head.method == "PUT" || head.method == "PATCH";
  if (!request.body.empty() || expects_content)
    text += "Content-Length: " + std::to_string(request.body.size()) + "\r\n";
  text += "\r\n";
  return text;
}

ResponseHead response_head(const UpstreamConnection& upstream) {
  ResponseHead head{.status = upstream.parser.status()};
  head.fields.reserve(upstream.parser.fields().size());
  for (const auto& field : upstream.parser.fields())
    head.fields.add(std::string(HeadParser::text(upstream.head_text(), field.name)),
                    std::string(HeadParser::text(upstream.head_text(), field.value)));
  return head;
}

/// Sends the request and reads to the end of the final response head. Retries once where a kept connection turned out
/// closed.
awaitable<Result<UpstreamLease>> begin_call(Upstream::Impl& pool, const Request& request) {
  auto text = request_text(request);
  if (!text) co_return fail(std::move(text.error()));
  auto upstream = pool.take_idle(is_idempotent(request.head.method) ? InputCheck::noticed : InputCheck::now);
  while (true) {
    if (!upstream) {
      auto made = co_await pool.connect();
      if (!made) co_return fail(std::move(made.error()));
      upstream = std::move(*made);
    }
    const auto sent = co_await upstream->stream.write_all(*text, request.body);
    upstream->request_sent = sent.ok();
    const bool answers_head = request.head.method == "HEAD";
    upstream->expect_head(answers_head);
    auto got = co_await upstream->read_head();
    while (got && upstream->parser.status() < 200 && upstream->parser.status() != 101) {
      upstream->input.take(upstream->parser.head_bytes());
      upstream->expect_head(answers_head);
      got = co_await upstream->read_head();
    }
    if (got && upstream->parser.status() == 101)
      co_return fail(Errc::corrupt, "the upstream switched protocols without being asked");
    if (got) co_return upstream;
    const bool again = upstream->reused && upstream->untouched &&
                       (is_idempotent(request.head.method) || (!sent.ok() && sent.bytes == 0));
    if (!again) co_return fail(std::move(got.error()));
    upstream.reset();
  }
}

awaitable<Result<Response>> whole_call(Upstream::Impl& pool, Request request, std::size_t bytes_max) {
  auto begun = co_await begin_call(pool, request);
  if (!begun) co_return fail(std::move(begun.error()));
  auto& upstream = **begun;
  Response response{.head = response_head(upstream), .body = {}};
  upstream.take_head();
  while (true) {
    auto slice = upstream.input.slice();
    while (!slice.empty()) {
      if (response.body.size() + slice.size() > bytes_max)
        co_return fail(Errc::too_large, "the response is larger than " + std::to_string(bytes_max) + " bytes");
      response.body.append(slice);
      upstream.input.drop_slice();
      slice = upstream.input.slice();
    }
    if (upstream.input.finished()) break;
    auto filled = co_await upstream.fill_body();
    if (!filled) co_return fail(std::move(filled.error()));
  }
  pool.give_back(std::move(*begun));
  co_return response;
}

awaitable<Result<Response>> call_http2(Upstream::Impl& pool, Request request, std::size_t bytes_max) {
  auto text = request_text(request);
  if (!text) co_return fail(std::move(text.error()));
  auto opened = co_await pool.http2()->open(pool.connector());
  if (!opened) co_return fail(std::move(opened.error()));
  auto& stream = **opened;
  stream.send_head(*text, !request.body.empty());
  if (!request.body.empty())
    if (auto sent = co_await stream.send_body(request.body, true); !sent) co_return fail(std::move(sent.error()));
  auto got = co_await stream.read_head([](int, std::span<const Field>) {});
  if (!got) co_return fail(std::move(got.error()));
  Response response{.head = {.status = stream.status(), .fields = stream.fields()}, .body = {}};
  while (!stream.finished()) {
    auto filled = co_await stream.fill_body();
    if (!filled) co_return fail(std::move(filled.error()));
    const auto slice = stream.buffered();
    if (response.body.size() + slice.size() > bytes_max)
      co_return fail(Errc::too_large, "the response is larger than " + std::to_string(bytes_max) + " bytes");
    response.body.append(slice);
    stream.consume(slice.size());
  }
  co_return response;
}

}  // namespace

awaitable<Result<Response>> call(Upstream& upstream, Clock& clock, Request request, std::chrono::milliseconds limit,
                                 std::size_t bytes_max) {
  try {
    if (upstream.impl().http2()) {
      auto calling = call_http2(upstream.impl(), std::move(request), bytes_max);
      co_return co_await with_deadline(clock, limit, std::move(calling));
    }
    auto calling = whole_call(upstream.impl(), std::move(request), bytes_max);
    co_return co_await with_deadline(clock, limit, std::move(calling));
  } catch (const DeadlineExceeded&) {
    co_return fail(Errc::timed_out, "no answer within " + std::to_string(limit.count()) + " ms");
  }
}

awaitable<Result<ResponseHead>> stream(Upstream& upstream, Clock&, Request request,
                                       std::function<bool(std::string_view)> on_bytes) {
  auto begun = co_await begin_call(upstream.impl(), request);
  if (!begun) co_return fail(std::move(begun.error()));
  auto& connection = **begun;
  auto head = response_head(connection);
  connection.take_head();
  while (true) {
    auto slice = connection.input.slice();
    while (!slice.empty()) {
      if (!on_bytes(slice)) co_return head;
      connection.input.drop_slice();
      slice = connection.input.slice();
    }
    if (connection.input.finished()) break;
    auto filled = co_await connection.fill_body();
    if (!filled) co_return fail(std::move(filled.error()));
  }
  upstream.impl().give_back(std::move(*begun));
  co_return head;
}

}  // namespace wick::http
