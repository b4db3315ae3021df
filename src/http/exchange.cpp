#include <algorithm>
#include <array>
#include <cstring>

#include "wick/http/handler.hpp"
#include "wire_exchange.hpp"

namespace wick::http {

awaitable<Result<std::size_t>> Exchange::read_full(std::span<char> into) {
  std::size_t filled = 0;
  while (filled < into.size()) {
    auto got = co_await read_some(into.subspan(filled));
    if (!got && filled == 0) co_return got;
    if (!got || *got == 0) break;
    filled += *got;
  }
  co_return filled;
}

awaitable<Result<std::string>> Exchange::read_all(std::size_t bytes_max) {
  std::string body;
  std::array<char, 16 << 10> buffer;
  while (true) {
    auto got = co_await read_some(buffer);
    if (!got) co_return fail(std::move(got.error()));
    if (*got == 0) co_return body;
    if (body.size() + *got > bytes_max)
      co_return fail(Errc::too_large, "the request body is larger than " + std::to_string(bytes_max) + " bytes");
    body.append(buffer.data(), *got);
  }
}

awaitable<Result<std::size_t>> WireExchange::read_some(std::span<char> into) {
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

awaitable<void> respond_text(Exchange& exchange, int status, std::string text) {
  ResponseHead head{.status = status, .fields = {{"Content-Type", "text/plain; charset=utf-8"}}};
  text += '\n';
  co_await exchange.respond(std::move(head), std::move(text));
}

awaitable<void> respond_error(Exchange& exchange, int status, const Error& error) {
  ResponseHead head{.status = status,
                    .fields = {{"Content-Type", "text/plain; charset=utf-8"}, {"Wick-Error", slug(error.code())}}};
  // Knative's 504 is the text and nothing else.
  std::string text = status == 504 ? error.what() : error.what() + "\n";
  if (!error.hint().empty()) text += error.hint() + "\n";
  co_await exchange.respond(std::move(head), std::move(text));
}

}  // namespace wick::http
