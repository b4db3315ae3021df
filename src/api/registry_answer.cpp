#include "api/registry_answer.hpp"

#include "wick/base/text.hpp"

namespace wick::api {

namespace {

constexpr std::size_t drained_bytes_max = 1 << 20;

awaitable<void> drain(http::Exchange& exchange) {
  const auto length = exchange.head().fields.find("Content-Length");
  const auto bytes = length ? parse_unsigned(*length).value_or(0) : 0;
  if (exchange.head().fields.contains("Expect") || bytes > drained_bytes_max) co_return;
  (void)co_await exchange.read_all(drained_bytes_max);
}

}  // namespace

http::ResponseHead registry_head(int status) {
  http::ResponseHead head{.status = status, .fields = {}};
  head.fields.set("Docker-Distribution-API-Version", "registry/2.0");
  return head;
}

awaitable<void> respond_registry_failure(http::Exchange& exchange, image::RegistryFailure failure, http::Fields more) {
  co_await drain(exchange);
  auto head = registry_head(failure.status);
  head.fields.set("Content-Type", "application/json");
  if (failure.status == 401) head.fields.set("WWW-Authenticate", "Basic realm=\"wick\"");
  for (const auto& field : more) head.fields.add(field.name, field.value);
  auto body = failure.body();
  co_await exchange.respond(std::move(head), std::move(body));
}

std::vector<std::string> query_values(std::string_view query, std::string_view name) {
  std::vector<std::string> values;
  for (const auto pair : split(query, '&')) {
    auto value = http::query_value(pair, name);
    if (value) values.push_back(std::move(*value));
  }
  return values;
}

}  // namespace wick::api
