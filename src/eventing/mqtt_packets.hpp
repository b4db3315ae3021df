// The packets of MQTT 3.1.1 and 5.0, as a client meets them. Pure. What a server sends is read strictly where a wrong
// length would make sense of the next bytes doubtful; texts are bytes here, and checked by whoever uses them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "wick/eventing/mqtt.hpp"

namespace wick::eventing::mqtt {

enum class PacketType : std::uint8_t {
  connect = 1,
  connack = 2,
  publish = 3,
  puback = 4,
  pubrec = 5,
  pubrel = 6,
  pubcomp = 7,
  subscribe = 8,
  suback = 9,
  unsubscribe = 10,
  unsuback = 11,
  pingreq = 12,
  pingresp = 13,
  disconnect = 14,
};

/// The fixed header (2.1.1): 2 to 5 bytes.
struct Header {
  PacketType type{};
  std::uint8_t flags = 0;
  std::size_t length = 0;  // of what follows
  std::size_t bytes = 0;   // of the header itself
};
/// nullopt: more bytes are needed. Errors: corrupt.
Result<std::optional<Header>> decode_header(std::string_view bytes);

struct Connack {
  bool session_present = false;
  std::uint8_t code = 0;
  std::string reason;
  std::uint16_t receive_maximum = 65'535;
  std::optional<std::uint32_t> packet_bytes_max;
  std::optional<std::uint16_t> keep_alive;
  int qos_max = 2;
  bool retain_available = true;
};
struct Publish {
  Message message;
  std::uint16_t id = 0;  // of QoS 1 and 2
};
/// PUBACK, PUBREC, PUBREL and PUBCOMP.
struct Acknowledgement {
  PacketType type{};
  std::uint16_t id = 0;
  std::uint8_t code = 0;
  std::string reason;
};
/// SUBACK and UNSUBACK.
struct Subscribed {
  std::uint16_t id = 0;
  std::vector<std::uint8_t> codes;
  std::string reason;
};
struct Pong {};
struct Goodbye {
  std::uint8_t code = 0;
  std::string reason;
};
using Packet = std::variant<Connack, Publish, Acknowledgement, Subscribed, Pong, Goodbye>;

/// `body` is what follows the header, all of it. Errors: corrupt (malformed, or nothing that a server sends).
Result<Packet> decode_packet(const Header& header, std::string_view body, Version version);
/// Topic, QoS and id of a PUBLISH of which only the beginning is there.
Result<Publish> decode_publish_head(const Header& header, std::string_view begin);
inline constexpr std::size_t publish_head_bytes_max = 2 + topic_bytes_max + 2;

std::string encode_connect(const Options& options);
/// `id` for QoS 1 and 2.
std::string encode_publish(const Message& message, std::uint16_t id, Version version);
/// PUBACK, PUBREC, PUBREL or PUBCOMP that says yes.
std::string encode_acknowledgement(PacketType type, std::uint16_t id);
std::string encode_subscribe(const std::vector<Topic>& topics, std::uint16_t id, Version version);
std::string encode_unsubscribe(const std::vector<std::string>& filters, std::uint16_t id, Version version);
std::string encode_ping();
std::string encode_disconnect(Version version, bool end_session);

/// What a reason code says (5.0 2.4; 3.1.1 3.2.2.3 for CONNACK), as an error; what the server says besides is in it.
Error error_of(std::uint8_t code, const std::string& reason, std::string_view of);
Error connect_error(std::uint8_t code, const std::string& reason, Version version);

}  // namespace wick::eventing::mqtt
