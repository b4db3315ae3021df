#include "ingress.hpp"

#include <fmt/format.h>

#include "wick/base/text.hpp"

namespace wick::eventing {

namespace {

constexpr const char* retry_soon = "1";    // seconds: a queue that is full now is not in a moment
constexpr const char* retry_later = "10";  // a disk that is full stays so for a while

/// knative/eventing pkg/utils/headers.go, and W3C trace context.
bool goes_on(std::string_view name) {
  const std::string lower = to_lower(name);
  return lower == "x-request-id" || lower == "traceparent" || lower == "tracestate" || lower.starts_with("knative-") ||
         lower.starts_with("x-b3-");
}

http::Fields passed_on(const http::Fields& fields) {
  http::Fields passed;
  for (const auto& field : fields)
    if (goes_on(field.name)) passed.add(field.name, field.value);
  return passed;
}

/// "/ns/broker" or "/ns/broker/"; nullopt for another shape. A query is part of the name, as in Knative, and so names
/// no broker.
std::optional<std::string> broker_in(std::string_view target) {
  if (target.starts_with('/')) target.remove_prefix(1);
  if (target.ends_with('/')) target.remove_suffix(1);
  const auto parts = split(target, '/');
  if (parts.size() != 2 || parts[0].empty() || parts[1].empty()) return std::nullopt;
  return std::string(target);
}

}  // namespace

awaitable<void> Ingress::handle(http::Exchange& exchange) {
  Answer answer = co_await receive(exchange);
  metrics_
      .counter("wick_event_requests_total", "Requests to the broker ingress.",
               {{"status", std::to_string(answer.status)}})
      .add();
  http::ResponseHead head{.status = answer.status, .fields = std::move(answer.fields)};
  head.fields.set("Allow", "POST, OPTIONS");
  std::string body;
  if (!answer.text.empty()) {
    head.fields.set("Content-Type", "text/plain; charset=utf-8");
    body = answer.text + "\n";
  }
  co_await exchange.respond(std::move(head), std::move(body));
}

awaitable<Ingress::Answer> Ingress::receive(http::Exchange& exchange) {
  const auto& head = exchange.head();
  if (head.method == "OPTIONS")
    co_return Answer{200, {}, {{"WebHook-Allowed-Origin", "*"}, {"WebHook-Allowed-Rate", "*"}}};
  if (head.method != "POST") co_return Answer{405, "events are sent with POST"};
  if (head.target == "/") co_return Answer{404, "send events to /NAMESPACE/BROKER"};
  auto broker = broker_in(head.target);
  if (!broker)
    co_return Answer{400, fmt::format("the path must be /NAMESPACE/BROKER, not '{}'", printable(head.target))};
  auto body = co_await exchange.read_all(limits_.event_bytes_max);
  if (!body) co_return answer_to(body.error());
  auto events = decode_message(head.fields, *body);
  if (!events) co_return answer_to(events.error());
  const http::Fields fields = passed_on(head.fields);
  co_return co_await accept(std::move(*broker), fields, std::move(*events));
}

awaitable<Ingress::Answer> Ingress::accept(std::string broker, const http::Fields& fields,
                                           std::vector<CloudEvent> events) {
  if (!dispatcher_.has_broker(broker)) co_return Answer{404, fmt::format("there is no broker {}", printable(broker))};
  std::vector<StoredEvent> admitted;
  admitted.reserve(events.size());
  for (CloudEvent& event : events) {
    StoredEvent stored{.broker = broker, .received = clock_.wall(), .event = std::move(event), .fields = fields};
    if (!admit(stored.event, stored.received))
      co_return Answer{400, fmt::format("the event went around {} times (knativebrokerttl): dropped", ttl_max)};
    admitted.push_back(std::move(stored));
  }
  if (admitted.empty()) co_return Answer{};  // an empty batch
  if (dispatcher_.backlog_is_full())
    co_return Answer{429, "too many events wait for a trigger that does not keep up", {{"Retry-After", retry_soon}}};
  auto stored = co_await log_.append(std::move(admitted));
  if (!stored) co_return answer_to(stored.error());
  dispatcher_.accepted(*stored);
  co_return Answer{};
}

Ingress::Answer Ingress::answer_to(const Error& error) {
  const std::string text = error.hint().empty() ? error.what() : error.what() + "\nhint: " + error.hint();
  switch (error.code()) {
    case Errc::invalid:
      return {400, text};
    case Errc::timed_out:
      return {408, text};
    case Errc::overloaded:
      return {429, text, {{"Retry-After", retry_soon}}};
    case Errc::too_large:
      // The same code for a body over the limit and for a full disk: only the first is the sender's to mend.
      if (error.message().starts_with("disk full")) return {503, text, {{"Retry-After", retry_later}}};
      return {413, text};
    case Errc::io:
    case Errc::corrupt:
      return {503, text, {{"Retry-After", retry_later}}};
    default:
      return {500, text};
  }
}

}  // namespace wick::eventing
