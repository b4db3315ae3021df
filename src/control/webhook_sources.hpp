// WebhookSource (sources.wick.dev/v1alpha1): deliveries of webhooks as events. Who delivers is checked by who takes the
// request (api/webhooks.cpp); what it makes of it is stored here, in the sink's own stream or in one of the source.
#pragma once

#include <map>
#include <string>

#include "control/world.hpp"
#include "wick/eventing/cloud_event.hpp"

namespace wick::control {

const model::Kind& webhook_source_kind();

class WebhookSources {
 public:
  explicit WebhookSources(World& world) : world_(world) {}
  awaitable<Result<void>> reconcile(ObjectKey key);
  /// Stored when it returns, with spec.ceOverrides. Errors: unavailable (the sink is not there yet), and those of
  /// Eventing::emit.
  awaitable<Result<void>> send(ObjectKey key, eventing::CloudEvent event);

 private:
  World& world_;
  std::map<ObjectKey, std::string> streams_;  // of those whose sink is resolved
};

}  // namespace wick::control
