// MQTTSource (sources.wick.dev/v1alpha1) and MQTTSink (sinks.wick.dev/v1alpha1): a connection to an MQTT server for as
// long as the object is there (eventing/mqtt.hpp).
//
//   resolved ──► connecting ──CONNACK──► connected ──it ended──► pause (1 s, doubled up to 60 s) ──► connecting
//                    └──refused──► pause
//
// 1. A message is acknowledged once its event is in the log of a stream: a Broker's, a Channel's, or the source's own.
// 2. An event is answered with 202 once the server has acknowledged it (QoS 1 and 2).
#pragma once

#include <map>
#include <memory>
#include <string>

#include "control/world.hpp"
#include "wick/eventing/mqtt.hpp"
#include "wick/os/task_group.hpp"

namespace wick::control {

const model::Kind& mqtt_source_kind();
const model::Kind& mqtt_sink_kind();

class MqttLinks {
 public:
  explicit MqttLinks(World& world);
  ~MqttLinks();
  awaitable<Result<void>> reconcile_source(ObjectKey key);
  awaitable<Result<void>> reconcile_sink(ObjectKey key);
  /// Asks for what connects by this Secret to be reconciled.
  void secret_changed(const ObjectKey& secret);
  awaitable<void> stop();

 private:
  struct Link;
  using LinkPointer = std::shared_ptr<Link>;

  Result<eventing::mqtt::Options> options_of(const json::object& object) const;
  std::string fingerprint(const json::object& object, const std::string& stream) const;
  LinkPointer begin(const ObjectKey& key, const json::object& object, eventing::mqtt::Options options,
                    std::string what);
  LinkPointer find(const ObjectKey& key) const;
  void judge(const LinkPointer& link, model::Conditions& conditions) const;
  void tell(const LinkPointer& link, std::string reason, std::string problem);
  awaitable<void> end(ObjectKey key, bool for_good);
  awaitable<void> forget_session(eventing::mqtt::Options options);
  awaitable<void> run(LinkPointer link);
  awaitable<Result<void>> serve(LinkPointer link);
  awaitable<void> subscribe(LinkPointer link, std::shared_ptr<eventing::mqtt::Connection> connection);
  awaitable<bool> take(LinkPointer link, std::shared_ptr<eventing::mqtt::Connection> connection,
                       eventing::mqtt::Message message);
  awaitable<http::Response> publish(ObjectKey key, json::object sink, eventing::CloudEvent event);

  World& world_;
  std::map<ObjectKey, LinkPointer> links_;
  TaskGroup forgetting_;
};

}  // namespace wick::control
