// The decisions of the broker as pure functions: does an event match, what does an answer mean, how long until the next
// attempt. knative/eventing pkg/eventfilter, pkg/kncloudevents/retries.go, pkg/broker/filter.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "wick/eventing/cloud_event.hpp"
#include "wick/eventing/eventing.hpp"

namespace wick::eventing {

/// The wait after the `failed`-th failed attempt (1 is the first). linear: delay × failed; exponential: delay ×
/// 2^(failed-1); both at most the delivery's backoff_max, or the delay itself where that is longer: uncapped, 20
/// retries from one second would take 12 days. Knative's code counts linear from 0, so that its first retry does not
/// wait at all; its documentation and we count from 1.
milliseconds backoff(const Delivery& delivery, int failed);
/// The backoff with a `share` of it added, so that what failed together is not tried together again; at the cap the
/// share is taken off. A Retry-After makes it longer, up to the delivery's retry_after_max.
milliseconds next_wait(const Delivery& delivery, int failed, std::optional<milliseconds> retry_after, double share);
/// No wait before a repetition is longer than this.
milliseconds longest_wait(const Delivery& delivery);

struct Judgement {
  enum class Verdict {
    delivered,
    retry,    // transport errors, 404, 408, 409, 429, 5xx, and 2xx answers that are neither empty nor events
    refused,  // everything else: trying again would not help
  } verdict = Verdict::delivered;
  int status = 0;  // as the subscriber sent it; 502 for a reply we cannot take; 0 when there was no answer
  std::string detail;
  std::string body;                         // of a failed attempt
  std::vector<CloudEvent> replies;          // of a delivered one
  std::optional<milliseconds> retry_after;  // of a 429 or 503
};
/// lenient: a 2xx answer with a body that is no event is a delivery, as for an ordinary web handler; Knative, and
/// strict, take it for a failure.
enum class Replies { strict, lenient };
Judgement judge(Result<http::Response> response, WallTime now, Replies replies = Replies::strict);

/// The trigger's delivery, else the broker's; a trigger without a dead letter sink of its own has the broker's.
Delivery effective_delivery(const TriggerSpec& trigger, const BrokerSpec* broker);

/// "http://name.namespace.svc.cluster.local/path", or the URL.
std::string to_text(const Destination& destination);

inline constexpr int ttl_max = 255;
/// Gives an event the loop budget and arrival time of one pass through the broker. False when the budget was used up
/// (Knative's MAX_TTL: absent or unreadable is 255, present is one less).
bool admit(CloudEvent& event, WallTime now);

/// The `deliverat` attribute (RFC 3339), or `delay` (ISO 8601) after `received`; nullopt without either, or when it
/// cannot be read.
std::optional<WallTime> deliver_at(const CloudEvent& event, WallTime received);
/// True past the event's `expirytime`.
bool has_expired(const CloudEvent& event, WallTime now);

/// The original event with knativeerrordest, knativeerrorcode and knativeerrordata.
CloudEvent dead_letter(CloudEvent event, const std::string& destination, int status, std::string_view body);

}  // namespace wick::eventing
