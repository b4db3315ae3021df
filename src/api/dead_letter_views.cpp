// Stored events and dead letters through the API: what became of one, and what to do with those nobody took.
#include <fmt/format.h>

#include <limits>

#include "api/answer.hpp"
#include "api/wick_views.hpp"
#include "wick/base/text.hpp"

namespace wick::api {

namespace {

constexpr std::uint64_t count_max = 1000;

/// A whole number of the query; `otherwise` where it is not there. Errors: invalid.
Result<std::uint64_t> number_in(const http::Exchange& exchange, std::string_view name, std::uint64_t otherwise) {
  const auto text = http::query_value(exchange.head().query(), name);
  if (!text || text->empty()) return otherwise;
  const auto number = parse_unsigned(*text);
  if (!number || *number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
    return fail(Errc::invalid, fmt::format("{} must be a whole number, not '{}'", name, printable(*text)));
  return *number;
}

}  // namespace

awaitable<void> list_events(const Doors& doors, http::Exchange& exchange, std::string name_space, std::string name) {
  const auto after = number_in(exchange, "after", 0);
  const auto count = number_in(exchange, "count", 100);
  if (!after) co_return co_await respond_error(exchange, after.error());
  if (!count) co_return co_await respond_error(exchange, count.error());
  auto events =
      co_await doors.eventing.list(std::move(name_space), std::move(name), *after, std::min(*count, count_max));
  const json::object list{{"events", std::move(events)}};
  co_await respond_json(exchange, 200, list);
}

awaitable<void> why_event(const Doors& doors, http::Exchange& exchange, std::string name_space, std::string id) {
  auto why = co_await doors.eventing.why(std::move(name_space), std::move(id));
  if (!why) co_return co_await respond_error(exchange, why.error());
  co_await respond_json(exchange, 200, *why);
}

awaitable<void> replay_events(const Doors& doors, http::Exchange& exchange, std::string name_space,
                              std::string trigger) {
  const auto first = number_in(exchange, "first", 0);
  const auto last = number_in(exchange, "last", 0);
  if (!first) co_return co_await respond_error(exchange, first.error());
  if (!last) co_return co_await respond_error(exchange, last.error());
  auto begun = co_await doors.eventing.replay(std::move(name_space), trigger, *first, *last);
  if (!begun) co_return co_await respond_error(exchange, begun.error());
  const json::object answer{{"trigger", trigger}, {"first", *first}, {"last", *last}};
  co_await respond_json(exchange, 202, answer);
}

awaitable<void> list_dead_letters(const Doors& doors, http::Exchange& exchange, std::string name_space) {
  const auto count = number_in(exchange, "count", 100);
  if (!count) co_return co_await respond_error(exchange, count.error());
  const json::object list{{"deadLetters", doors.eventing.dead_letters(name_space, std::min(*count, count_max))}};
  co_await respond_json(exchange, 200, list);
}

awaitable<void> settle_dead_letters(const Doors& doors, http::Exchange& exchange, std::string name_space,
                                    std::string verb) {
  auto trigger = http::query_value(exchange.head().query(), "trigger").value_or("");
  const auto position = number_in(exchange, "position", 0);
  if (!position) co_return co_await respond_error(exchange, position.error());
  if (trigger.empty()) {
    const Error missing(Errc::invalid, "the query must name a trigger: ?trigger=NAME");
    co_return co_await respond_error(exchange, missing);
  }
  const auto one = *position == 0 ? std::nullopt : std::optional(*position);
  auto count = verb == "retry" ? co_await doors.eventing.redrive(std::move(name_space), std::move(trigger), one)
                               : co_await doors.eventing.purge(std::move(name_space), std::move(trigger), one);
  if (!count) co_return co_await respond_error(exchange, count.error());
  const json::object answer{{"count", *count}};
  co_await respond_json(exchange, 200, answer);
}

}  // namespace wick::api
