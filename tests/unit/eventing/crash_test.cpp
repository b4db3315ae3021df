// kill -9 of a broker at random moments: every event it answered 202 for reaches the subscriber afterwards.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <random>
#include <set>

#include "event_fixture.hpp"
#include "wick/os/files.hpp"

using namespace wick;
using namespace wick::eventing;

namespace {

constexpr int cycles = 25;
constexpr int publishers = 8;

const BrokerSpec broker{.name_space = "default", .name = "b", .delivery = {.retry = 100'000, .backoff_delay = 1ms}};
const TriggerSpec trigger{
    .name_space = "default", .name = "t", .broker = "b", .subscriber = {.url = "http://subscriber"}};

/// Sends events for ever; tells each acknowledged number to the pipe.
awaitable<void> publish(Eventing& eventing, int first, int pipe) {
  auto handler = eventing.ingress();
  for (int number = first;; number += publishers) {
    FakeExchange exchange(event_request("/default/b", std::to_string(number)));
    co_await handler(exchange);
    if (exchange.answer.head.status != 202 || ::write(pipe, &number, sizeof number) != sizeof number) ::_exit(3);
  }
}

/// Even numbers never get an answer, odd ones a failure: cursors, rows and positions under way are all there when the
/// kill comes.
awaitable<Result<http::Response>> misbehave(Clock& clock, http::Request request) {
  const std::string id(request.head.fields.find("ce-id").value_or("0"));
  if (id.back() % 2 == 0) co_await clock.sleep(1h);
  co_return answer(500);
}

[[noreturn]] void run_until_killed(const std::string& path, int first, int pipe) {
  asio::io_context loop(1);
  SteadyClock clock;
  Metrics metrics;
  auto database = store::Database::open(path, Eventing::migrations());
  if (!database) ::_exit(2);
  auto deliver = [&](Destination, http::Request request, milliseconds) { return misbehave(clock, std::move(request)); };
  Eventing eventing(loop.get_executor(), clock, **database, metrics, deliver, {});
  eventing.set_broker(broker);
  eventing.set_trigger(trigger);
  TaskGroup tasks(loop.get_executor());
  for (int i = 0; i < publishers; ++i) tasks.spawn("publisher", publish(eventing, first + i, pipe));
  loop.run();
  ::_exit(4);
}

awaitable<void> wait_for_delivery(Clock& clock, Eventing& eventing, const std::set<int>& wanted,
                                  const std::set<int>& got) {
  const TimePoint end = clock.now() + 60s;
  while (!std::includes(got.begin(), got.end(), wanted.begin(), wanted.end()) && clock.now() < end)
    co_await clock.sleep(5ms);
  co_await eventing.stop();
}

awaitable<Result<http::Response>> take(std::set<int>& got, http::Request request) {
  got.insert(std::stoi(std::string(request.head.fields.find("ce-id").value_or("0"))));
  co_return answer(200);
}

/// What a broker on the same file delivers until everything wanted was there.
std::set<int> delivered_after(const std::string& path, const std::set<int>& wanted) {
  asio::io_context loop(1);
  SteadyClock clock;
  Metrics metrics;
  std::set<int> got;
  auto database = store::Database::open(path, Eventing::migrations()).value();
  auto deliver = [&](Destination, http::Request request, milliseconds) { return take(got, std::move(request)); };
  Eventing eventing(loop.get_executor(), clock, *database, metrics, deliver, {});
  eventing.set_broker(broker);
  eventing.set_trigger(trigger);
  run_on(loop, wait_for_delivery(clock, eventing, wanted, got));
  return got;
}

}  // namespace

TEST_CASE("an acknowledged event is delivered after kill -9 of the broker") {
  TemporaryFolder folder = TemporaryFolder::make("/tmp").value();
  const std::string path = folder.path() / "events.db";
  std::minstd_rand random(std::random_device{}());
  std::size_t total = 0;
  for (int cycle = 0; cycle < cycles; ++cycle) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const pid_t child = ::fork();
    if (child == 0) run_until_killed(path, (cycle + 1) * 1'000'000, ends[1]);
    ::close(ends[1]);
    std::set<int> acknowledged;
    int number = 0;
    REQUIRE(::read(ends[0], &number, sizeof number) == sizeof number);
    acknowledged.insert(number);
    ::usleep(random() % 80'000);
    ::kill(child, SIGKILL);
    while (::read(ends[0], &number, sizeof number) == sizeof number) acknowledged.insert(number);
    ::close(ends[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    REQUIRE(WIFSIGNALED(status));
    const std::set<int> got = delivered_after(path, acknowledged);
    REQUIRE(std::includes(got.begin(), got.end(), acknowledged.begin(), acknowledged.end()));
    total += acknowledged.size();
  }
  WARN(cycles << " kills, " << total << " acknowledged events, all delivered");
}
