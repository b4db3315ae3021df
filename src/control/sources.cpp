#include "control/sources.hpp"

#include <fmt/format.h>

#include "control/event_access.hpp"

#include "wick/base/text.hpp"

namespace wick::control {

namespace {

/// As config-br-defaults has it for Brokers: what a source sent is on disk, so nothing speaks against patience.
eventing::Delivery source_delivery() {
  return {.retry = 10, .backoff = eventing::Delivery::Backoff::exponential, .backoff_delay = 200ms};
}

model::Destination sink_of(const json::object& source) {
  model::FieldErrors ignored;
  model::ObjectReader root(source, ignored);
  return model::decode_destination(root.object("spec").object("sink"), namespace_of(source));
}

}  // namespace

awaitable<SourceSink> connect_sink(World& world, const model::Kind& kind, const ObjectKey& key,
                                   const json::object& source, model::Conditions& conditions, json::object& status) {
  const auto destination = sink_of(source);
  const auto resolved = resolve(world, destination, key.name_space);
  if (!resolved.problem.empty()) {
    conditions.mark_false("SinkProvided", "NotFound", resolved.problem);
    co_return SourceSink{};
  }
  SourceSink sink{.stream = {}, .uri = resolved.uri};
  if (const auto stream = stream_of(destination, key.name_space)) {
    sink.stream = *stream;
  } else {
    const auto name = eventing::source_stream(kind.kind, key.name);
    world.with.eventing.set_broker({.name_space = key.name_space, .name = name, .delivery = source_delivery()});
    eventing::TriggerSpec spec{.name_space = key.name_space,
                               .name = name,
                               .broker = name,
                               .filter = {},
                               .subscriber = to_eventing(destination, key.name_space),
                               .delivery = {}};
    spec.subscriber.sender = identity_of(kind, key.name_space, key.name);
    spec.lenient_replies = true;
    // What happened to an object is told in the order in which it happened.
    if (&kind == &model::api_server_source_kind()) spec.ordering = eventing::TriggerSpec::Ordering::strict;
    spec.reply_to = "";
    world.with.eventing.set_trigger(std::move(spec));
    const bool started = co_await world.with.eventing.await_trigger(key.name_space, name, trigger_start_limit);
    if (!started) {
      conditions.mark_unknown("SinkProvided", "Starting", "the event log has not taken the source yet");
      world.enqueue_after(key, 1s);
      co_return SourceSink{};
    }
    sink.stream = key.name_space + "/" + name;
  }
  status["sinkUri"] = sink.uri;
  conditions.mark_true("SinkProvided");
  co_return sink;
}

void disconnect_sink(World& world, const model::Kind& kind, const ObjectKey& key) {
  const auto name = eventing::source_stream(kind.kind, key.name);
  world.with.eventing.remove_trigger(key.name_space, name);
  world.with.eventing.remove_broker(key.name_space, name);
}

eventing::Sender source_sender(const model::Kind& kind, const ObjectKey& key) {
  return {.kind = eventing::Sender::Kind::inside, .subject = identity_of(kind, key.name_space, key.name), .token = {}};
}

model::TextMap extensions_of(const json::object& source) {
  model::TextMap extensions;
  const auto* given = model::find_value(source, {"spec", "ceOverrides", "extensions"});
  if (given && given->is_object())
    for (const auto& [name, value] : given->get_object())
      if (value.is_string()) extensions.emplace(to_lower(name), value.get_string());
  return extensions;
}

eventing::CloudEvent source_event(const json::object& source, std::string type, std::string ce_source, WallTime when) {
  eventing::CloudEvent event;
  event.attributes["specversion"] = std::string("1.0");
  event.attributes["id"] = random_uuid();
  event.attributes["type"] = std::move(type);
  event.attributes["source"] = std::move(ce_source);
  event.attributes["time"] = to_rfc3339_nano(when);
  for (auto& [name, value] : extensions_of(source)) event.attributes[name] = value;
  return event;
}

std::string random_uuid() {
  auto text = random_hex(16);
  text[12] = '4';
  text[16] = "89ab"[text[16] % 4];
  for (const std::size_t at : {8, 13, 18, 23}) text.insert(at, "-");
  return text;
}

}  // namespace wick::control
