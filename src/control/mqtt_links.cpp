#include "control/mqtt_links.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/serialize.hpp>

#include "control/event_access.hpp"
#include "control/sources.hpp"
#include "control/subscribing.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/model/mqtt.hpp"
#include "wick/os/deadline.hpp"

namespace wick::control {

namespace mqtt = eventing::mqtt;

namespace {

constexpr auto reconnect_first = 1s;
constexpr auto reconnect_max = 60s;
constexpr auto take_again = 1s;
constexpr auto publish_limit = 20s;  // below the gateways' own patience
constexpr std::int64_t session_seconds = 7 * 24 * 3600;

std::string secret_name_of(const json::object& object) {
  return model::text_at(object, {"spec", "auth", "secret", "ref", "name"});
}

bool is_persistent(const json::object& source) {
  const auto* given = model::find_value(source, {"spec", "session", "persistent"});
  return !given || !given->is_bool() || given->get_bool();
}

/// Of the object: another one of the same name has sessions of its own. At most 23 bytes: every server takes those.
std::string default_client_id(const json::object& object) {
  std::string id = "wick";
  for (const char c : uid_of(object))
    if (c != '-' && id.size() < 23) id += c;
  return id;
}

std::vector<mqtt::Topic> topics_of(const json::object& source) {
  std::vector<mqtt::Topic> topics;
  if (const auto* given = model::find_value(source, {"spec", "topics"}); given && given->is_array())
    for (const auto& one : given->get_array())
      if (one.is_object())
        topics.push_back({model::text_at(one.get_object(), {"topic"}),
                          static_cast<int>(model::integer_at(one.get_object(), {"qos"}, 1))});
  return topics;
}

/// Subscribed to before, and not asked for any more: a session goes on with them.
std::vector<std::string> dropped_topics(const json::object& source) {
  std::vector<std::string> dropped;
  const auto wanted = topics_of(source);
  if (const auto* before = model::find_value(source, {"status", "topics"}); before && before->is_array())
    for (const auto& one : before->get_array())
      if (one.is_string() && std::ranges::find(wanted, one.get_string().c_str(), &mqtt::Topic::filter) == wanted.end())
        dropped.emplace_back(one.get_string());
  return dropped;
}

std::string reason_of(const Error& error) {
  switch (error.code()) {
    case Errc::denied:
      return "NotAuthorized";
    case Errc::corrupt:
      return error.message().starts_with("TLS") ? "TLSFailed" : "NotMQTT";
    case Errc::timed_out:
      return "TimedOut";
    case Errc::invalid:
    case Errc::unsupported:
      return "Invalid";
    default:
      return "Unavailable";
  }
}

http::Response plain_answer(int status, std::string text, std::string_view retry_after = {}) {
  http::Response answer{.head = {.status = status}, .body = std::move(text)};
  if (!retry_after.empty()) answer.head.fields.set("Retry-After", std::string(retry_after));
  return answer;
}

/// What is the event's fault is refused for good; anything else is worth another attempt.
http::Response answer_to(const Error& error) {
  switch (error.code()) {
    case Errc::invalid:
    case Errc::unsupported:
      return plain_answer(400, error.what());
    case Errc::denied:
      return plain_answer(403, error.what());
    case Errc::too_large:
      return plain_answer(413, error.what());
    case Errc::overloaded:
      return plain_answer(503, error.what(), "1");
    default:
      return plain_answer(503, error.what(), "5");
  }
}

}  // namespace

const model::Kind& mqtt_source_kind() {
  static const model::Kind& kind = *model::find_stored_kind("mqttsources.sources.wick.dev");
  return kind;
}

const model::Kind& mqtt_sink_kind() {
  static const model::Kind& kind = *model::find_stored_kind("mqttsinks.sinks.wick.dev");
  return kind;
}

struct MqttLinks::Link {
  explicit Link(Executor executor) : task(executor) {}
  ObjectKey key;
  std::string uid;
  std::string what;  // fingerprint
  mqtt::Options options;
  json::object object;
  std::string server;  // its URL, before a topic
  // Of a source:
  std::string stream;
  std::vector<mqtt::Topic> topics;
  std::vector<std::string> dropped;
  std::vector<std::uint16_t> received;
  bool subscribed = false;
  bool refused_before = false;  // the stream took nothing: said once
  // Now:
  std::shared_ptr<mqtt::Connection> connection;
  std::string reason, problem;  // why there is none, or why it is of no use
  TaskGroup task;
};

MqttLinks::MqttLinks(World& world) : world_(world), forgetting_(world.with.executor) {}
MqttLinks::~MqttLinks() = default;

Result<mqtt::Options> MqttLinks::options_of(const json::object& object) const {
  auto server = model::parse_mqtt_url(model::text_at(object, {"spec", "url"}));
  if (!server) return fail(std::move(server.error()).within("spec.url"));
  mqtt::Options options{.host = std::move(server->host), .port = server->port, .tls = server->tls};
  if (model::text_at(object, {"spec", "version"}) == "3.1.1") options.version = mqtt::Version::v311;
  options.client_id = model::text_at(object, {"spec", "clientID"});
  if (options.client_id.empty()) options.client_id = default_client_id(object);
  const auto name = secret_name_of(object);
  if (name.empty()) return options;
  const auto secret = world_.objects().find(key_of(model::secret_kind(), namespace_of(object), name));
  if (!secret) return fail(Errc::not_found, fmt::format("secret \"{}\" not found", name));
  const auto read = [&](std::string_view key) -> std::optional<std::string> {
    if (!model::find_value(*secret, {"data", key})) return std::nullopt;
    return base64_decode(model::text_at(*secret, {"data", key}));
  };
  options.user = read("username");
  options.password = read("password");
  options.authorities = read("ca.crt").value_or("");
  options.certificate = read("tls.crt").value_or("");
  options.key = read("tls.key").value_or("");
  if (options.password && !options.user && options.version == mqtt::Version::v311)
    return fail(Errc::invalid, fmt::format("secret \"{}\" has a password and no username", name));
  return options;
}

std::string MqttLinks::fingerprint(const json::object& object, const std::string& stream) const {
  const auto* spec = model::find_value(object, {"spec"});
  auto text = stream + "\n" + (spec ? json::serialize(*spec) : std::string());
  if (const auto name = secret_name_of(object); !name.empty())
    if (const auto secret = world_.objects().find(key_of(model::secret_kind(), namespace_of(object), name)))
      text += fmt::format("\n{}/{}", uid_of(*secret), version_of(*secret));
  return md5_hex(text);
}

MqttLinks::LinkPointer MqttLinks::find(const ObjectKey& key) const {
  const auto found = links_.find(key);
  return found == links_.end() ? nullptr : found->second;
}

MqttLinks::LinkPointer MqttLinks::begin(const ObjectKey& key, const json::object& object, mqtt::Options options,
                                        std::string what) {
  auto link = std::make_shared<Link>(world_.with.executor);
  link->key = key;
  link->uid = uid_of(object);
  link->what = std::move(what);
  link->server = model::text_at(object, {"spec", "url"});
  if (link->server.ends_with('/')) link->server.pop_back();
  link->options = std::move(options);
  link->object = object;
  links_[key] = link;
  return link;
}

awaitable<void> MqttLinks::end(ObjectKey key, bool for_good) {
  const auto link = find(key);
  if (!link) co_return;
  links_.erase(key);
  if (link->connection) link->connection->close();
  co_await link->task.stop();
  if (link->connection) co_await link->connection->stop();
  link->connection = nullptr;
  if (for_good && !link->options.clean_start) forgetting_.spawn("forget mqtt session", forget_session(link->options));
}

/// What the server keeps for a source that is gone would wait there for nobody.
awaitable<void> MqttLinks::forget_session(mqtt::Options options) {
  options.clean_start = true;
  options.session_expiry = 0;
  auto opened = co_await mqtt::Connection::open(world_.with.executor, world_.with.clock, options);
  if (!opened) {
    log::info("MQTT session left at its server", {{"client", options.client_id}, {"error", opened.error().what()}});
    co_return;
  }
  (*opened)->close();
  co_await (*opened)->stop();
}

awaitable<void> MqttLinks::stop() {
  while (!links_.empty()) co_await end(links_.begin()->first, false);
  co_await forgetting_.stop();
}

void MqttLinks::secret_changed(const ObjectKey& secret) {
  for (const auto* kind : {&mqtt_source_kind(), &mqtt_sink_kind()})
    for (const auto& object : world_.objects().list(kind->resource(), secret.name_space))
      if (secret_name_of(*object) == secret.name) world_.enqueue(key_of(*kind, *object));
}

void MqttLinks::judge(const LinkPointer& link, model::Conditions& conditions) const {
  if (!link->problem.empty())
    conditions.mark_false("Connected", link->reason, link->problem);
  else if (link->connection && link->connection->open() && (link->topics.empty() || link->subscribed))
    conditions.mark_true("Connected");
  else
    conditions.mark_unknown("Connected", "Connecting", "the server has not answered yet");
}

/// The status has to say it.
void MqttLinks::tell(const LinkPointer& link, std::string reason, std::string problem) {
  link->reason = std::move(reason);
  link->problem = std::move(problem);
  world_.enqueue(link->key);
}

awaitable<Result<void>> MqttLinks::reconcile_source(ObjectKey key) {
  const auto& kind = mqtt_source_kind();
  const auto object = world_.objects().find(key);
  if (const auto before = find(key); before && (!object || before->uid != uid_of(*object))) co_await end(key, true);
  if (!object) {
    disconnect_sink(world_, kind, key);
    co_return Result<void>();
  }
  model::Conditions conditions("Ready", {"SinkProvided", "Connected", "OIDCIdentityCreated"}, *object, world_.now());
  json::object status{
      {"observedGeneration", generation_of(*object)},
      {"ceAttributes", json::array{json::object{{"type", "dev.wick.mqtt.message"},
                                                {"source", model::text_at(*object, {"spec", "url"})}}}}};
  judge_identity(world_, kind, key, conditions, status);
  const auto sink = co_await connect_sink(world_, kind, key, *object, conditions, status);
  auto options = options_of(*object);
  const auto what = fingerprint(*object, sink.stream);
  auto link = find(key);
  if (!options) {
    co_await end(key, false);
    conditions.mark_false("Connected", reason_of(options.error()), options.error().what());
  } else if (sink.stream.empty()) {
    co_await end(key, false);
    conditions.mark_unknown("Connected", "SinkNotResolved", "nothing is fetched before the sink is there");
  } else if (!link || link->what != what) {
    auto received = link ? link->received : std::vector<std::uint16_t>();
    if (link && link->connection) received = link->connection->received();
    co_await end(key, false);
    options->clean_start = !is_persistent(*object);
    if (is_persistent(*object))
      options->session_expiry =
          static_cast<std::uint32_t>(model::integer_at(*object, {"spec", "session", "expirySeconds"}, session_seconds));
    link = begin(key, *object, std::move(*options), what);
    link->stream = sink.stream;
    link->topics = topics_of(*object);
    link->dropped = dropped_topics(*object);
    link->received = std::move(received);
    link->task.spawn("mqtt source " + key.name, run(link));
  }
  link = find(key);
  if (link) judge(link, conditions);
  json::array topics;
  for (const auto& topic : topics_of(*object)) topics.emplace_back(topic.filter);
  if (!link || !link->subscribed)
    for (const auto& topic : dropped_topics(*object)) topics.emplace_back(topic);
  status["topics"] = std::move(topics);
  status["conditions"] = conditions.to_json();
  auto written = co_await write_status(world_, std::move(key), std::move(status));
  co_return written;
}

awaitable<Result<void>> MqttLinks::reconcile_sink(ObjectKey key) {
  const auto& kind = mqtt_sink_kind();
  const auto name = eventing::sink_name(eventing::SinkKind::mqtt, key.name);
  const auto object = world_.objects().find(key);
  if (const auto before = find(key); before && (!object || before->uid != uid_of(*object))) co_await end(key, true);
  if (!object) {
    world_.with.eventing.remove_sink(key.name_space, name);
    world_.with.eventing.remove_access_rules(key.name_space, name);
    co_return Result<void>();
  }
  model::Conditions conditions("Ready", {"Addressable", "Connected", "EventPoliciesReady"}, *object, world_.now());
  conditions.mark_true("Addressable");
  json::object status{{"observedGeneration", generation_of(*object)},
                      {"address", {{"name", "http"}, {"url", address_of(kind, key.name_space, key.name)}}}};
  judge_policies(world_, kind, *object, name, conditions, status);
  auto options = options_of(*object);
  const auto what = fingerprint(*object, {});
  auto link = find(key);
  if (!options) {
    co_await end(key, false);
    conditions.mark_false("Connected", reason_of(options.error()), options.error().what());
  } else if (!link || link->what != what) {
    co_await end(key, false);
    link = begin(key, *object, std::move(*options), what);
    link->task.spawn("mqtt sink " + key.name, run(link));
  }
  link = find(key);
  if (link) judge(link, conditions);
  world_.with.eventing.set_sink({.name_space = key.name_space,
                                 .name = name,
                                 .take = [this, key, sink = *object](eventing::CloudEvent event, http::Fields) {
                                   return publish(key, sink, std::move(event));
                                 }});
  status["conditions"] = conditions.to_json();
  auto written = co_await write_status(world_, std::move(key), std::move(status));
  co_return written;
}

awaitable<void> MqttLinks::run(LinkPointer link) {
  Duration pause = reconnect_first;
  while (true) {
    auto served = co_await serve(link);
    const auto& error = served.error();
    // One that came to be and ended is worth an early attempt.
    if (link->connection) pause = reconnect_first;
    link->connection = nullptr;
    log::warn(
        "MQTT server not reached",
        {{"object", link->key.name_space + "/" + link->key.name}, {"server", link->server}, {"error", error.what()}});
    tell(link, reason_of(error), error.what());
    co_await world_.with.clock.sleep(pause);
    pause = std::min<Duration>(pause * 2, reconnect_max);
  }
}

/// From connecting to the end of the connection; always an error.
awaitable<Result<void>> MqttLinks::serve(LinkPointer link) {
  auto opened = co_await mqtt::Connection::open(world_.with.executor, world_.with.clock, link->options);
  if (!opened) co_return fail(std::move(opened.error()));
  const std::shared_ptr<mqtt::Connection> connection = std::move(*opened);
  link->connection = connection;
  log::info("MQTT server reached", {{"object", link->key.name_space + "/" + link->key.name}, {"server", link->server}});
  link->subscribed = false;
  if (connection->session_present()) connection->set_received(link->received);
  if (link->topics.empty())
    tell(link, {}, {});
  else
    link->task.spawn("mqtt subscribe", subscribe(link, connection));
  // Kept by the connection: it does not keep the connection.
  auto on_message = [this, link, weak = std::weak_ptr(connection)](mqtt::Message message) {
    return take(link, weak.lock(), std::move(message));
  };
  auto why = co_await connection->run(std::move(on_message));
  link->received = connection->received();
  co_await connection->stop();
  co_return fail(std::move(why));
}

awaitable<void> MqttLinks::subscribe(LinkPointer link, std::shared_ptr<mqtt::Connection> connection) {
  if (!link->dropped.empty()) {
    auto dropped = co_await connection->unsubscribe(link->dropped);
    if (!dropped) co_return;
  }
  auto subscribed = co_await connection->subscribe(link->topics);
  if (!connection->open()) co_return;
  link->subscribed = bool(subscribed);
  if (subscribed)
    tell(link, {}, {});
  else
    tell(link, reason_of(subscribed.error()), subscribed.error().what());
}

awaitable<bool> MqttLinks::take(LinkPointer link, std::shared_ptr<mqtt::Connection> connection, mqtt::Message message) {
  auto event = mqtt::event_of(message, link->options.version, link->server, random_uuid(), world_.now());
  for (auto& [name, value] : extensions_of(link->object)) event.attributes[name] = value;
  while (connection->open()) {
    auto sender = source_sender(mqtt_source_kind(), link->key);
    auto sent = co_await world_.with.eventing.emit(link->stream, event, {}, std::move(sender));
    if (sent) {
      link->refused_before = false;
      co_return true;
    }
    if (sent.error().code() == Errc::invalid) {
      log::warn("MQTT message dropped", {{"source", link->key.name}, {"error", sent.error().what()}});
      co_return true;
    }
    if (!std::exchange(link->refused_before, true))
      log::warn("MQTT message not taken, and not acknowledged",
                {{"source", link->key.name}, {"error", sent.error().what()}});
    co_await world_.with.clock.sleep(take_again);
  }
  co_return false;
}

awaitable<http::Response> MqttLinks::publish(ObjectKey key, json::object sink, eventing::CloudEvent event) {
  const auto link = find(key);
  const auto connection = link ? link->connection : nullptr;
  auto topic = mqtt::topic_of(model::text_at(sink, {"spec", "topic"}), event);
  if (!topic) co_return answer_to(topic.error());
  if (!connection || !connection->open())
    co_return plain_answer(503, "the MQTT server is not connected" + (link ? ": " + link->problem : std::string()),
                           "5");
  const auto mode = model::text_at(sink, {"spec", "contentMode"}) == "structured" ? mqtt::ContentMode::structured
                                                                                  : mqtt::ContentMode::binary;
  auto message = mqtt::message_of(event, link->options.version, mode);
  message.topic = std::move(*topic);
  message.qos = static_cast<int>(model::integer_at(sink, {"spec", "qos"}, 1));
  const auto* retain = model::find_value(sink, {"spec", "retain"});
  message.retain = retain && retain->is_bool() && retain->get_bool();
  try {
    auto published = co_await with_deadline(world_.with.clock, publish_limit, connection->publish(std::move(message)));
    co_return published ? http::Response{.head = {.status = 202}} : answer_to(published.error());
  } catch (const DeadlineExceeded&) {
    co_return plain_answer(503, "the MQTT server did not acknowledge the message in time", "5");
  }
}

}  // namespace wick::control
