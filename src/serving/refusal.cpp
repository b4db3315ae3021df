#include "refusal.hpp"

#include <fmt/format.h>

#include "wick/base/text.hpp"

namespace wick::serving {

namespace {

// What a client is told to wait before it asks again: starts are tried again, and idle instances go, within that.
constexpr std::string_view retry_after_seconds = "2";

}  // namespace

int status_of(Errc code) {
  switch (code) {
    case Errc::not_found:
      return 404;
    case Errc::timed_out:
      return 504;
    default:
      return 503;
  }
}

awaitable<int> respond_refused(http::Exchange& exchange, const Error& error) {
  if (error.code() == Errc::cancelled) co_return 0;
  const int status = status_of(error.code());
  http::ResponseHead head{
      .status = status, .fields = {{"Content-Type", "text/plain; charset=utf-8"}, {"Wick-Error", slug(error.code())}}};
  auto text = error.what();
  if (status == 503) {
    head.fields.add("Retry-After", std::string(retry_after_seconds));
    text += "\n";
    if (!error.hint().empty()) text += error.hint() + "\n";
  }
  co_await exchange.respond(std::move(head), std::move(text));
  co_return status;
}

awaitable<int> respond_unrouted(http::Exchange& exchange, Router::Found found) {
  const auto host = printable(exchange.head().host());
  if (found == Router::Found::no_revision) {
    const Error nobody(Errc::unavailable, fmt::format("the route of '{}' has no revision yet", host));
    co_await http::respond_error(exchange, 503, nobody);
    co_return 503;
  }
  const auto unknown = Error(Errc::not_found, fmt::format("no service answers to the host '{}'", host))
                           .hint("hosts are NAME.NAMESPACE.DOMAIN and NAME.localhost; wick ps lists the services");
  co_await http::respond_error(exchange, 404, unknown);
  co_return 404;
}

}  // namespace wick::serving
