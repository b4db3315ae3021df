// What the tests of this room share: an exchange without a socket, a subscriber with behaviour, and a broker on a clock
// that stands.
#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "support/fake_clock.hpp"
#include "support/run_loop.hpp"
#include "wick/eventing/cloud_event.hpp"
#include "wick/eventing/eventing.hpp"
#include "wick/http/handler.hpp"
#include "wick/os/task_group.hpp"

namespace wick::eventing {

/// A request that is there whole, and the answer it got.
class FakeExchange final : public http::Exchange {
 public:
  explicit FakeExchange(http::Request request) : request_(std::move(request)) {}

  const http::RequestHead& head() const override { return request_.head; }
  std::string_view peer() const override { return "192.0.2.1"; }
  long peer_uid() const override { return -1; }
  std::string_view id() const override { return "test"; }
  awaitable<Result<std::size_t>> read_some(std::span<char> into) override {
    const std::size_t count = std::min(into.size(), request_.body.size() - read_);
    std::copy_n(request_.body.data() + read_, count, into.data());
    read_ += count;
    co_return count;
  }
  awaitable<Result<void>> respond(http::ResponseHead head, std::string body) override {
    answer = http::Response{std::move(head), std::move(body)};
    co_return Result<void>();
  }
  awaitable<Result<void>> start(http::ResponseHead) override {
    co_return fail(Errc::unsupported, "whole answers only");
  }
  awaitable<Result<void>> write(std::string_view) override { co_return fail(Errc::unsupported, "whole answers only"); }
  awaitable<Result<void>> finish() override { co_return fail(Errc::unsupported, "whole answers only"); }
  bool started() const override { return answer.head.status != 0; }
  awaitable<void> wait_gone() override { co_return; }

  http::Response answer{.head = {.status = 0}};

 private:
  http::Request request_;
  std::size_t read_ = 0;
};

inline http::Request event_request(std::string target, std::string id, std::string type = "t.one",
                                   std::string body = "{}") {
  return {.head = {.method = "POST",
                   .target = std::move(target),
                   .fields = {{"ce-specversion", "1.0"},
                              {"ce-id", std::move(id)},
                              {"ce-source", "/test"},
                              {"ce-type", std::move(type)},
                              {"Content-Type", "application/json"}}},
          .body = std::move(body)};
}

inline http::Response answer(int status, std::string body = {}) {
  return {.head = {.status = status}, .body = std::move(body)};
}

/// A reply in binary mode.
inline http::Response reply(std::string id, std::string type) {
  auto request = event_request("/", std::move(id), std::move(type));
  return {.head = {.status = 200, .fields = request.head.fields}, .body = request.body};
}

/// Remembers every call; answers what `behaviour` says, after `delay` on the clock.
struct FakeSubscriber {
  struct Call {
    Destination destination;
    http::Request request;
    milliseconds limit{0};
    TimePoint when{};
    std::string id() const { return std::string(request.head.fields.find("ce-id").value_or("")); }
  };

  explicit FakeSubscriber(Clock& clock) : clock(clock) {}

  Deliver deliver() {
    return [this](Destination destination, http::Request request, milliseconds limit) {
      return call(std::move(destination), std::move(request), limit);
    };
  }
  awaitable<Result<http::Response>> call(Destination destination, http::Request request, milliseconds limit) {
    calls.push_back({std::move(destination), std::move(request), limit, clock.now()});
    const Call made = calls.back();
    const InFlight counted(*this);
    if (delay > 0ms) co_await clock.sleep(delay);
    co_return behaviour(made);
  }

  std::vector<std::string> ids() const {
    std::vector<std::string> found;
    for (const Call& call : calls) found.push_back(call.id());
    return found;
  }

  struct InFlight {
    explicit InFlight(FakeSubscriber& owner) : owner(owner) { owner.most = std::max(owner.most, ++owner.in_flight); }
    ~InFlight() { --owner.in_flight; }
    FakeSubscriber& owner;
  };

  Clock& clock;
  std::vector<Call> calls;
  std::function<Result<http::Response>(const Call&)> behaviour = [](const Call&) { return answer(200); };
  milliseconds delay{0};
  int in_flight = 0;
  int most = 0;
};

/// "-" when the call has no such field.
inline std::string field(const FakeSubscriber::Call& call, std::string_view name) {
  return std::string(call.request.head.fields.find(name).value_or("-"));
}

/// A broker "default/b" in memory. `restart()` starts a new Eventing on the same log, as after kill -9 when `clean` is
/// false.
struct BrokerFixture {
  explicit BrokerFixture(Eventing::Limits given = {}) : limits(given) {
    limits.backoff_jitter = 0;
    start();
  }
  ~BrokerFixture() { run_on(loop, eventing->stop(0ms)); }

  void start() {
    eventing = std::make_unique<Eventing>(loop.get_executor(), clock, *database, metrics, subscriber.deliver(), limits);
    eventing->set_broker(broker);
  }

  void kill() {
    refuse_writes(true);
    run_on(loop, eventing->stop(0ms));
    eventing.reset();
    refuse_writes(false);
  }

  void refuse_writes(bool refuse) {
    store::Statement(database->reader(), refuse ? "PRAGMA query_only=ON" : "PRAGMA query_only=OFF").run();
  }

  http::Response send(http::Request request) {
    FakeExchange exchange(std::move(request));
    auto handler = eventing->ingress();
    auto handled = handler(exchange);
    run_on(loop, std::move(handled));
    return exchange.answer;
  }
  int accept(std::string id, std::string type = "t.one") {
    return send(event_request("/default/b", std::move(id), std::move(type))).head.status;
  }

  TriggerSpec trigger(std::string name = "t") {
    return {.name_space = "default",
            .name = std::move(name),
            .broker = "b",
            .subscriber = {.name_space = "default", .service = "s"}};
  }
  void set(TriggerSpec spec) {
    eventing->set_trigger(std::move(spec));
    clock.settle();
  }

  std::vector<EventRecord> records() {
    std::vector<EventRecord> seen;
    TaskGroup tasks(loop.get_executor());
    tasks.spawn("tail", eventing->tail("default", "b", 1000,
                                       [&](const EventRecord& record) { return seen.push_back(record), true; }));
    clock.settle();
    run_on(loop, tasks.stop());
    return seen;
  }
  long count(EventRecord::Kind kind) {
    const auto all = records();
    return std::count_if(all.begin(), all.end(), [&](const EventRecord& record) { return record.kind == kind; });
  }

  asio::io_context loop{1};
  FakeClock clock{loop};
  Metrics metrics;
  FakeSubscriber subscriber{clock};
  std::unique_ptr<store::Database> database = store::Database::open(":memory:", Eventing::migrations()).value();
  Eventing::Limits limits;
  BrokerSpec broker{.name_space = "default", .name = "b"};
  std::unique_ptr<Eventing> eventing;
};

}  // namespace wick::eventing
