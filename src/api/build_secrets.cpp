// Values for the secret mounts of one build: kept in memory until that build takes them.
#include <fmt/format.h>

#include <boost/json/parse.hpp>

#include "api/answer.hpp"
#include "api/wick_views.hpp"
#include "wick/base/text.hpp"

namespace wick::api {

namespace {

constexpr std::size_t secrets_bytes_max = 1 << 20;
constexpr std::size_t value_bytes_max = 500 << 10;  // BuildKit's

Result<std::map<std::string, std::string>> secrets_of(std::string_view body) {
  boost::system::error_code error;
  const auto document = json::parse(body, error);
  const auto* secrets = !error && document.is_object() ? document.get_object().if_contains("secrets") : nullptr;
  if (secrets == nullptr || !secrets->is_object())
    return fail(Errc::invalid, R"(expected {"secrets": {"ID": "BASE64"}})");
  std::map<std::string, std::string> values;
  for (const auto& [id, text] : secrets->get_object()) {
    auto value = text.is_string() ? base64_decode(text.get_string()) : std::nullopt;
    if (id.empty() || !value) return fail(Errc::invalid, fmt::format("secret '{}' is not base64", printable(id, 60)));
    if (value->size() > value_bytes_max)
      return fail(Errc::too_large,
                  fmt::format("secret '{}' has more than {}", printable(id, 60), human_bytes(value_bytes_max)));
    values.emplace(id, std::move(*value));
  }
  return values;
}

}  // namespace

awaitable<void> take_build_secrets(const Doors& doors, http::Exchange& exchange, std::string name_space) {
  std::string body;
  std::string chunk(64 << 10, '\0');
  while (true) {
    auto got = co_await exchange.read_some(chunk);
    if (!got) co_return co_await respond_error(exchange, got.error());
    if (*got == 0) break;
    if (body.size() + *got > secrets_bytes_max) {
      const Error error(Errc::too_large,
                        fmt::format("the secrets of a build have at most {}", human_bytes(secrets_bytes_max)));
      co_return co_await respond_error(exchange, error);
    }
    body.append(chunk, 0, *got);
  }
  auto values = secrets_of(body);
  if (!values) co_return co_await respond_error(exchange, values.error());
  auto ticket = doors.keep_build_secrets(name_space, std::move(*values));
  if (!ticket) co_return co_await respond_error(exchange, ticket.error());
  co_await respond_json(exchange, 201, json::object{{"name", *ticket}});
}

}  // namespace wick::api
