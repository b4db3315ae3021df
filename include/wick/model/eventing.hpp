// Broker and Trigger (eventing.knative.dev/v1), Channel and Subscription (messaging.knative.dev/v1) as values.
#pragma once

#include <boost/json/array.hpp>
#include <optional>
#include <string>

#include "wick/base/time.hpp"
#include "wick/model/metadata.hpp"
#include "wick/model/object_reader.hpp"
#include "wick/model/resource.hpp"

namespace wick::model {

/// duck.knative.dev KReference to one of our objects.
struct Reference {
  std::string name_space;      // empty: that of the object it is written in
  const Kind* kind = nullptr;  // stored version; nullptr: a kind that is unknown here
  std::string name;
  std::string written;  // "serving.knative.dev/v1 Service", as it was given
};

/// duck.knative.dev Destination: an addressable object of ours, a URI, or a URI relative to the object's.
struct Destination {
  std::optional<Reference> ref;
  std::string uri;
};
/// True for what has an address that takes events: Service, Broker, Channel, InMemoryChannel, Sequence, Parallel, …
bool is_addressable(const Kind& kind);
Reference decode_reference(ObjectReader reader);
Destination decode_destination(ObjectReader reader, std::string_view own_namespace);

struct Delivery {
  std::optional<int> retry;
  enum class Backoff { linear, exponential };
  std::optional<Backoff> backoff;
  std::optional<milliseconds> backoff_delay;
  std::optional<milliseconds> timeout;
  std::optional<Destination> dead_letter;
  std::optional<milliseconds> retry_after_max;
  enum class Format { as_it_came, binary, json } format = Format::as_it_came;
};

Delivery decode_delivery(ObjectReader reader, std::string_view own_namespace);

struct Broker {
  Metadata metadata;
  std::optional<Delivery> delivery;
};
Broker decode_broker(const json::object& object, FieldErrors& errors);

struct Trigger {
  Metadata metadata;
  std::string broker;
  TextMap filter;
  json::array filters;  // checked in shape here; what a CESQL expression means is eventing's to say
  Destination subscriber;
  std::optional<Delivery> delivery;
};
Trigger decode_trigger(const json::object& object, FieldErrors& errors);

/// Of a Channel or InMemoryChannel.
struct Channel {
  Metadata metadata;
  std::string template_api_version, template_kind;  // of a Channel: what is behind it
  std::optional<Delivery> delivery;
};
Channel decode_channel(const json::object& object, FieldErrors& errors);

struct Subscription {
  Metadata metadata;
  Reference channel;
  std::optional<Destination> subscriber;
  std::optional<Destination> reply;
  std::optional<Delivery> delivery;
};
Subscription decode_subscription(const json::object& object, FieldErrors& errors);

}  // namespace wick::model
