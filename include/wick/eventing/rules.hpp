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

/// Why an event does not pass ("type is 'a', wanted 'b'"); nullopt when it does.
std::optional<std::string> mismatch(const AttributeFilter& filter, const CloudEvent& event);
inline bool match(const AttributeFilter& filter, const CloudEvent& event) { return !mismatch(filter, event); }

inline constexpr milliseconds backoff_max{300'000};
/// The wait after the `failed`-th failed attempt (1 is the first). linear: delay × failed; exponential: delay ×
/// 2^(failed-1); both at most backoff_max, or the delay itself where that is longer: uncapped, 20 retries from one
/// second would take 12 days. Knative's code counts linear from 0, so that its first retry does not wait at all; its
/// documentation and we count from 1.
milliseconds backoff(const Delivery& delivery, int failed);

struct Judgement {
  enum class Verdict {
    delivered,
    retry,    // transport errors, 404, 408, 409, 429, 5xx, and 2xx answers that are neither empty nor events
    refused,  // everything else: trying again would not help
  } verdict = Verdict::delivered;
  int status = 0;  // as the subscriber sent it; 502 for a reply we cannot take; 0 when there was no answer
  std::string detail;
  std::string body;                 // of a failed attempt
  std::vector<CloudEvent> replies;  // of a delivered one
};
Judgement judge(Result<http::Response> response);

/// The trigger's delivery, else the broker's; a trigger without a dead letter sink of its own has the broker's.
Delivery effective_delivery(const TriggerSpec& trigger, const BrokerSpec* broker);

/// "http://name.namespace.svc.cluster.local/path", or the URL.
std::string to_text(const Destination& destination);

inline constexpr int ttl_max = 255;
/// Gives an event the loop budget and arrival time of one pass through the broker. False when the budget was used up
/// (Knative's MAX_TTL: absent or unreadable is 255, present is one less).
bool admit(CloudEvent& event, WallTime now);

/// The original event with knativeerrordest, knativeerrorcode and knativeerrordata.
CloudEvent dead_letter(CloudEvent event, const std::string& destination, int status, std::string_view body);

}  // namespace wick::eventing
