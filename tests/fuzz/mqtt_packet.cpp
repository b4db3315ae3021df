// MQTT packets of a server: whatever comes is read or refused, and what is read as a message is a valid event.
#include <cstdlib>
#include <string_view>

#include "eventing/mqtt_packets.hpp"

using namespace wick::eventing;

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  if (size == 0) return 0;
  const auto version = data[0] % 2 == 0 ? mqtt::Version::v5 : mqtt::Version::v311;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto header = mqtt::decode_header(bytes);
  if (!header || !*header || bytes.size() < (*header)->bytes) return 0;
  const auto body = bytes.substr((*header)->bytes);
  const auto packet = mqtt::decode_packet(**header, body, version);
  (void)mqtt::decode_publish_head(**header, body);
  if (!packet) return 0;
  const auto* publish = std::get_if<mqtt::Publish>(&*packet);
  if (!publish) return 0;
  const auto event = mqtt::event_of(publish->message, version, "mqtt://host", "id", {});
  if (!validate(event)) std::abort();
  const auto again = mqtt::message_of(event, version, mqtt::ContentMode::binary);
  (void)mqtt::encode_publish(again, 1, version);
  return 0;
}
