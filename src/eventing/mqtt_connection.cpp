// One connection to an MQTT server.
//
//   CONNECT ─► CONNACK ─► reading: PUBLISH ─► take ─► safe ─► PUBACK or PUBREC, in the order of the PUBLISHes
//                                  PUBREL  ─► PUBCOMP
//                         asking:  SUBSCRIBE, UNSUBSCRIBE, PUBLISH ─► the answer with their identifier
//
// 1. Nothing is acknowledged before `take` has said that it is safe.
// 2. An identifier of QoS 2 is in received_ from PUBREC to PUBREL: the same one again is not taken again (4.3.3).
#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <deque>
#include <map>
#include <set>

#include "mqtt_packets.hpp"
#include "mqtt_wire.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/http/upstream.hpp"
#include "wick/os/deadline.hpp"
#include "wick/os/slots.hpp"
#include "wick/os/task_group.hpp"

namespace wick::eventing::mqtt {

namespace {

constexpr std::size_t taken_at_once = 64;                                  // messages …
constexpr std::size_t taken_bytes_at_once = 4 << 20;                       // … and their bytes
constexpr std::size_t packet_bytes_max = payload_bytes_max + (128 << 10);  // with topic and properties
constexpr std::size_t read_bytes = 16 << 10;
constexpr std::size_t sent_at_once_max = 64;  // messages without an answer, whatever the server allows
constexpr std::size_t senders_waiting_max = 1'000;
constexpr std::size_t unsent_bytes_max = 8 << 20;
constexpr auto goodbye_limit = 1s;

}  // namespace

class Connection::Impl {
 public:
  Impl(Executor executor, Clock& clock, Options options, Fd socket)
      : executor_(executor),
        clock_(clock),
        options_(std::move(options)),
        wire_(executor, std::move(socket)),
        room_(executor, asio::steady_timer::time_point::max()),
        tasks_(executor) {}

  awaitable<Result<void>> begin() {
    wire_.put(encode_connect(options_));
    auto flushed = co_await wire_.flush();
    if (!flushed) co_return flushed;
    auto packet = co_await read_packet();
    if (!packet) co_return fail(std::move(packet.error()));
    auto* connack = std::get_if<Connack>(&*packet);
    if (!connack) co_return fail(Errc::corrupt, "the server's first packet is no CONNACK: does it speak MQTT?");
    if (connack->code != 0) co_return fail(connect_error(connack->code, connack->reason, options_.version));
    connack_ = std::move(*connack);
    if (connack_.keep_alive) options_.keep_alive = std::chrono::seconds(*connack_.keep_alive);
    allowed_ = std::make_unique<Slots>(executor_, std::min<std::size_t>(connack_.receive_maximum, sent_at_once_max),
                                       senders_waiting_max);
    co_return Result<void>();
  }

  awaitable<Result<void>> secure() {
    if (!options_.tls) co_return Result<void>();
    co_return co_await wire_.secure(options_);
  }

  awaitable<Error> run(Take take) {
    take_ = std::move(take);
    last_read_ = clock_.now();
    tasks_.spawn("mqtt writer", wire_.send_all());
    tasks_.spawn("mqtt keep alive", keep_alive());
    auto why = co_await serve();
    if (why_) why = *why_;
    end(why);
    while (!taking_.empty()) co_await wait_for_room();
    take_ = {};
    co_return why;
  }

  awaitable<Result<void>> subscribe(std::vector<Topic> topics) {
    const auto id = next_id();
    auto said = co_await ask(id, encode_subscribe(topics, id, options_.version), {});
    if (!said) co_return fail(std::move(said.error()));
    for (std::size_t i = 0; i < said->codes.size() && i < topics.size(); ++i)
      if (said->codes[i] >= 0x80)
        co_return fail(error_of(said->codes[i], said->reason, fmt::format("topic '{}'", printable(topics[i].filter))));
    co_return Result<void>();
  }

  awaitable<Result<void>> unsubscribe(std::vector<std::string> filters) {
    const auto id = next_id();
    auto said = co_await ask(id, encode_unsubscribe(filters, id, options_.version), {});
    if (!said) co_return fail(std::move(said.error()));
    co_return Result<void>();
  }

  awaitable<Result<void>> publish(Message message) {
    if (message.qos > connack_.qos_max)
      co_return fail(Errc::unsupported, fmt::format("the server takes QoS {} at most", connack_.qos_max));
    if (message.retain && !connack_.retain_available)
      co_return fail(Errc::unsupported, "the server retains no messages");
    if (!wire_.open()) co_return fail(ended_error());
    if (wire_.waiting() > unsent_bytes_max) co_return fail(Errc::overloaded, "too much waits to be sent to the server");
    if (message.qos == 0) {
      const auto bytes = encode_publish(message, 0, options_.version);
      if (auto fits = check_size(bytes); !fits) co_return fits;
      wire_.put(bytes);
      co_return Result<void>();
    }
    auto slot = co_await allowed_->acquire();
    if (!slot) co_return fail(std::move(slot.error()));
    const auto id = next_id();
    auto bytes = encode_publish(message, id, options_.version);
    if (auto fits = check_size(bytes); !fits) co_return fits;
    auto said = co_await ask(id, std::move(bytes), fmt::format("the message to '{}'", printable(message.topic)));
    if (!said) co_return fail(std::move(said.error()));
    co_return Result<void>();
  }

  void close(bool end_session) {
    if (!wire_.open()) return;
    wire_.put(encode_disconnect(options_.version, end_session));
    saying_goodbye_ = true;
  }

  awaitable<void> stop() {
    if (saying_goodbye_ && wire_.open()) {
      try {
        co_await with_deadline(clock_, goodbye_limit, sent());
      } catch (const DeadlineExceeded&) {
      }
    }
    end(Error(Errc::cancelled, "the connection was ended"));
    co_await tasks_.stop();
  }

  const Connack& connack() const { return connack_; }
  bool open() const { return wire_.open(); }
  std::vector<std::uint16_t> received() const { return {received_.begin(), received_.end()}; }
  void set_received(std::vector<std::uint16_t> ids) { received_ = {ids.begin(), ids.end()}; }

 private:
  /// A message that is being taken.
  struct Taking {
    std::uint16_t id = 0;
    int qos = 0;
    std::size_t bytes = 0;
    enum class State { waits, safe, refused } state = State::waits;
  };
  /// What waits for the server's answer.
  struct Asking {
    explicit Asking(Executor executor) : answered(executor, asio::steady_timer::time_point::max()) {}
    asio::steady_timer answered;
    std::optional<Result<Subscribed>> answer;
    std::string what;  // of a message
  };

  /// The next packet of a kind that matters, however long it takes.
  awaitable<Result<Packet>> read_packet() {
    while (true) {
      auto header = decode_header(in_);
      if (!header) co_return fail(std::move(header.error()));
      if (*header && (*header)->length > packet_bytes_max) {
        if ((*header)->type != PacketType::publish)
          co_return fail(Errc::corrupt, fmt::format("the server sent a packet of {} bytes", (*header)->length));
        auto dropped = co_await drop_large(**header);
        if (!dropped) co_return fail(std::move(dropped.error()));
        continue;
      }
      if (*header && in_.size() >= (*header)->bytes + (*header)->length) {
        auto packet = decode_packet(**header, std::string_view(in_).substr((*header)->bytes, (*header)->length),
                                    options_.version);
        in_.erase(0, (*header)->bytes + (*header)->length);
        co_return packet;
      }
      const bool more = co_await read_more();
      if (!more) co_return fail(ended_error());
    }
  }

  awaitable<bool> read_more() {
    char bytes[read_bytes];
    const auto read = co_await wire_.read_some(bytes);
    if (read.ended) co_return false;
    last_read_ = clock_.now();
    in_.append(bytes, read.bytes);
    co_return true;
  }

  /// Without keeping more of it than its beginning.
  awaitable<Result<void>> drop_large(Header header) {
    const auto head_bytes = std::min(header.length, publish_head_bytes_max);
    while (in_.size() < header.bytes + head_bytes) {
      const bool more = co_await read_more();
      if (!more) co_return fail(ended_error());
    }
    auto publish = decode_publish_head(header, std::string_view(in_).substr(header.bytes, head_bytes));
    if (!publish) co_return fail(std::move(publish.error()));
    auto left = header.bytes + header.length;
    while (left > in_.size()) {
      left -= in_.size();
      in_.clear();
      const bool more = co_await read_more();
      if (!more) co_return fail(ended_error());
    }
    in_.erase(0, left);
    drop(*publish, header.length);
    co_return Result<void>();
  }

  awaitable<Error> serve() {
    while (true) {
      auto packet = co_await read_packet();
      if (!packet) co_return packet.error();
      if (auto* publish = std::get_if<Publish>(&*packet))
        co_await receive(std::move(*publish));
      else if (auto* said = std::get_if<Acknowledgement>(&*packet))
        acknowledged(*said);
      else if (auto* subscribed = std::get_if<Subscribed>(&*packet))
        answer(subscribed->id, std::move(*subscribed));
      else if (auto* goodbye = std::get_if<Goodbye>(&*packet))
        co_return error_of(goodbye->code, goodbye->reason, "to go on");
      else if (std::holds_alternative<Connack>(*packet))
        co_return Error(Errc::corrupt, "the server sent a second CONNACK");
    }
  }

  awaitable<void> receive(Publish publish) {
    if (publish.message.qos == 2 && received_.contains(publish.id)) {
      wire_.put(encode_acknowledgement(PacketType::pubrec, publish.id));
      co_return;
    }
    if (publish.message.payload.size() > payload_bytes_max) {
      drop(publish, publish.message.payload.size());
      co_return;
    }
    while (taking_.size() >= taken_at_once || (!taking_.empty() && taking_bytes_ > taken_bytes_at_once)) {
      reading_paused_ = true;
      co_await wait_for_room();
    }
    if (std::exchange(reading_paused_, false)) last_read_ = clock_.now();
    auto taking = std::make_shared<Taking>(
        Taking{.id = publish.id, .qos = publish.message.qos, .bytes = publish.message.payload.size()});
    taking_.push_back(taking);
    taking_bytes_ += taking->bytes;
    tasks_.spawn("mqtt message", take_one(taking, std::move(publish.message)));
  }

  awaitable<void> take_one(std::shared_ptr<Taking> taking, Message message) {
    const bool safe = co_await take_(std::move(message));
    taking->state = safe ? Taking::State::safe : Taking::State::refused;
    settle();
    room_.cancel();
  }

  /// Acknowledges what is safe, up to the first that still waits.
  void settle() {
    while (!taking_.empty() && taking_.front()->state != Taking::State::waits) {
      const auto first = taking_.front();
      taking_.pop_front();
      taking_bytes_ -= first->bytes;
      if (first->state == Taking::State::safe) acknowledge(first->qos, first->id);
    }
  }

  /// A message that is larger than an event may be: refused, it would come again and again.
  void drop(const Publish& publish, std::size_t bytes) {
    log::warn("MQTT message dropped: too large",
              {{"topic", printable(publish.message.topic)}, {"bytes", bytes}, {"at_most", payload_bytes_max}});
    taking_.push_back(
        std::make_shared<Taking>(Taking{.id = publish.id, .qos = publish.message.qos, .state = Taking::State::safe}));
    settle();
  }

  void acknowledge(int qos, std::uint16_t id) {
    if (qos == 2) received_.insert(id);
    if (qos > 0) wire_.put(encode_acknowledgement(qos == 1 ? PacketType::puback : PacketType::pubrec, id));
  }

  void acknowledged(const Acknowledgement& said) {
    const auto found = asking_.find(said.id);
    const auto refusal = [&] {
      return fail(error_of(said.code, said.reason, found == asking_.end() ? "a message" : found->second->what));
    };
    switch (said.type) {
      case PacketType::pubrel:
        received_.erase(said.id);
        wire_.put(encode_acknowledgement(PacketType::pubcomp, said.id));
        return;
      case PacketType::pubrec:
        if (said.code < 0x80)
          wire_.put(encode_acknowledgement(PacketType::pubrel, said.id));
        else if (found != asking_.end())
          answer(said.id, refusal());
        return;
      default:
        if (found == asking_.end()) return;
        if (said.code >= 0x80)
          answer(said.id, refusal());
        else
          answer(said.id, Subscribed{.id = said.id});
    }
  }

  std::uint16_t next_id() {
    do ++last_id_;
    while (last_id_ == 0 || asking_.contains(last_id_));
    return last_id_;
  }

  Result<void> check_size(const std::string& bytes) const {
    if (connack_.packet_bytes_max && bytes.size() > *connack_.packet_bytes_max)
      return fail(Errc::too_large, fmt::format("the server takes packets of {} bytes at most, this one has {}",
                                               *connack_.packet_bytes_max, bytes.size()));
    return {};
  }

  /// Sends and waits for the answer with that identifier.
  awaitable<Result<Subscribed>> ask(std::uint16_t id, std::string bytes, std::string what) {
    if (!wire_.open()) co_return fail(ended_error());
    const auto asking = std::make_shared<Asking>(executor_);
    asking->what = std::move(what);
    asking_[id] = asking;
    struct Forget {
      std::map<std::uint16_t, std::shared_ptr<Asking>>& all;
      std::uint16_t id;
      ~Forget() { all.erase(id); }
    };
    const Forget forget{asking_, id};
    wire_.put(bytes);
    while (!asking->answer) {
      co_await asking->answered.async_wait(asio::as_tuple(use_awaitable));
      const auto state = co_await asio::this_coro::cancellation_state;
      if (state.cancelled() != asio::cancellation_type::none)
        throw boost::system::system_error(asio::error::operation_aborted);
    }
    co_return std::move(*asking->answer);
  }

  void answer(std::uint16_t id, Result<Subscribed> said) {
    const auto found = asking_.find(id);
    if (found == asking_.end()) return;
    found->second->answer = std::move(said);
    found->second->answered.cancel();
  }

  awaitable<void> wait_for_room() {
    room_.expires_at(asio::steady_timer::time_point::max());
    co_await room_.async_wait(asio::as_tuple(use_awaitable));
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none)
      throw boost::system::system_error(asio::error::operation_aborted);
  }

  awaitable<void> keep_alive() {
    const auto half = milliseconds(options_.keep_alive) / 2;
    if (half.count() == 0) co_return;
    while (wire_.open()) {
      co_await clock_.sleep(half);
      if (!reading_paused_ && clock_.now() - last_read_ > options_.keep_alive + half) {
        end(Error(Errc::timed_out,
                  fmt::format("the server was silent for {} s",
                              std::chrono::duration_cast<std::chrono::seconds>(clock_.now() - last_read_).count())));
        co_return;
      }
      wire_.put(encode_ping());
    }
  }

  awaitable<void> sent() {
    while (wire_.waiting() > 0 && wire_.open()) co_await clock_.sleep(milliseconds(5));
  }

  Error ended_error() const { return why_ ? *why_ : Error(Errc::unavailable, "the server ended the connection"); }

  void end(Error why) {
    if (!why_) why_ = std::move(why);
    wire_.close();
    for (auto& [id, asking] : asking_) {
      if (!asking->answer) asking->answer = fail(*why_);
      asking->answered.cancel();
    }
  }

  Executor executor_;
  Clock& clock_;
  Options options_;
  Wire wire_;
  Connack connack_;
  Take take_;
  std::string in_;
  std::deque<std::shared_ptr<Taking>> taking_;  // in the order in which they came
  std::size_t taking_bytes_ = 0;
  asio::steady_timer room_;  // cancelled when one less is being taken
  bool reading_paused_ = false;
  bool saying_goodbye_ = false;
  std::set<std::uint16_t> received_;
  std::map<std::uint16_t, std::shared_ptr<Asking>> asking_;
  std::unique_ptr<Slots> allowed_;
  std::uint16_t last_id_ = 0;
  TimePoint last_read_{};
  std::optional<Error> why_;
  TaskGroup tasks_;
};

Connection::Connection(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Connection::~Connection() = default;

awaitable<Result<std::unique_ptr<Connection>>> Connection::open(Executor executor, Clock& clock, Options options) {
  const auto limit = options.limit;
  const auto host = options.host.contains(':') ? "[" + options.host + "]" : options.host;
  const auto where = fmt::format("{}:{}", host, options.port);
  std::string_view doing = "connect";
  try {
    const auto connect = http::connect_to(executor, where);
    auto socket = co_await with_deadline(clock, limit, connect());
    if (!socket) co_return fail(std::move(socket.error()));
    auto impl = std::make_unique<Impl>(executor, clock, std::move(options), std::move(*socket));
    doing = "begin TLS";
    auto secured = co_await with_deadline(clock, limit, impl->secure());
    if (!secured) co_return fail(std::move(secured.error()));
    doing = "answer CONNECT";
    auto begun = co_await with_deadline(clock, limit, impl->begin());
    if (!begun) co_return fail(std::move(begun.error()));
    co_return std::unique_ptr<Connection>(new Connection(std::move(impl)));
  } catch (const DeadlineExceeded&) {
    co_return fail(Errc::timed_out, fmt::format("{} did not {} within {} s", where, doing, limit.count() / 1000));
  }
}

bool Connection::session_present() const { return impl_->connack().session_present; }
awaitable<Error> Connection::run(Take take) { return impl_->run(std::move(take)); }
awaitable<Result<void>> Connection::subscribe(std::vector<Topic> topics) { return impl_->subscribe(std::move(topics)); }
awaitable<Result<void>> Connection::unsubscribe(std::vector<std::string> filters) {
  return impl_->unsubscribe(std::move(filters));
}
awaitable<Result<void>> Connection::publish(Message message) { return impl_->publish(std::move(message)); }
std::vector<std::uint16_t> Connection::received() const { return impl_->received(); }
void Connection::set_received(std::vector<std::uint16_t> ids) { impl_->set_received(std::move(ids)); }
bool Connection::open() const { return impl_->open(); }
void Connection::close(bool end_session) { impl_->close(end_session); }
awaitable<void> Connection::stop() { return impl_->stop(); }

}  // namespace wick::eventing::mqtt
