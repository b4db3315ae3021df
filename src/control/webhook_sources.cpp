#include "control/webhook_sources.hpp"

#include <fmt/format.h>

#include "control/event_access.hpp"
#include "control/sources.hpp"
#include "wick/model/webhook.hpp"

namespace wick::control {

const model::Kind& webhook_source_kind() {
  static const model::Kind& kind = *model::find_stored_kind("webhooksources.sources.wick.dev");
  return kind;
}

awaitable<Result<void>> WebhookSources::reconcile(ObjectKey key) {
  const auto& kind = webhook_source_kind();
  const auto object = world_.objects().find(key);
  if (!object) {
    streams_.erase(key);
    disconnect_sink(world_, kind, key);
    co_return Result<void>();
  }
  model::Conditions conditions("Ready", {"SinkProvided", "SecretProvided", "OIDCIdentityCreated"}, *object,
                               world_.now());
  const auto provider = model::text_at(*object, {"spec", "provider"});
  json::object status{{"observedGeneration", generation_of(*object)},
                      {"path", model::webhook_source_path(key.name_space, uid_of(*object))}};
  judge_identity(world_, kind, key, conditions, status);
  const auto sink = co_await connect_sink(world_, kind, key, *object, conditions, status);
  if (sink.stream.empty())
    streams_.erase(key);
  else
    streams_[key] = sink.stream;
  const auto name = model::text_at(*object, {"spec", "secret", "ref", "name"});
  const auto secret = world_.objects().find(key_of(model::secret_kind(), key.name_space, name));
  if (!secret)
    conditions.mark_false("SecretProvided", "NotFound", fmt::format("secrets \"{}\" not found", name));
  else if (model::text_at(*secret, {"data", "secret"}).empty())
    conditions.mark_false("SecretProvided", "Invalid", fmt::format("the Secret {} has no key \"secret\"", name));
  else
    conditions.mark_true("SecretProvided");
  status["conditions"] = conditions.to_json();
  auto written = co_await write_status(world_, std::move(key), std::move(status));
  co_return written;
}

awaitable<Result<void>> WebhookSources::send(ObjectKey key, eventing::CloudEvent event) {
  const auto object = world_.objects().find(key);
  const auto found = streams_.find(key);
  if (!object || found == streams_.end()) co_return fail(Errc::unavailable, "the sink of the source is not there yet");
  for (auto& [name, value] : extensions_of(*object)) event.attributes[name] = value;
  auto stored = co_await world_.with.eventing.emit(found->second, std::move(event), {},
                                                   source_sender(webhook_source_kind(), key));
  co_return stored;
}

}  // namespace wick::control
