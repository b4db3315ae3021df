#include "wick/model/eventing.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "model/kinds.hpp"
#include "wick/base/text.hpp"

namespace wick::model {

namespace {

constexpr std::int64_t retry_max = 1000;  // 1,000 attempts are days of backoff: more is a mistake

bool is_attribute_name(std::string_view text) {
  if (text.empty() || text[0] < 'a' || text[0] > 'z') return false;
  for (const char c : text)
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))) return false;
  return true;
}

bool is_absolute(std::string_view uri) { return uri.starts_with("http://") || uri.starts_with("https://"); }

}  // namespace

bool is_addressable(const Kind& kind) {
  return std::ranges::find(kind.ducks, "duck.knative.dev/addressable") != kind.ducks.end();
}

Reference decode_reference(ObjectReader ref) {
  auto& errors = ref.errors();
  const auto kind = ref.text("kind");
  const auto api_version = ref.text("apiVersion");
  Reference reference{.name_space = ref.text("namespace"),
                      .name = ref.text("name"),
                      .written = fmt::format("{} {}", printable(api_version), printable(kind))};
  if (reference.name.empty()) errors.missing(ref.path("name"));
  if (kind.empty()) errors.missing(ref.path("kind"));
  if (api_version.empty()) errors.missing(ref.path("apiVersion"));
  const auto* found = find_kind_by_name(api_version, kind);
  reference.kind = found ? find_stored_kind(found->resource()) : nullptr;
  ref.refuse_rest();
  return reference;
}

Destination decode_destination(ObjectReader reader, std::string_view own_namespace) {
  auto& errors = reader.errors();
  Destination destination{.ref = {}, .uri = reader.text("uri")};
  auto ref = reader.object("ref");
  const auto path = ref.path();
  const auto namespace_path = ref.path("namespace");
  if (!ref.present() && destination.uri.empty())
    errors.add("expected at least one, got none", {reader.path("ref"), reader.path("uri")});
  if (ref.present()) {
    const auto& found = destination.ref.emplace(decode_reference(std::move(ref)));
    if (!found.written.starts_with(' ') && !found.written.ends_with(' ') &&
        (!found.kind || !is_addressable(*found.kind)))
      errors.invalid_value(found.written, path,
                           "the destinations here are uri and serving.knative.dev/v1 Service, eventing.knative.dev/v1 "
                           "Broker, eventing.knative.dev/v1alpha1 EventTransform, messaging.knative.dev/v1 Channel and "
                           "InMemoryChannel, flows.knative.dev/v1 Sequence and Parallel");
    if (!found.name_space.empty() && !own_namespace.empty() && found.name_space != own_namespace)
      errors.add("mismatched namespaces", {namespace_path},
                 fmt::format("parent namespace: \"{}\" does not match ref: \"{}\"", own_namespace, found.name_space));
  } else if (!destination.uri.empty() && !is_absolute(destination.uri)) {
    errors.invalid_value(printable(destination.uri), reader.path("uri"),
                         "Relative URI is not allowed when Ref and [apiVersion, kind, name] is absent");
  }
  reader.refuse_rest();
  return destination;
}

namespace {

std::optional<milliseconds> decode_duration(ObjectReader& reader, std::string_view key, milliseconds low) {
  const auto text = reader.text(key);
  if (text.empty()) return std::nullopt;
  const auto duration = parse_iso8601_duration(text);
  if (duration && *duration >= low) return *duration;
  reader.errors().invalid_value(printable(text), reader.path(key));
  return std::nullopt;
}

}  // namespace

Delivery decode_delivery(ObjectReader reader, std::string_view own_namespace) {
  auto& errors = reader.errors();
  Delivery delivery;
  if (const auto retry = reader.integer("retry")) {
    if (*retry < 0)
      errors.invalid_value(std::to_string(*retry), reader.path("retry"));
    else if (*retry > retry_max)
      errors.out_of_bounds(std::to_string(*retry), "0", std::to_string(retry_max), reader.path("retry"));
    else
      delivery.retry = static_cast<int>(*retry);
  }
  if (const auto policy = reader.text("backoffPolicy"); policy == "linear")
    delivery.backoff = Delivery::Backoff::linear;
  else if (policy == "exponential")
    delivery.backoff = Delivery::Backoff::exponential;
  else if (!policy.empty())
    errors.invalid_value(printable(policy), reader.path("backoffPolicy"));
  delivery.backoff_delay = decode_duration(reader, "backoffDelay", 0ms);
  delivery.timeout = decode_duration(reader, "timeout", 1ms);
  delivery.retry_after_max = decode_duration(reader, "retryAfterMax", 0ms);
  if (const auto format = reader.text("format"); format == "json")
    delivery.format = Delivery::Format::json;
  else if (format == "binary")
    delivery.format = Delivery::Format::binary;
  else if (!format.empty())
    errors.invalid_value(printable(format), reader.path("format"));
  if (auto sink = reader.object("deadLetterSink"); sink.present())
    delivery.dead_letter = decode_destination(std::move(sink), own_namespace);
  reader.refuse_rest();
  return delivery;
}

namespace {

constexpr int filter_depth_max = 32;  // as deep as eventing follows

void check_attributes(ObjectReader& filter, std::string_view dialect) {
  auto& errors = filter.errors();
  for (const auto& [name, value] : filter.text_map(dialect)) {
    if (!is_attribute_name(name)) errors.invalid_key(printable(name), filter.path(dialect));
    if (value.empty()) errors.invalid_value("", fmt::format("{}.{}", filter.path(dialect), printable(name)));
  }
}

/// One element of `filters`: one dialect, or nothing.
void check_filter(ObjectReader filter, int depth) {
  auto& errors = filter.errors();
  if (depth > filter_depth_max) {
    errors.add(fmt::format("filters are at most {} deep", filter_depth_max), {filter.path()});
    return;
  }
  std::size_t dialects = 0;
  for (const auto dialect : {"all", "any", "not", "exact", "prefix", "suffix", "cesql", "sql"})
    if (filter.has(dialect)) ++dialects;
  if (dialects > 1) errors.add("multiple dialects found, filters can have only one dialect set", {filter.path()});
  for (const auto dialect : {"all", "any"})
    for (auto& child : filter.objects(dialect)) check_filter(std::move(child), depth + 1);
  if (auto child = filter.object("not"); child.present()) check_filter(std::move(child), depth + 1);
  for (const auto dialect : {"exact", "prefix", "suffix"}) check_attributes(filter, dialect);
  for (const auto dialect : {"cesql", "sql"}) filter.text(dialect);
  filter.refuse_rest();
}

}  // namespace

void check_filters(ObjectReader& spec) {
  for (auto& element : spec.objects("filters")) check_filter(std::move(element), 1);
}

Broker decode_broker(const json::object& object, FieldErrors& errors) {
  ObjectReader root(object, errors);
  Broker broker{.metadata = decode_metadata(root.object("metadata"))};
  check_name_dns1123(broker.metadata, errors);
  auto spec = root.object("spec");
  if (auto delivery = spec.object("delivery"); delivery.present())
    broker.delivery = decode_delivery(std::move(delivery), broker.metadata.name_space);
  spec.refuse_rest();
  return broker;
}

Trigger decode_trigger(const json::object& object, FieldErrors& errors) {
  ObjectReader root(object, errors);
  Trigger trigger{.metadata = decode_metadata(root.object("metadata"))};
  check_name_dns1123(trigger.metadata, errors);
  auto spec = root.object("spec");
  trigger.broker = spec.text("broker");
  if (trigger.broker.empty()) errors.missing("spec.broker");
  auto filter = spec.object("filter");
  trigger.filter = filter.text_map("attributes");
  for (const auto& [name, value] : trigger.filter)
    if (!is_attribute_name(name))
      errors.add(fmt::format("Invalid attribute name: \"{}\"", printable(name)), {"spec.filter.attributes"});
  filter.refuse_rest();
  check_filters(spec);
  if (const auto* filters = spec.value("filters"); filters && filters->is_array())
    trigger.filters = filters->get_array();
  trigger.subscriber = decode_destination(spec.object("subscriber"), trigger.metadata.name_space);
  if (auto delivery = spec.object("delivery"); delivery.present())
    trigger.delivery = decode_delivery(std::move(delivery), trigger.metadata.name_space);
  spec.refuse_rest();
  return trigger;
}

Channel decode_channel(const json::object& object, FieldErrors& errors) {
  ObjectReader root(object, errors);
  Channel channel{.metadata = decode_metadata(root.object("metadata"))};
  auto spec = root.object("spec");
  auto backing = spec.object("channelTemplate");
  channel.template_api_version = backing.text("apiVersion");
  channel.template_kind = backing.text("kind");
  if (auto delivery = spec.object("delivery"); delivery.present())
    channel.delivery = decode_delivery(std::move(delivery), channel.metadata.name_space);
  return channel;
}

Subscription decode_subscription(const json::object& object, FieldErrors& errors) {
  ObjectReader root(object, errors);
  Subscription subscription{.metadata = decode_metadata(root.object("metadata"))};
  const auto& name_space = subscription.metadata.name_space;
  auto spec = root.object("spec");
  if (auto channel = spec.object("channel"); channel.present())
    subscription.channel = decode_reference(std::move(channel));
  if (auto subscriber = spec.object("subscriber"); subscriber.present())
    subscription.subscriber = decode_destination(std::move(subscriber), name_space);
  if (auto reply = spec.object("reply"); reply.present())
    subscription.reply = decode_destination(std::move(reply), name_space);
  if (auto delivery = spec.object("delivery"); delivery.present())
    subscription.delivery = decode_delivery(std::move(delivery), name_space);
  return subscription;
}

}  // namespace wick::model
