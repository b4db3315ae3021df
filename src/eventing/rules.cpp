#include "wick/eventing/rules.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <ctime>

#include "wick/base/text.hpp"

namespace wick::eventing {

namespace {

constexpr const char* ttl_name = "knativebrokerttl";
constexpr std::size_t error_data_max = 1024;  // characters of base64; Knative's limit

bool is_retryable(int status) {
  return status == 404 || status == 408 || status == 409 || status == 429 || status >= 500;
}

/// RFC 9110 10.2.3: seconds, or an HTTP-date (its preferred form).
std::optional<milliseconds> retry_after_of(const http::Fields& fields, WallTime now) {
  const auto value = fields.find("Retry-After");
  if (!value) return std::nullopt;
  const std::string text(trim(*value));
  constexpr std::uint64_t seconds_max = 366ull * 24 * 3600;
  if (const auto count = parse_unsigned(text)) return seconds(std::min(*count, seconds_max));
  std::tm parts{};
  const char* end = ::strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  if (end == nullptr || *end != '\0') return std::nullopt;
  const WallTime when{seconds(::timegm(&parts))};
  return std::max(std::chrono::ceil<milliseconds>(when - now), milliseconds(0));
}

Judgement judge_success(http::Response response, Replies strictness) {
  Judgement judgement{.status = response.head.status};
  // 202 is never a reply (knative/specs data-plane.md), whatever comes with it.
  if (response.head.status == 202) return judgement;
  if (!claims_event(response.head.fields)) {
    if (response.body.empty() || strictness == Replies::lenient) return judgement;
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

milliseconds backoff(const Delivery& delivery, int failed) {
  const auto delay = delivery.backoff_delay.count();
  const auto most = std::max<std::int64_t>(delivery.backoff_max.count(), delay);
  const int times = std::max(failed, 1);
  if (delivery.backoff == Delivery::Backoff::linear)
    return milliseconds(times > most / std::max<std::int64_t>(delay, 1) ? most : delay * times);
  std::int64_t wait = delay;
  for (int i = 1; i < times && wait < most; ++i) wait = wait > most / 2 ? most : wait * 2;
  return milliseconds(std::min(wait, most));
}

milliseconds next_wait(const Delivery& delivery, int failed, std::optional<milliseconds> retry_after, double share) {
  const milliseconds base = backoff(delivery, failed);
  const milliseconds most = std::max(delivery.backoff_max, delivery.backoff_delay);
  const milliseconds extra(static_cast<std::int64_t>(static_cast<double>(base.count()) * share));
  const milliseconds wait = base + extra > most ? most - extra : base + extra;
  if (!retry_after || !delivery.retry_after_max) return wait;
  return std::max(wait, std::min(*retry_after, *delivery.retry_after_max));
}

milliseconds longest_wait(const Delivery& delivery) {
  return std::max({delivery.backoff_max, delivery.backoff_delay, delivery.retry_after_max.value_or(milliseconds(0))});
}

Judgement judge(Result<http::Response> response, WallTime now, Replies replies) {
  if (!response) {
    const Errc code = response.error().code();
    const bool hopeless = code == Errc::invalid || code == Errc::unsupported;
    return {.verdict = hopeless ? Judgement::Verdict::refused : Judgement::Verdict::retry,
            .detail = response.error().what()};
  }
  const int status = response->head.status;
  if (status >= 200 && status < 300) return judge_success(std::move(*response), replies);
  const auto retry_after = status == 429 || status == 503 ? retry_after_of(response->head.fields, now) : std::nullopt;
  return {.verdict = is_retryable(status) ? Judgement::Verdict::retry : Judgement::Verdict::refused,
          .status = status,
          .detail = fmt::format("answered {} {}", status, http::reason_phrase(status)),
          .body = std::move(response->body),
          .retry_after = retry_after};
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

std::optional<WallTime> deliver_at(const CloudEvent& event, WallTime received) {
  if (event.has("deliverat"))
    if (const auto time = parse_rfc3339(event.text("deliverat"))) return *time;
  if (event.has("delay"))
    if (const auto delay = parse_iso8601_duration(event.text("delay"))) return received + *delay;
  return std::nullopt;
}

bool has_expired(const CloudEvent& event, WallTime now) {
  if (!event.has("expirytime")) return false;
  const auto time = parse_rfc3339(event.text("expirytime"));
  return time && *time <= now;
}

CloudEvent dead_letter(CloudEvent event, const std::string& destination, int status, std::string_view body) {
  event.attributes["knativeerrordest"] = destination;
  event.attributes["knativeerrorcode"] = status == 0 ? 500 : status;
  event.attributes["knativeerrordata"] = base64_encode(body).substr(0, error_data_max);
  return event;
}

}  // namespace wick::eventing
