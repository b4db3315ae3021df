#include "wick/eventing/rules.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "wick/base/text.hpp"

namespace wick::eventing {

namespace {

constexpr const char* ttl_name = "knativebrokerttl";
constexpr std::size_t error_data_max = 1024;  // characters of base64; Knative's limit

bool is_retryable(int status) {
  return status == 404 || status == 408 || status == 409 || status == 429 || status >= 500;
}

Judgement judge_success(http::Response response) {
  Judgement judgement{.status = response.head.status};
  // 202 is never a reply (knative/specs data-plane.md), whatever comes with it.
  if (response.head.status == 202) return judgement;
  if (!claims_event(response.head.fields)) {
    if (response.body.empty()) return judgement;
    return {.verdict = Judgement::Verdict::retry,
            .status = 502,
            .detail = "the answer has a body that is no CloudEvent",
            .body = std::move(response.body)};
  }
  auto replies = decode_message(response.head.fields, response.body);
  if (!replies)
    return {.verdict = Judgement::Verdict::retry,
            .status = 502,
            .detail = "malformed reply: " + replies.error().what(),
            .body = std::move(response.body)};
  judgement.replies = std::move(*replies);
  return judgement;
}

}  // namespace

std::optional<std::string> mismatch(const AttributeFilter& filter, const CloudEvent& event) {
  for (const auto& [name, wanted] : filter) {
    const std::string found = event.text(name);
    if (found.empty()) return fmt::format("attribute {} is not there", printable(name));
    if (!wanted.empty() && found != wanted)
      return fmt::format("{} is '{}', wanted '{}'", printable(name), printable(found), printable(wanted));
  }
  return std::nullopt;
}

milliseconds backoff(const Delivery& delivery, int failed) {
  const auto delay = delivery.backoff_delay.count();
  const auto most = std::max<std::int64_t>(backoff_max.count(), delay);
  const int times = std::max(failed, 1);
  if (delivery.backoff == Delivery::Backoff::linear)
    return milliseconds(times > most / std::max<std::int64_t>(delay, 1) ? most : delay * times);
  std::int64_t wait = delay;
  for (int i = 1; i < times && wait < most; ++i) wait = wait > most / 2 ? most : wait * 2;
  return milliseconds(std::min(wait, most));
}

Judgement judge(Result<http::Response> response) {
  if (!response) {
    const Errc code = response.error().code();
    const bool hopeless = code == Errc::invalid || code == Errc::unsupported;
    return {.verdict = hopeless ? Judgement::Verdict::refused : Judgement::Verdict::retry,
            .detail = response.error().what()};
  }
  const int status = response->head.status;
  if (status >= 200 && status < 300) return judge_success(std::move(*response));
  return {.verdict = is_retryable(status) ? Judgement::Verdict::retry : Judgement::Verdict::refused,
          .status = status,
          .detail = fmt::format("answered {} {}", status, http::reason_phrase(status)),
          .body = std::move(response->body)};
}

Delivery effective_delivery(const TriggerSpec& trigger, const BrokerSpec* broker) {
  const Delivery fallback = broker ? broker->delivery : Delivery{};
  if (!trigger.delivery) return fallback;
  Delivery delivery = *trigger.delivery;
  if (!delivery.dead_letter) delivery.dead_letter = fallback.dead_letter;
  return delivery;
}

std::string to_text(const Destination& destination) {
  if (destination.service.empty()) return destination.url;
  return fmt::format("http://{}.{}.svc.cluster.local{}", destination.service, destination.name_space, destination.url);
}

bool admit(CloudEvent& event, WallTime now) {
  int ttl = ttl_max;
  const std::string text = event.text(ttl_name);
  int given = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), given);
  if (!text.empty() && error == std::errc{} && end == text.data() + text.size()) ttl = std::max(given - 1, 0);
  if (ttl <= 0) return false;
  event.attributes[ttl_name] = ttl;
  event.attributes["knativearrivaltime"] = to_rfc3339_nano(now);
  return true;
}

CloudEvent dead_letter(CloudEvent event, const std::string& destination, int status, std::string_view body) {
  event.attributes["knativeerrordest"] = destination;
  event.attributes["knativeerrorcode"] = status == 0 ? 500 : status;
  event.attributes["knativeerrordata"] = base64_encode(body).substr(0, error_data_max);
  return event;
}

}  // namespace wick::eventing
