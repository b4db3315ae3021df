#include "mqtt_packets.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "wick/base/text.hpp"

namespace wick::eventing::mqtt {

namespace {

std::unexpected<Error> malformed(std::string_view what) {
  return fail(Errc::corrupt, fmt::format("the server sent no MQTT: {}", what));
}

/// Bytes from the front; past the end everything is empty, and ok() false.
class Bytes {
 public:
  explicit Bytes(std::string_view rest) : rest_(rest) {}
  bool ok() const { return ok_; }
  bool empty() const { return rest_.empty(); }
  std::string_view rest() const { return rest_; }

  std::string_view take(std::size_t size) {
    if (size > rest_.size()) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    const auto taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }
  std::uint32_t number(std::size_t size) {
    std::uint32_t value = 0;
    for (const char c : take(size)) value = value << 8 | static_cast<unsigned char>(c);
    return value;
  }
  std::string_view text() { return take(number(2)); }
  /// A variable byte integer (1.5.5).
  std::uint32_t variable() {
    std::uint32_t value = 0;
    for (int shift = 0; shift < 28; shift += 7) {
      const auto byte = number(1);
      value |= (byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    ok_ = false;
    return 0;
  }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

/// Those that a client has a use for (5.0 2.2.2.2).
struct Properties {
  std::optional<std::uint32_t> packet_bytes_max;
  std::optional<std::uint16_t> receive_maximum, keep_alive, topic_alias;
  std::optional<std::uint8_t> qos_max, retain_available;
  std::string reason, content_type;
  std::vector<std::pair<std::string, std::string>> user;
};

/// False for one that does not exist or is there twice.
bool read_property(Bytes& bytes, std::uint32_t id, Properties& into) {
  switch (id) {
    case 0x01:
    case 0x17:
    case 0x19:
    case 0x28:
    case 0x29:
    case 0x2a:
      bytes.number(1);
      return true;
    case 0x24:
      into.qos_max = static_cast<std::uint8_t>(bytes.number(1));
      return true;
    case 0x25:
      into.retain_available = static_cast<std::uint8_t>(bytes.number(1));
      return true;
    case 0x13:
      into.keep_alive = static_cast<std::uint16_t>(bytes.number(2));
      return true;
    case 0x21:
      into.receive_maximum = static_cast<std::uint16_t>(bytes.number(2));
      return true;
    case 0x22:
      bytes.number(2);
      return true;
    case 0x23:
      into.topic_alias = static_cast<std::uint16_t>(bytes.number(2));
      return true;
    case 0x27:
      into.packet_bytes_max = bytes.number(4);
      return true;
    case 0x02:
    case 0x11:
    case 0x18:
      bytes.number(4);
      return true;
    case 0x0b:
      bytes.variable();
      return true;
    case 0x03:
      into.content_type = bytes.text();
      return true;
    case 0x1f:
      into.reason = bytes.text();
      return true;
    case 0x08:
    case 0x09:
    case 0x12:
    case 0x15:
    case 0x16:
    case 0x1a:
    case 0x1c:
      bytes.text();
      return true;
    case 0x26: {
      auto name = std::string(bytes.text());
      into.user.emplace_back(std::move(name), bytes.text());
      return true;
    }
    default:
      return false;
  }
}

Result<Properties> read_properties(Bytes& bytes) {
  Properties properties;
  Bytes part(bytes.take(bytes.variable()));
  if (!bytes.ok()) return malformed("properties that end too early");
  std::set<std::uint32_t> seen;
  while (!part.empty()) {
    const auto id = part.variable();
    const bool may_repeat = id == 0x26 || id == 0x0b;
    if (!part.ok() || !read_property(part, id, properties) || !part.ok())
      return malformed(fmt::format("property {} that is none", id));
    if (!may_repeat && !seen.insert(id).second) return malformed(fmt::format("property {} twice", id));
  }
  return properties;
}

Result<Packet> read_connack(Bytes bytes, Version version) {
  Connack connack;
  connack.session_present = (bytes.number(1) & 1) != 0;
  connack.code = static_cast<std::uint8_t>(bytes.number(1));
  if (!bytes.ok()) return malformed("a CONNACK that is cut");
  // A server of version 3.1.1 says so in its words to one that speaks 5.
  if (version == Version::v311 || bytes.empty()) return connack;
  auto properties = read_properties(bytes);
  if (!properties) return fail(std::move(properties.error()));
  if (properties->receive_maximum == 0 || properties->packet_bytes_max == 0)
    return malformed("a CONNACK that allows nothing");
  connack.reason = std::move(properties->reason);
  connack.receive_maximum = properties->receive_maximum.value_or(connack.receive_maximum);
  connack.packet_bytes_max = properties->packet_bytes_max;
  connack.keep_alive = properties->keep_alive;
  connack.qos_max = properties->qos_max.value_or(2);
  connack.retain_available = properties->retain_available.value_or(1) != 0;
  return connack;
}

Result<Publish> read_publish_head(const Header& header, Bytes& bytes) {
  Publish publish;
  publish.message.qos = header.flags >> 1 & 3;
  publish.message.retain = (header.flags & 1) != 0;
  if (publish.message.qos == 3) return malformed("a PUBLISH of QoS 3");
  publish.message.topic = bytes.text();
  if (publish.message.qos > 0) publish.id = static_cast<std::uint16_t>(bytes.number(2));
  if (!bytes.ok()) return malformed("a PUBLISH that is cut");
  if (publish.message.qos > 0 && publish.id == 0) return malformed("a PUBLISH without an identifier");
  return publish;
}

Result<Packet> read_publish(const Header& header, Bytes bytes, Version version) {
  auto publish = read_publish_head(header, bytes);
  if (!publish) return fail(std::move(publish.error()));
  if (version == Version::v5) {
    auto properties = read_properties(bytes);
    if (!properties) return fail(std::move(properties.error()));
    // We allow none: our CONNECT has no Topic Alias Maximum.
    if (properties->topic_alias) return malformed("a topic alias that nobody asked for");
    publish->message.content_type = std::move(properties->content_type);
    publish->message.user_properties = std::move(properties->user);
  }
  if (publish->message.topic.empty()) return malformed("a PUBLISH without a topic");
  publish->message.payload = bytes.rest();
  return std::move(*publish);
}

Result<Packet> read_acknowledgement(PacketType type, Bytes bytes, Version version) {
  Acknowledgement said{.type = type};
  said.id = static_cast<std::uint16_t>(bytes.number(2));
  if (!bytes.ok()) return malformed("an acknowledgement that is cut");
  if (version == Version::v311 || bytes.empty()) return said;
  said.code = static_cast<std::uint8_t>(bytes.number(1));
  if (bytes.empty()) return said;
  auto properties = read_properties(bytes);
  if (!properties) return fail(std::move(properties.error()));
  said.reason = std::move(properties->reason);
  return said;
}

Result<Packet> read_subscribed(Bytes bytes, Version version) {
  Subscribed said;
  said.id = static_cast<std::uint16_t>(bytes.number(2));
  if (!bytes.ok()) return malformed("a SUBACK that is cut");
  if (version == Version::v5) {
    auto properties = read_properties(bytes);
    if (!properties) return fail(std::move(properties.error()));
    said.reason = std::move(properties->reason);
  }
  for (const char c : bytes.rest()) said.codes.push_back(static_cast<std::uint8_t>(c));
  return said;
}

Result<Packet> read_goodbye(Bytes bytes) {
  Goodbye said;
  if (bytes.empty()) return said;
  said.code = static_cast<std::uint8_t>(bytes.number(1));
  if (bytes.empty()) return said;
  auto properties = read_properties(bytes);
  if (!properties) return fail(std::move(properties.error()));
  said.reason = std::move(properties->reason);
  return said;
}

void put_number(std::string& out, std::uint32_t value, int size) {
  for (int shift = 8 * (size - 1); shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 0xff);
}

void put_text(std::string& out, std::string_view text) {
  text = text.substr(0, topic_bytes_max);
  put_number(out, static_cast<std::uint32_t>(text.size()), 2);
  out += text;
}

void put_variable(std::string& out, std::size_t value) {
  do {
    const auto low = static_cast<unsigned char>(value & 0x7f);
    value >>= 7;
    out += static_cast<char>(low | (value > 0 ? 0x80 : 0));
  } while (value > 0);
}

void put_properties(std::string& out, std::string_view properties) {
  put_variable(out, properties.size());
  out += properties;
}

std::string packet(PacketType type, int flags, std::string_view body) {
  std::string out(1, static_cast<char>(static_cast<int>(type) << 4 | flags));
  put_variable(out, body.size());
  return out += body;
}

struct Reason {
  std::uint8_t code;
  Errc errc;
  std::string_view text;
};
/// 5.0 2.4.
constexpr Reason reasons[]{
    {0x80, Errc::unavailable, "unspecified error"},
    {0x81, Errc::corrupt, "malformed packet"},
    {0x82, Errc::corrupt, "protocol error"},
    {0x83, Errc::unavailable, "implementation specific error"},
    {0x84, Errc::unsupported, "it does not speak this version of MQTT"},
    {0x85, Errc::denied, "it does not take this client identifier"},
    {0x86, Errc::denied, "bad user name or password"},
    {0x87, Errc::denied, "not authorized"},
    {0x88, Errc::unavailable, "server unavailable"},
    {0x89, Errc::unavailable, "server busy"},
    {0x8a, Errc::denied, "banned"},
    {0x8b, Errc::unavailable, "server shutting down"},
    {0x8d, Errc::timed_out, "keep alive timeout"},
    {0x8e, Errc::conflict, "another client came with the same client identifier"},
    {0x8f, Errc::invalid, "topic filter invalid"},
    {0x90, Errc::invalid, "topic name invalid"},
    {0x91, Errc::conflict, "packet identifier in use"},
    {0x92, Errc::conflict, "packet identifier not found"},
    {0x93, Errc::overloaded, "receive maximum exceeded"},
    {0x95, Errc::too_large, "packet too large"},
    {0x96, Errc::overloaded, "message rate too high"},
    {0x97, Errc::overloaded, "quota exceeded"},
    {0x98, Errc::denied, "administrative action"},
    {0x99, Errc::invalid, "payload format invalid"},
    {0x9a, Errc::unsupported, "retain not supported"},
    {0x9b, Errc::unsupported, "QoS not supported"},
    {0x9c, Errc::unavailable, "use another server"},
    {0x9d, Errc::unavailable, "server moved"},
    {0x9e, Errc::unsupported, "shared subscriptions not supported"},
    {0x9f, Errc::overloaded, "connection rate exceeded"},
    {0xa2, Errc::unsupported, "wildcard subscriptions not supported"},
};
/// 3.1.1 3.2.2.3, as what 5.0 has for it.
constexpr std::uint8_t of_311[]{0, 0x84, 0x85, 0x88, 0x86, 0x87};

}  // namespace

Result<std::optional<Header>> decode_header(std::string_view bytes) {
  if (bytes.size() < 2) return std::nullopt;
  Header header{.type = static_cast<PacketType>(static_cast<unsigned char>(bytes[0]) >> 4),
                .flags = static_cast<std::uint8_t>(bytes[0] & 0x0f)};
  for (std::size_t i = 1; i < 5; ++i) {
    if (i >= bytes.size()) return std::nullopt;
    const auto byte = static_cast<unsigned char>(bytes[i]);
    header.length |= static_cast<std::size_t>(byte & 0x7f) << 7 * (i - 1);
    if ((byte & 0x80) != 0) continue;
    header.bytes = i + 1;
    return header;
  }
  return malformed("a length of more than four bytes");
}

Result<Packet> decode_packet(const Header& header, std::string_view body, Version version) {
  const Bytes bytes(body);
  switch (header.type) {
    case PacketType::connack:
      return read_connack(bytes, version);
    case PacketType::publish:
      return read_publish(header, bytes, version);
    case PacketType::puback:
    case PacketType::pubrec:
    case PacketType::pubrel:
    case PacketType::pubcomp:
      return read_acknowledgement(header.type, bytes, version);
    case PacketType::suback:
    case PacketType::unsuback:
      return read_subscribed(bytes, version);
    case PacketType::pingresp:
      return Pong{};
    case PacketType::disconnect:
      if (version == Version::v5) return read_goodbye(bytes);
      [[fallthrough]];
    default:
      return malformed(fmt::format("packet type {}, which no server sends", static_cast<int>(header.type)));
  }
}

Result<Publish> decode_publish_head(const Header& header, std::string_view begin) {
  Bytes bytes(begin);
  return read_publish_head(header, bytes);
}

std::string encode_connect(const Options& options) {
  std::string body;
  put_text(body, "MQTT");
  body += static_cast<char>(options.version);
  int flags = options.clean_start ? 0x02 : 0;
  if (options.user) flags |= 0x80;
  if (options.password) flags |= 0x40;
  body += static_cast<char>(flags);
  put_number(body, static_cast<std::uint32_t>(options.keep_alive.count()), 2);
  if (options.version == Version::v5) {
    std::string properties;
    if (options.session_expiry > 0) {
      properties += '\x11';
      put_number(properties, options.session_expiry, 4);
    }
    put_properties(body, properties);
  }
  put_text(body, options.client_id);
  if (options.user) put_text(body, *options.user);
  if (options.password) put_text(body, *options.password);
  return packet(PacketType::connect, 0, body);
}

std::string encode_publish(const Message& message, std::uint16_t id, Version version) {
  std::string body;
  put_text(body, message.topic);
  if (message.qos > 0) put_number(body, id, 2);
  if (version == Version::v5) {
    std::string properties;
    if (!message.content_type.empty()) {
      properties += '\x03';
      put_text(properties, message.content_type);
    }
    for (const auto& [name, value] : message.user_properties) {
      properties += '\x26';
      put_text(properties, name);
      put_text(properties, value);
    }
    put_properties(body, properties);
  }
  body += message.payload;
  return packet(PacketType::publish, message.qos << 1 | (message.retain ? 1 : 0), body);
}

std::string encode_acknowledgement(PacketType type, std::uint16_t id) {
  std::string body;
  put_number(body, id, 2);
  return packet(type, type == PacketType::pubrel ? 2 : 0, body);
}

std::string encode_subscribe(const std::vector<Topic>& topics, std::uint16_t id, Version version) {
  std::string body;
  put_number(body, id, 2);
  if (version == Version::v5) put_properties(body, {});
  for (const auto& topic : topics) {
    put_text(body, topic.filter);
    body += static_cast<char>(topic.qos);
  }
  return packet(PacketType::subscribe, 2, body);
}

std::string encode_unsubscribe(const std::vector<std::string>& filters, std::uint16_t id, Version version) {
  std::string body;
  put_number(body, id, 2);
  if (version == Version::v5) put_properties(body, {});
  for (const auto& filter : filters) put_text(body, filter);
  return packet(PacketType::unsubscribe, 2, body);
}

std::string encode_ping() { return packet(PacketType::pingreq, 0, {}); }

std::string encode_disconnect(Version version, bool end_session) {
  if (version == Version::v311 || !end_session) return packet(PacketType::disconnect, 0, {});
  std::string body(1, '\0'), properties(1, '\x11');
  put_number(properties, 0, 4);
  put_properties(body, properties);
  return packet(PacketType::disconnect, 0, body);
}

Error error_of(std::uint8_t code, const std::string& reason, std::string_view of) {
  const auto* found = std::ranges::find(reasons, code, &Reason::code);
  const bool known = found != std::end(reasons);
  auto text = known ? std::string(found->text) : fmt::format("reason 0x{:02x}", code);
  if (!reason.empty()) text += fmt::format(" ({})", printable(reason));
  return {known ? found->errc : Errc::unavailable, fmt::format("the server refuses {}: {}", of, text)};
}

Error connect_error(std::uint8_t code, const std::string& reason, Version version) {
  constexpr std::string_view what = "the connection";
  // To a client of version 5 an old server answers with its own code 1.
  if (version == Version::v311 || code == 1)
    return error_of(code < std::size(of_311) ? of_311[code] : code, reason, what);
  return error_of(code, reason, what);
}

}  // namespace wick::eventing::mqtt
