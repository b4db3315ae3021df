// What MQTTSource and MQTTSink say of a server and of topics (MQTT 5.0 4.7). Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "wick/base/error.hpp"

namespace wick::model {

inline constexpr std::size_t mqtt_topic_bytes_max = 65'535;  // MQTT 5.0 1.5.4

struct MqttServer {
  std::string host;  // IPv6 without brackets
  std::uint16_t port = 1883;
  bool tls = false;
};
/// "mqtt://HOST", "mqtts://HOST:PORT": 1883 and 8883 where no port is given. Errors: invalid.
Result<MqttServer> parse_mqtt_url(std::string_view url);

/// What is wrong with a topic filter; empty where nothing is.
std::string mqtt_filter_complaint(std::string_view filter);
/// The same of the name of a topic, which has no wildcards.
std::string mqtt_topic_complaint(std::string_view topic);
/// The same of a topic with {NAME} in it for an event's attribute of that name.
std::string mqtt_pattern_complaint(std::string_view pattern);

}  // namespace wick::model
