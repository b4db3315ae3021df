// EventTypes that make themselves (pkg/eventtype/eventtypes_autocreate.go): one for each type and source that a broker
// or channel takes. Beside the way of an event: what cannot be written is left for the next of its kind.
#include <fmt/format.h>

#include "control/reconcilers.hpp"
#include "control/subscribing.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"

namespace wick::control {

namespace {

constexpr std::string_view flag_namespace = "knative-eventing";
constexpr std::string_view flag_map = "config-features";
constexpr std::size_t types_max = 10'000;  // a source that makes up types fills no more of the table

/// The addressable behind a stream; an empty name for streams that are nobody's to subscribe to.
std::pair<const model::Kind*, std::string> addressable_of(std::string_view stream) {
  const auto slash = stream.find('/');
  const auto name = stream.substr(slash + 1);
  constexpr std::string_view channels = "channels/";
  if (name.starts_with(channels)) return {&model::in_memory_channel_kind(), std::string(name.substr(channels.size()))};
  return {&model::broker_kind(), name.find('/') == name.npos ? std::string(name) : std::string()};
}

json::object attribute(std::string_view name, std::string_view value, bool required = true) {
  json::object object{{"name", name}, {"required", required}};
  if (!value.empty()) object["value"] = value;
  return object;
}

}  // namespace

EventTypes::EventTypes(World& world) : world_(world), tasks_(world.with.executor) {}

bool EventTypes::is_flag(const ObjectKey& key) { return key.name_space == flag_namespace && key.name == flag_map; }

void EventTypes::configure() {
  const auto features =
      world_.objects().find(key_of(model::config_map_kind(), std::string(flag_namespace), std::string(flag_map)));
  const bool enabled = features && iequals(model::text_at(*features, {"data", "eventtype-auto-create"}), "enabled");
  if (!enabled) return world_.with.eventing.on_accepted({});
  world_.with.eventing.on_accepted(
      [this](const std::string& stream, const eventing::CloudEvent& event) { see(stream, event); });
}

awaitable<void> EventTypes::stop() {
  world_.with.eventing.on_accepted({});
  co_await tasks_.stop();
}

void EventTypes::see(const std::string& stream, const eventing::CloudEvent& event) {
  const auto name_space = stream.substr(0, stream.find('/'));
  const auto [kind, name] = addressable_of(stream);
  if (name.empty()) return;
  const auto type = event.text("type"), source = event.text("source");
  const auto own =
      child_name(fmt::format("et-{}", name), "-" + md5_hex(type + source + name_space + name).substr(0, 16));
  if (seen_.size() >= types_max || !seen_.insert(name_space + "/" + own).second) return;
  const auto key = key_of(model::event_type_kind(), name_space, own);
  if (world_.objects().find(key)) return;
  const auto addressable = world_.objects().find(key_of(*kind, name_space, name));
  if (!addressable) return;
  json::object object{
      {"apiVersion", model::event_type_kind().api_version()},
      {"kind", "EventType"},
      {"metadata",
       {{"name", own},
        {"namespace", name_space},
        {"ownerReferences", json::array{model::owner_reference(*kind, *addressable)}}}},
      {"spec",
       {{"reference", reference_to(*kind, name_space, name)},
        {"description", "Event Type auto-created by controller"},
        {"attributes", json::array{attribute("type", type), attribute("source", source),
                                   attribute("specversion", event.text("specversion")), attribute("id", ""),
                                   attribute("schemadata", event.text("dataschema"), false)}}}}};
  tasks_.spawn("event type " + own, create(key, std::move(object)));
}

awaitable<void> EventTypes::create(ObjectKey key, json::object object) {
  auto created = co_await world_.objects().create(key, std::move(object));
  if (created || created.error().code() == Errc::already_exists) co_return;
  seen_.erase(key.name_space + "/" + key.name);
  log::warn("event type not registered", {{"name", key.name}, {"error", created.error().what()}});
}

}  // namespace wick::control
