// MQTT 3.1.1 and 5.0 (OASIS) as a client, and CloudEvents over it (cloudevents/spec bindings/mqtt-protocol-binding.md).
//
// A client of our own because of one thing: libmosquitto acknowledges a message before or as its callback is called, so
// that what the callback could not store yet is lost with the process. Here a message is acknowledged (PUBACK, PUBREC)
// once whoever takes it says that it is safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/eventing/cloud_event.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/loop.hpp"

namespace wick::eventing::mqtt {

enum class Version : std::uint8_t { v311 = 4, v5 = 5 };

inline constexpr std::size_t payload_bytes_max = 1 << 20;  // an event's; what is larger is acknowledged and dropped
inline constexpr std::size_t topic_bytes_max = 65'535;     // MQTT 5.0 1.5.4

struct Message {
  std::string topic;
  std::string payload;
  int qos = 0;  // 0..2
  bool retain = false;
  std::string content_type = {};                                          // version 5 only, as the next one
  std::vector<std::pair<std::string, std::string>> user_properties = {};  // in order; a name may be there twice

  bool operator==(const Message&) const = default;
};

struct Topic {
  std::string filter;
  int qos = 1;
};

/// The event of a message. One that is no CloudEvent, or claims to be one and is none, becomes one: type
/// dev.wick.mqtt.message, source `server` with the topic behind it, subject the topic, data the payload. Never fails:
/// what came is not lost because it is odd. Version 3.1.1 knows structured JSON only.
CloudEvent event_of(const Message& message, Version version, const std::string& server, std::string id, WallTime now);

enum class ContentMode { binary, structured };
/// The message of an event, without topic, QoS and retain. Version 3.1.1 is always structured.
Message message_of(const CloudEvent& event, Version version, ContentMode mode);
/// The topic that a template makes of an event: "{type}" is the attribute of that name. Errors: invalid (the event has
/// no such attribute, or one with a wildcard in it, or what comes out is no topic).
Result<std::string> topic_of(std::string_view pattern, const CloudEvent& event);

struct Options {
  std::string host;  // a name or an address; IPv6 without brackets
  std::uint16_t port = 1883;
  bool tls = false;
  Version version = Version::v5;
  std::string client_id;
  bool clean_start = true;           // forgets what an earlier session of this client id left
  std::uint32_t session_expiry = 0;  // seconds that the server keeps the session after the connection (version 5)
  std::optional<std::string> user = {}, password = {};
  std::string authorities = {};            // PEM; besides those that the machine trusts
  std::string certificate = {}, key = {};  // PEM of ours, where the server asks for one
  std::chrono::seconds keep_alive{30};
  milliseconds limit{10'000};  // of connecting, TLS and CONNACK, each
};

/// One connection, from CONNACK to its end. One executor. Call stop() before destroying it.
class Connection {
 public:
  /// Whoever takes a message. True: it is safe, and acknowledged. False: it is not, and comes again with the session.
  using Take = std::function<awaitable<bool>(Message)>;

  /// Errors: unavailable (nobody there, or refused for now), denied (credentials, client id), corrupt (TLS, or not
  /// MQTT), timed_out, invalid (options that cannot be).
  static awaitable<Result<std::unique_ptr<Connection>>> open(Executor executor, Clock& clock, Options options);
  ~Connection();
  Connection(const Connection&) = delete;

  /// The server still has the session of this client id: what it subscribed to, and what came meanwhile.
  bool session_present() const;
  /// Serves the connection until it ends; why it did. Messages are handed to `take` in the order in which they come,
  /// at most 64 (and 4 MB) at a time: past it nothing is read. They are acknowledged in that order. Waits for those
  /// that are being taken.
  awaitable<Error> run(Take take);
  /// The next ones wait for the server's answer, and so for run(). Errors: denied and others of the server's reasons;
  /// unavailable (the connection ended).
  awaitable<Result<void>> subscribe(std::vector<Topic> topics);
  awaitable<Result<void>> unsubscribe(std::vector<std::string> filters);
  /// Returns once the server has answered for it: PUBACK for QoS 1, PUBCOMP for 2, nothing for 0. As many at a time as
  /// the server allows, the rest waits in order. Errors: unavailable; overloaded; denied; invalid; too_large;
  /// unsupported (a QoS or retain that the server does not have).
  awaitable<Result<void>> publish(Message message);
  /// Messages that no more than this are in doubt: those of QoS 2 whose PUBREL is still to come. Given to the next
  /// connection of the same session, their repetition is not taken twice.
  std::vector<std::uint16_t> received() const;
  void set_received(std::vector<std::uint16_t> ids);

  /// False from the end of the connection on.
  bool open() const;
  /// Says goodbye (DISCONNECT) and ends it, with the session where `end_session` (version 5).
  void close(bool end_session = false);
  awaitable<void> stop();

 private:
  class Impl;
  explicit Connection(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace wick::eventing::mqtt
