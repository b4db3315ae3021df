// Events through the API: published as if they had come to the ingress, and watched as they pass.
#include <fmt/format.h>

#include <boost/asio/post.hpp>
#include <boost/json/serialize.hpp>
#include <deque>

#include "api/answer.hpp"
#include "api/wick_views.hpp"
#include "wick/base/text.hpp"
#include "wick/os/task_group.hpp"

namespace wick::api {

namespace {

constexpr std::size_t records_waiting_max = 10'000;  // a reader that slow loses the oldest
constexpr std::uint64_t tail_max = 1000;

/// The same exchange under another target.
class Retargeted final : public http::Exchange {
 public:
  Retargeted(http::Exchange& inner, std::string target) : inner_(inner), head_(inner.head()) {
    head_.target = std::move(target);
  }

  const http::RequestHead& head() const override { return head_; }
  std::string_view peer() const override { return inner_.peer(); }
  long peer_uid() const override { return inner_.peer_uid(); }
  std::string_view id() const override { return inner_.id(); }
  awaitable<Result<std::size_t>> read_some(std::span<char> into) override { return inner_.read_some(into); }
  awaitable<Result<void>> respond(http::ResponseHead head, std::string body) override {
    return inner_.respond(std::move(head), std::move(body));
  }
  awaitable<Result<void>> start(http::ResponseHead head) override { return inner_.start(std::move(head)); }
  awaitable<Result<void>> write(std::string_view bytes) override { return inner_.write(bytes); }
  awaitable<Result<void>> finish() override { return inner_.finish(); }
  bool started() const override { return inner_.started(); }
  awaitable<void> wait_gone() override { return inner_.wait_gone(); }

 private:
  http::Exchange& inner_;
  http::RequestHead head_;
};

std::string_view to_string(eventing::EventRecord::Kind kind) {
  switch (kind) {
    case eventing::EventRecord::Kind::accepted:
      return "accepted";
    case eventing::EventRecord::Kind::delivered:
      return "delivered";
    case eventing::EventRecord::Kind::failed:
      return "failed";
    case eventing::EventRecord::Kind::dead_lettered:
      return "dead_lettered";
    case eventing::EventRecord::Kind::dropped:
      return "dropped";
    case eventing::EventRecord::Kind::expired:
      return "expired";
    case eventing::EventRecord::Kind::delayed:
      return "delayed";
    case eventing::EventRecord::Kind::no_match:
      break;
  }
  return "no_match";
}

std::string to_line(const eventing::EventRecord& record) {
  json::object line{{"when", to_rfc3339_nano(record.when)}, {"kind", to_string(record.kind)},
                    {"namespace", record.name_space},       {"broker", record.broker},
                    {"id", printable(record.event_id)},     {"type", printable(record.type)},
                    {"source", printable(record.source)}};
  if (!record.trigger.empty()) line["trigger"] = record.trigger;
  if (record.status != 0) line["status"] = record.status;
  if (record.attempt != 0) line["attempt"] = record.attempt;
  if (!record.trigger.empty()) line["elapsedMs"] = record.elapsed.count();
  if (!record.detail.empty()) line["detail"] = printable(record.detail, 1000);
  return json::serialize(line) + "\n";
}

awaitable<bool> broker_exists(const Doors& doors, http::Exchange& exchange, const std::string& name_space,
                              const std::string& name) {
  if (doors.objects.find({model::broker_kind().resource(), name_space, name})) co_return true;
  // A channel is a stream like a broker: "channels/NAME", whatever made it.
  if (constexpr std::string_view channels = "channels/"; name.starts_with(channels)) {
    const auto channel = name.substr(channels.size());
    if (doors.objects.find({model::in_memory_channel_kind().resource(), name_space, channel})) co_return true;
    co_await respond_error(exchange, Error(Errc::not_found, "not found"),
                           Subject::of(model::in_memory_channel_kind(), channel));
    co_return false;
  }
  if (name == "default" && is_dns_label(name_space)) {
    auto made = co_await doors.control.ensure_namespace(name_space);
    if (made) made = co_await doors.control.ensure_broker(name_space, name);
    if (made) co_return true;
    co_await respond_error(exchange, made.error());
    co_return false;
  }
  co_await respond_error(exchange, Error(Errc::not_found, "not found"), Subject::of(model::broker_kind(), name));
  co_return false;
}

}  // namespace

awaitable<void> publish_event(const Doors& doors, http::Exchange& exchange, std::string name_space, std::string name) {
  const bool there = co_await broker_exists(doors, exchange, name_space, name);
  if (!there) co_return;
  Retargeted event(exchange, fmt::format("/{}/{}", name_space, name));
  const auto ingress = doors.eventing.ingress({.kind = eventing::Sender::Kind::operating});
  co_await ingress(event);
}

awaitable<void> tail_events(const Doors& doors, http::Exchange& exchange, std::string name_space, std::string name) {
  const auto value = [&](std::string_view key) {
    return http::query_value(exchange.head().query(), key).value_or(std::string());
  };
  const bool follow = is_true(value("follow"));
  const auto count = parse_unsigned(value("tail").empty() ? (follow ? "0" : "100") : value("tail"));
  if (!count || *count > tail_max) {
    co_await respond_error(exchange, Error(Errc::invalid, fmt::format("tail must be 0..{}, not '{}'", tail_max,
                                                                      printable(value("tail")))));
    co_return;
  }
  const bool there = co_await broker_exists(doors, exchange, name_space, name);
  if (!there) co_return;
  auto started = co_await start_lines(exchange);
  if (!started) co_return;

  std::deque<std::string> waiting;
  auto body = [&](Wakeup& wakeup) -> awaitable<void> {
    TaskGroup tail(co_await asio::this_coro::executor);
    auto on_record = [&](const eventing::EventRecord& record) {
      if (waiting.size() >= records_waiting_max) waiting.pop_front();
      waiting.push_back(to_line(record));
      wakeup.notify();
      return !wakeup.ended();
    };
    tail.spawn("tail events", doors.eventing.tail(name_space, name, *count, on_record));
    std::exception_ptr error;
    try {
      // What is kept comes in the task's first turn; without `follow` that is all.
      if (!follow) co_await asio::post(use_awaitable);
      bool writable = true;
      while (writable && !wakeup.ended()) {
        if (waiting.empty()) {
          if (!follow) break;
          co_await wakeup.wait();
          continue;
        }
        std::string text;
        for (const auto& line : waiting) text += line;
        waiting.clear();
        auto written = co_await exchange.write(text);
        writable = written.has_value();
      }
      if (writable && !wakeup.ended()) co_await exchange.finish();
    } catch (...) {
      error = std::current_exception();
    }
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    co_await tail.stop();
    co_await asio::this_coro::reset_cancellation_state(asio::enable_terminal_cancellation());
    if (error) std::rethrow_exception(error);
  };
  co_await while_connected(exchange, doors.clock, std::nullopt, body);
}

}  // namespace wick::api
