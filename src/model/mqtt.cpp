#include "wick/model/mqtt.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "wick/base/text.hpp"

namespace wick::model {

namespace {

bool has_nul(std::string_view text) { return text.find('\0') != text.npos; }

bool is_attribute(std::string_view name) {
  return !name.empty() && name != "data" &&
         std::ranges::all_of(name, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); });
}

std::string too_long(std::string_view what) {
  return fmt::format("a {} has at most {} bytes", what, mqtt_topic_bytes_max);
}

bool is_host(std::string_view host, bool bracketed) {
  return !host.empty() && std::ranges::all_of(host, [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
           c == '_' || (bracketed && c == ':');
  });
}

}  // namespace

Result<MqttServer> parse_mqtt_url(std::string_view url) {
  const auto wrong = [&] {
    return fail(Errc::invalid, "mqtt://HOST[:PORT] or mqtts://HOST[:PORT] is expected, credentials in a Secret");
  };
  MqttServer server;
  constexpr std::string_view plain = "mqtt://", secure = "mqtts://";
  if (url.starts_with(secure))
    server = {.host = {}, .port = 8883, .tls = true};
  else if (!url.starts_with(plain))
    return wrong();
  url.remove_prefix(server.tls ? secure.size() : plain.size());
  if (url.ends_with('/')) url.remove_suffix(1);
  const bool bracketed = url.starts_with('[');
  const auto end = bracketed ? url.find(']') : url.find(':');
  if (bracketed && end == url.npos) return wrong();
  const auto host = url.substr(bracketed ? 1 : 0, bracketed ? end - 1 : end);
  auto rest = end == url.npos ? std::string_view() : url.substr(end + (bracketed ? 1 : 0));
  if (!is_host(host, bracketed)) return wrong();
  server.host = host;
  if (rest.empty()) return server;
  const auto port = rest.starts_with(':') ? parse_unsigned(rest.substr(1)) : std::nullopt;
  if (!port || *port < 1 || *port > 65'535) return wrong();
  server.port = static_cast<std::uint16_t>(*port);
  return server;
}

std::string mqtt_filter_complaint(std::string_view filter) {
  if (filter.empty()) return "a topic filter is not empty";
  if (filter.size() > mqtt_topic_bytes_max) return too_long("topic filter");
  if (has_nul(filter)) return "a topic filter has no NUL";
  const auto levels = split(filter, '/');
  for (std::size_t i = 0; i < levels.size(); ++i) {
    if (levels[i].find('#') != filter.npos && (levels[i] != "#" || i + 1 != levels.size()))
      return "'#' is the last level, and alone in it";
    if (levels[i].find('+') != filter.npos && levels[i] != "+") return "'+' is a whole level";
  }
  return {};
}

std::string mqtt_topic_complaint(std::string_view topic) {
  if (topic.empty()) return "a topic is not empty";
  if (topic.size() > mqtt_topic_bytes_max) return too_long("topic");
  if (has_nul(topic)) return "a topic has no NUL";
  if (topic.find_first_of("+#") != topic.npos) return "a topic to publish to has no wildcards";
  return {};
}

std::string mqtt_pattern_complaint(std::string_view pattern) {
  std::string plain;
  for (std::size_t at = 0; at < pattern.size();) {
    if (pattern[at] == '}') return "'}' without a '{' before it";
    if (pattern[at] != '{') {
      plain += pattern[at++];
      continue;
    }
    const auto end = pattern.find('}', at);
    if (end == pattern.npos || !is_attribute(pattern.substr(at + 1, end - at - 1)))
      return "{NAME} names an attribute of the event: {type}, {subject}";
    plain += 'x';
    at = end + 1;
  }
  return mqtt_topic_complaint(plain);
}

}  // namespace wick::model
