// Broker and Trigger (eventing.knative.dev/v1) as values.
#pragma once

#include <boost/json/array.hpp>
#include <optional>
#include <string>

#include "wick/base/time.hpp"
#include "wick/model/metadata.hpp"

namespace wick::model {

/// duck.knative.dev Destination: a Service of ours by reference, a URI, or a URI relative to the reference.
struct Destination {
  std::string name_space;  // of the reference; empty: that of the object it is written in
  std::string service;
  std::string uri;
};

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

}  // namespace wick::model
