// Tokens of senders outside the box, by which brokers, channels and sinks know them.
#include <fmt/format.h>

#include <boost/json/parse.hpp>

#include "api/answer.hpp"
#include "api/wick_views.hpp"
#include "wick/base/text.hpp"
#include "wick/model/object_reader.hpp"

namespace wick::api {

namespace {

constexpr std::size_t wish_bytes_max = 16 << 10;
constexpr std::int64_t lifetime_seconds_default = 3600;
constexpr std::int64_t lifetime_seconds_min = 600;  // Kubernetes' own bounds of a TokenRequest …
constexpr std::int64_t lifetime_seconds_max = 365 * 24 * 3600;

struct Wish {
  std::string account;
  std::string audience;
  std::chrono::seconds lifetime{};
};

Result<Wish> wish_of(std::string_view body) {
  boost::system::error_code error;
  const auto document = json::parse(body, error);
  if (error || !document.is_object())
    return fail(Errc::invalid, R"(expected {"serviceAccount": "NAME", "audience": "AUDIENCE", "ttlSeconds": 3600})");
  const auto& object = document.get_object();
  const auto seconds = model::integer_at(object, {"ttlSeconds"}, lifetime_seconds_default);
  if (seconds < lifetime_seconds_min || seconds > lifetime_seconds_max)
    return fail(Errc::invalid, fmt::format("a token is good for {} to {} seconds, not {}", lifetime_seconds_min,
                                           lifetime_seconds_max, seconds));
  Wish wish{.account = model::text_at(object, {"serviceAccount"}),
            .audience = model::text_at(object, {"audience"}),
            .lifetime = std::chrono::seconds(seconds)};
  if (!is_dns_subdomain(wish.account))
    return fail(Errc::invalid, fmt::format("serviceAccount must be a name of lower-case letters, digits, '-' and '.', "
                                           "not '{}'",
                                           printable(wish.account)));
  if (wish.audience.empty())
    return fail(Errc::invalid, "audience must say what the token is for",
                "it is in status.address.audience of the broker, channel or sink");
  return wish;
}

}  // namespace

awaitable<void> make_sender_token(const Doors& doors, http::Exchange& exchange, std::string name_space) {
  auto body = co_await exchange.read_all(wish_bytes_max);
  if (!body) co_return co_await respond_error(exchange, body.error());
  auto wish = wish_of(*body);
  if (!wish) co_return co_await respond_error(exchange, wish.error());
  const auto subject = eventing::service_account_subject(name_space, wish->account);
  auto token = doors.eventing.make_sender_token(subject, wish->audience, wish->lifetime);
  if (!token) co_return co_await respond_error(exchange, token.error());
  co_await respond_json(exchange, 201,
                        json::object{{"token", *token},
                                     {"subject", subject},
                                     {"audience", wish->audience},
                                     {"expires", to_rfc3339(doors.clock.wall() + wish->lifetime)}});
}

}  // namespace wick::api
