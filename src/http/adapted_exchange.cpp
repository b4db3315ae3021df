#include "adapted_exchange.hpp"

#include "wick/base/text.hpp"

namespace wick::http {

AdaptedExchange::AdaptedExchange(Exchange& inner) : inner_(inner) {
  const auto& fields = inner.head().fields;
  if (const auto length = fields.find("Content-Length"))
    framing_ = {BodyKind::length, parse_unsigned(*length).value_or(0)};
  else if (fields.contains("Transfer-Encoding"))
    framing_ = {BodyKind::chunked, 0};
  if (framing_.kind == BodyKind::length && framing_.length == 0) framing_ = {};
  ended_ = framing_.kind == BodyKind::none;
}

awaitable<Result<void>> AdaptedExchange::fill_body() {
  if (!slice_.empty() || ended_) co_return Result<void>();
  auto got = co_await inner_.read_some(buffer_);
  if (!got) co_return fail(std::move(got.error()));
  slice_ = {buffer_.data(), *got};
  ended_ = *got == 0;
  co_return Result<void>();
}

void AdaptedExchange::begin(const ResponseView& head, std::string_view body, bool last) {
  head_ = {.status = head.status};
  for (const auto& field : head.fields) head_.fields.add(std::string(field.name), std::string(field.value));
  if (head.framing.kind == BodyKind::length)
    head_.fields.add("Content-Length", std::to_string(head.framing.length));
  else if (head.declared_length)
    head_.fields.add("Content-Length", std::to_string(*head.declared_length));
  else if (last)
    head_.fields.add("Content-Length", std::to_string(body.size()));
  pending_head_ = true;
  put(body, last);
}

void AdaptedExchange::put(std::string_view body, bool last) {
  pending_.append(body);
  pending_last_ = last;
}

awaitable<Result<void>> AdaptedExchange::flush() {
  if (cut_) co_return fail(Errc::unavailable, "the response was cut");
  if (std::exchange(pending_head_, false)) {
    auto started = co_await inner_.start(std::move(head_));
    if (!started) co_return started;
  }
  if (!pending_.empty()) {
    const auto bytes = std::exchange(pending_, {});
    auto written = co_await inner_.write(bytes);
    if (!written) co_return written;
  }
  if (std::exchange(pending_last_, false)) co_return co_await inner_.finish();
  co_return Result<void>();
}

}  // namespace wick::http
