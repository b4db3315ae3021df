#include "control/log_sinks.hpp"

#include <fmt/format.h>

#include "control/event_access.hpp"
#include "control/subscribing.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"

namespace wick::control {

namespace {

constexpr std::size_t data_logged_max = 4096;  // bytes; the rest is left out

/// What spec.log asks for.
struct LogWishes {
  std::string logger;
  std::string level;
  bool body = true;
  bool headers = false;
};

LogWishes wishes_of(const json::object& sink) {
  const auto flag = [&](std::string_view name, bool otherwise) {
    const auto* value = model::find_value(sink, {"spec", "log", name});
    return value && value->is_bool() ? value->get_bool() : otherwise;
  };
  LogWishes wishes{.logger = model::text_at(sink, {"spec", "log", "loggerName"}),
                   .level = to_lower(model::text_at(sink, {"spec", "log", "level"})),
                   .body = flag("showBody", true),
                   .headers = flag("showHeaders", false)};
  if (wishes.logger.empty()) wishes.logger = "log-sink";
  return wishes;
}

awaitable<http::Response> log_event(ObjectKey key, LogWishes wishes, eventing::CloudEvent event) {
  const auto sink = key.name_space + "/" + key.name;
  const auto id = printable(event.text("id")), type = printable(event.text("type")),
             source = printable(event.text("source"));
  const auto data = wishes.body && event.data ? printable(*event.data, data_logged_max) : std::string();
  const auto level = wishes.level == "error"  ? log::Level::error
                     : wishes.level == "warn" ? log::Level::warn
                                              : log::Level::info;
  if (wishes.headers)
    log::write(level, wishes.logger,
               {{"sink", sink},
                {"id", id},
                {"type", type},
                {"source", source},
                {"attributes", printable(eventing::attributes_to_json(event), data_logged_max)},
                {"data", data}});
  else
    log::write(level, wishes.logger, {{"sink", sink}, {"id", id}, {"type", type}, {"source", source}, {"data", data}});
  co_return http::Response{.head = {.status = 202}};
}

}  // namespace

const model::Kind& integration_sink_kind() {
  static const model::Kind& kind = *model::find_stored_kind("integrationsinks.sinks.knative.dev");
  return kind;
}

awaitable<Result<void>> reconcile_integration_sink(World& world, ObjectKey key) {
  const auto name = eventing::sink_name(eventing::SinkKind::integration, key.name);
  const auto object = world.objects().find(key);
  if (!object) {
    world.with.eventing.remove_sink(key.name_space, name);
    world.with.eventing.remove_access_rules(key.name_space, name);
    co_return Result<void>();
  }
  model::Conditions conditions("Ready", {"Addressable", "DeploymentReady", "EventPoliciesReady"}, *object, world.now());
  conditions.mark_true("Addressable");
  conditions.mark_true("DeploymentReady");
  json::object status{
      {"observedGeneration", generation_of(*object)},
      {"address", {{"name", "http"}, {"url", address_of(integration_sink_kind(), key.name_space, key.name)}}}};
  judge_policies(world, integration_sink_kind(), *object, name, conditions, status);
  status["conditions"] = conditions.to_json();
  world.with.eventing.set_sink({.name_space = key.name_space,
                                .name = name,
                                .take = [key, wishes = wishes_of(*object)](eventing::CloudEvent event, http::Fields) {
                                  return log_event(key, wishes, std::move(event));
                                }});
  auto written = co_await write_status(world, std::move(key), std::move(status));
  co_return written;
}

}  // namespace wick::control
