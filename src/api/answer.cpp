#include "api/answer.hpp"

#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/json/serialize.hpp>

#include "wick/api/api.hpp"

namespace wick::api {

int http_status(Errc code) {
  switch (code) {
    case Errc::invalid:
      return 400;
    case Errc::not_found:
      return 404;
    case Errc::already_exists:
      return 409;
    case Errc::conflict:
      return 409;
    case Errc::denied:
      return 403;
    case Errc::too_large:
      return 413;
    case Errc::overloaded:
      return 503;
    case Errc::timed_out:
      return 504;
    case Errc::unavailable:
      return 503;
    case Errc::unsupported:
      return 501;
    case Errc::build_failed:
      return 422;
    case Errc::not_ready:
      return 503;
    case Errc::corrupt:
    case Errc::io:
    case Errc::cancelled:
    case Errc::internal:
      break;
  }
  return 500;
}

std::string_view status_reason(Errc code) {
  switch (code) {
    case Errc::invalid:
      return "BadRequest";
    case Errc::not_found:
      return "NotFound";
    case Errc::already_exists:
      return "AlreadyExists";
    case Errc::conflict:
      return "Conflict";
    case Errc::denied:
      return "Forbidden";
    case Errc::too_large:
      return "RequestEntityTooLarge";
    case Errc::overloaded:
    case Errc::unavailable:
    case Errc::not_ready:
      return "ServiceUnavailable";
    case Errc::timed_out:
      return "Timeout";
    case Errc::unsupported:
      return "NotImplemented";
    default:
      return "InternalError";
  }
}

namespace {

/// Kubernetes' own sentences where clients print them or compare.
std::string message_of(const Error& error, const Subject& subject) {
  if (subject.plural.empty()) return error.what();
  const auto resource = subject.group.empty() ? subject.plural : subject.plural + "." + subject.group;
  switch (error.code()) {
    case Errc::not_found:
      return fmt::format("{} \"{}\" not found", resource, subject.name);
    case Errc::already_exists:
      return fmt::format("{} \"{}\" already exists", resource, subject.name);
    case Errc::conflict:
      return fmt::format(
          "Operation cannot be fulfilled on {} \"{}\": the object has been modified; please apply your changes to the "
          "latest "
          "version and try again",
          resource, subject.name);
    default:
      return error.what();
  }
}

awaitable<void> end_when_gone(http::Exchange& exchange, Wakeup& wakeup) {
  co_await exchange.wait_gone();
  wakeup.end();
}

awaitable<void> end_after(Clock& clock, Duration limit, Wakeup& wakeup) {
  co_await clock.sleep(limit);
  wakeup.end();
}

}  // namespace

awaitable<void> respond_json(http::Exchange& exchange, int status, const json::value& value) {
  http::ResponseHead head{.status = status};
  head.fields.set("Content-Type", "application/json");
  auto body = json::serialize(value) + "\n";
  co_await exchange.respond(std::move(head), std::move(body));
}

json::object status_object(int status, std::string_view reason, const Error& error, const Subject& subject) {
  json::object details;
  if (!subject.name.empty()) details["name"] = subject.name;
  if (!subject.group.empty()) details["group"] = subject.group;
  if (!subject.plural.empty()) details["kind"] = subject.plural;
  json::object object{{"kind", "Status"},
                      {"apiVersion", "v1"},
                      {"metadata", json::object()},
                      {"status", "Failure"},
                      {"message", message_of(error, subject)},
                      {"reason", reason}};
  if (!details.empty()) object["details"] = std::move(details);
  object["code"] = status;
  json::object own{{"slug", slug(error.code())}};
  if (!error.hint().empty()) own["hint"] = error.hint();
  object["wick"] = std::move(own);
  return object;
}

awaitable<void> respond_error(http::Exchange& exchange, const Error& error, const Subject& subject) {
  const auto status = http_status(error.code());
  co_await respond_json(exchange, status, status_object(status, status_reason(error.code()), error, subject));
}

awaitable<void> respond_failure(http::Exchange& exchange, int status, std::string reason, std::string message,
                                std::string hint) {
  const auto code = status == 404   ? Errc::not_found
                    : status == 503 ? Errc::unavailable
                    : status == 403 ? Errc::denied
                                    : Errc::invalid;
  const Error error = Error(code, std::move(message)).hint(std::move(hint));
  co_await respond_json(exchange, status, status_object(status, reason, error, {}));
}

awaitable<void> Wakeup::wait() {
  if (!pending_ && !ended_) {
    auto waited = co_await timer_.async_wait(asio::as_tuple(use_awaitable));
    // Woken by notify() or end(), or else cancelled ourselves.
    if (!pending_ && !ended_) throw boost::system::system_error(std::get<0>(waited));
  }
  pending_ = false;
}

awaitable<void> while_connected(http::Exchange& exchange, Clock& clock, std::optional<Duration> limit,
                                std::function<awaitable<void>(Wakeup&)> body,
                                std::function<void(TaskGroup&, Wakeup&)> beside) {
  const auto executor = co_await asio::this_coro::executor;
  Wakeup wakeup(executor);
  TaskGroup watchers(executor);
  watchers.spawn("client gone", end_when_gone(exchange, wakeup));
  if (limit) watchers.spawn("stream limit", end_after(clock, *limit, wakeup));
  if (beside) beside(watchers, wakeup);
  std::exception_ptr error;
  try {
    co_await body(wakeup);
  } catch (...) {
    error = std::current_exception();
  }
  // The watchers use what is above: they end before it goes, also when we were cancelled.
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  co_await watchers.stop();
  co_await asio::this_coro::reset_cancellation_state(asio::enable_terminal_cancellation());
  if (error) std::rethrow_exception(error);
}

awaitable<Result<void>> start_lines(http::Exchange& exchange) {
  http::ResponseHead head{.status = 200};
  head.fields.set("Content-Type", "application/json");
  auto started = co_await exchange.start(std::move(head));
  co_return started;
}

}  // namespace wick::api
