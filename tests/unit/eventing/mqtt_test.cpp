// MQTT's packets, and CloudEvents as messages and back. Against a real server: tests/integration/e2e/mqtt_test.py.
#include <catch2/catch.hpp>

#include "mqtt_packets.hpp"

using namespace wick;
using namespace wick::eventing;
using namespace wick::eventing::mqtt;
using namespace std::string_literals;

namespace {

CloudEvent demo_event() {
  CloudEvent event;
  for (const auto& [name, value] : {std::pair{"specversion", "1.0"},
                                    {"id", "1"},
                                    {"source", "/s"},
                                    {"type", "demo"},
                                    {"room", "kitchen"},
                                    {"datacontenttype", "text/plain"}})
    event.attributes[name] = std::string(value);
  event.data = "payload";
  return event;
}

Message sent(std::string topic, std::string payload) {
  return {.topic = std::move(topic), .payload = std::move(payload)};
}

CloudEvent made(const Message& message, Version version = Version::v5) {
  return event_of(message, version, "mqtt://host:1883", "the-id", WallTime{});
}

Result<Packet> read(const std::string& bytes, Version version = Version::v5) {
  auto header = decode_header(bytes);
  if (!header) return fail(std::move(header.error()));
  if (!*header || bytes.size() != (*header)->bytes + (*header)->length) return fail(Errc::internal, "not whole");
  return decode_packet(**header, std::string_view(bytes).substr((*header)->bytes), version);
}

}  // namespace

TEST_CASE("an MQTT message of each version and QoS is read as it was written") {
  for (const auto version : {Version::v311, Version::v5})
    for (int qos = 0; qos <= 2; ++qos) {
      auto message = sent("a/b", std::string(300, 'x'));
      message.qos = qos;
      message.retain = qos == 1;
      if (version == Version::v5) {
        message.content_type = "text/plain";
        message.user_properties = {{"id", "1"}, {"id", "2"}};
      }
      const auto packet = read(encode_publish(message, 7, version), version);
      REQUIRE(packet);
      const auto& publish = std::get<Publish>(*packet);
      CHECK(publish.message == message);
      CHECK(publish.id == (qos == 0 ? 0 : 7));
    }
}

TEST_CASE("what an MQTT server answers is read, and a reason said in words") {
  const auto connack = read("\x20\x0a\x01\x00\x07\x21\x00\x14\x24\x01\x25\x00"s);
  REQUIRE(connack);
  const auto& said = std::get<Connack>(*connack);
  CHECK(said.session_present);
  CHECK(said.receive_maximum == 20);
  CHECK(said.qos_max == 1);
  CHECK_FALSE(said.retain_available);
  CHECK(std::get<Connack>(*read("\x20\x02\x00\x05"s, Version::v311)).code == 5);
  CHECK(connect_error(5, {}, Version::v311).message() == "the server refuses the connection: not authorized");
  CHECK(connect_error(4, {}, Version::v311).code() == Errc::denied);
  CHECK(connect_error(1, {}, Version::v5).code() == Errc::unsupported);
  CHECK(connect_error(0x86, "no such user", Version::v5).message() ==
        "the server refuses the connection: bad user name or password (no such user)");
  CHECK(error_of(0xc0, {}, "x").message() == "the server refuses x: reason 0xc0");
  CHECK(std::get<Subscribed>(*read("\x90\x05\x00\x02\x00\x01\x87"s)).codes == std::vector<std::uint8_t>{1, 0x87});
  CHECK(std::get<Acknowledgement>(*read("\x40\x02\x00\x09"s)).id == 9);
  CHECK(std::get<Acknowledgement>(*read("\x40\x03\x00\x09\x97"s)).code == 0x97);
  CHECK(std::get<Goodbye>(*read("\xe0\x01\x8e"s)).code == 0x8e);
  CHECK(std::holds_alternative<Pong>(*read("\xd0\x00"s)));
}

TEST_CASE("bytes that are no MQTT are refused, and what is cut waits for more") {
  CHECK_FALSE(*decode_header("\x30"s));
  CHECK_FALSE(*decode_header("\x30\x80\x80"s));
  CHECK_FALSE(decode_header("\x30\xff\xff\xff\xff\x01"s));
  for (const auto& bytes : {
           "\x20\x01\x00"s,                                 // a CONNACK of one byte
           "\x36\x05\x00\x01"s + "a\x00\x01"s,              // QoS 3
           "\x32\x06\x00\x01"s + "a\x00\x00\x00"s,          // identifier 0
           "\x30\x03\x00\x09"s + "a"s,                      // a topic longer than the packet
           "\x30\x04\x00\x01"s + "a\x05"s,                  // properties longer than the packet
           "\x30\x06\x00\x01"s + "a\x02\x7f\x00"s,          // a property that there is not
           "\x30\x08\x00\x01"s + "a\x04\x01\x00\x01\x00"s,  // one twice
           "\x30\x07\x00\x01"s + "a\x03\x23\x00\x01"s,      // an alias that nobody allowed
           "\x30\x03\x00\x00\x00"s,                         // no topic
           "\x10\x00"s,                                     // CONNECT is the client's
           "\x20\x06\x00\x00\x03\x21\x00\x00"s,             // a receive maximum of 0
       })
    CHECK_FALSE(read(bytes));
  CHECK_FALSE(read("\xe0\x00"s, Version::v311));
}

TEST_CASE("an event goes over MQTT in both modes and both versions and comes back the same") {
  const auto event = demo_event();
  for (const auto version : {Version::v311, Version::v5})
    for (const auto mode : {ContentMode::binary, ContentMode::structured}) {
      auto message = message_of(event, version, mode);
      message.topic = "t";
      CHECK(made(message, version) == event);
    }
  const auto binary = message_of(event, Version::v5, ContentMode::binary);
  CHECK(binary.content_type == "text/plain");
  CHECK(binary.payload == "payload");
  CHECK(binary.user_properties ==
        std::vector<std::pair<std::string, std::string>>{
            {"id", "1"}, {"room", "kitchen"}, {"source", "/s"}, {"specversion", "1.0"}, {"type", "demo"}});
}

TEST_CASE("an MQTT message that is no event becomes one, whatever is in it") {
  auto message = sent("a b/\xc3\xa9", "text");
  message.content_type = "text/plain";
  const auto event = made(message);
  CHECK(event.text("type") == "dev.wick.mqtt.message");
  CHECK(event.text("source") == "mqtt://host:1883/a%20b/%C3%A9");
  CHECK(event.text("subject") == "a b/\xc3\xa9");
  CHECK(event.text("datacontenttype") == "text/plain");
  CHECK(event.text("id") == "the-id");
  CHECK(*event.data == "text");
  CHECK(validate(event));
  const std::vector<std::pair<std::string, std::string>> claims{
      {"specversion", "1.0"}, {"id", "1"}, {"source", "/s"}, {"type", "demo"}};
  auto claimed = sent("t", "x");
  claimed.user_properties = claims;
  claimed.user_properties.emplace_back("Not-A-Name", "y");
  CHECK(made(claimed).text("type") == "demo");
  claimed.user_properties.emplace_back("id", "2");
  CHECK(made(claimed).text("type") == "dev.wick.mqtt.message");
  auto broken = sent("t", "{\"specversion\":");
  broken.content_type = "application/cloudevents+json";
  CHECK(made(broken).text("type") == "dev.wick.mqtt.message");
  CHECK(made(broken, Version::v311).text("type") == "dev.wick.mqtt.message");
  auto control = sent("a\x01"s, "x");
  control.content_type = "\xff";
  CHECK(validate(made(control)));
  CHECK(made(control).text("subject") == "a%01");
}

TEST_CASE("a topic is made of an event's attributes, without wildcards and not the server's own") {
  const auto event = demo_event();
  CHECK(topic_of("rooms/{room}/{type}", event).value() == "rooms/kitchen/demo");
  CHECK(topic_of("plain", event).value() == "plain");
  CHECK(topic_of("{floor}", event).error().message() ==
        "the topic needs the attribute 'floor', which the event has not");
  auto wild = event;
  wild.attributes["room"] = std::string("a/#");
  CHECK(topic_of("{room}", wild).error().message() == "the attribute 'room' has a wildcard of MQTT in it: 'a/#'");
  wild.attributes["room"] = std::string("$SYS/x");
  CHECK_FALSE(topic_of("{room}", wild));
  CHECK(topic_of("a/{room}", wild).value() == "a/$SYS/x");
}
