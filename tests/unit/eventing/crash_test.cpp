// kill -9 of a broker at random moments: every event it answered 202 for reaches the subscriber afterwards, and the
// file is sound. WICK_CRASH_CYCLES says how often (300 in the long suite). The control: a broker that answers before it
// writes is found out. That synchronous=OFF loses events no kill can show (the kernel still has them): power_cut_test.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <random>
#include <set>

#include <cstdlib>

#include "event_fixture.hpp"
#include "hasty_database.hpp"
#include "wick/os/files.hpp"

using namespace wick;
using namespace wick::eventing;

namespace {

int cycles() {
  const char* given = std::getenv("WICK_CRASH_CYCLES");
  return given ? std::atoi(given) : std::getenv("WICK_LONG_TESTS") ? 300 : 25;
}
enum class Acknowledges { after_commit, before_commit };
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

[[noreturn]] void run_until_killed(const std::string& path, int first, int pipe, Acknowledges when) {
  asio::io_context loop(1);
  SteadyClock clock;
  Metrics metrics;
  auto database = store::Database::open(path, Eventing::migrations());
  if (!database) ::_exit(2);
  auto deliver = [&](Destination, http::Request request, milliseconds) { return misbehave(clock, std::move(request)); };
  HastyDatabase hasty(loop.get_executor(), **database);
  store::Database& used = when == Acknowledges::before_commit ? static_cast<store::Database&>(hasty) : **database;
  Eventing eventing(loop.get_executor(), clock, used, metrics, deliver, {});
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

std::string integrity_of(const std::string& path) {
  auto database = store::Database::open(path, Eventing::migrations()).value();
  store::Statement check(database->reader(), "PRAGMA integrity_check");
  return check.step() ? check.text(0) : "no answer";
}

/// Runs a broker until a random moment; what it acknowledged.
std::set<int> acknowledged_before_kill(const std::string& path, int first, Acknowledges when, unsigned delay_us) {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const pid_t child = ::fork();
  if (child == 0) run_until_killed(path, first, ends[1], when);
  ::close(ends[1]);
  std::set<int> acknowledged;
  int number = 0;
  REQUIRE(::read(ends[0], &number, sizeof number) == sizeof number);
  acknowledged.insert(number);
  ::usleep(delay_us);
  ::kill(child, SIGKILL);
  while (::read(ends[0], &number, sizeof number) == sizeof number) acknowledged.insert(number);
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  REQUIRE(WIFSIGNALED(status));
  return acknowledged;
}

}  // namespace

TEST_CASE("an acknowledged event is delivered after kill -9 of the broker") {
  TemporaryFolder folder = TemporaryFolder::make("/tmp").value();
  const std::string path = folder.path() / "events.db";
  std::minstd_rand random(std::random_device{}());
  std::size_t total = 0;
  for (int cycle = 0; cycle < cycles(); ++cycle) {
    const auto acknowledged = acknowledged_before_kill(path, (cycle % 2000 + 1) * 1'000'000, Acknowledges::after_commit,
                                                       static_cast<unsigned>(random() % 80'000));
    const std::set<int> got = delivered_after(path, acknowledged);
    REQUIRE(std::includes(got.begin(), got.end(), acknowledged.begin(), acknowledged.end()));
    if (cycle % 10 == 0) REQUIRE(integrity_of(path) == "ok");
    total += acknowledged.size();
  }
  WARN(cycles() << " kills, " << total << " acknowledged events, all delivered");
}

TEST_CASE("control: the kills find an acknowledgement before the commit") {
  TemporaryFolder folder = TemporaryFolder::make("/tmp").value();
  std::minstd_rand random(std::random_device{}());
  bool lost = false;
  for (int cycle = 0; cycle < 20 && !lost; ++cycle) {
    const std::string path = folder.path() / ("events-" + std::to_string(cycle) + ".db");
    const auto acknowledged = acknowledged_before_kill(path, 1'000'000, Acknowledges::before_commit,
                                                       static_cast<unsigned>(random() % 20'000));
    auto database = store::Database::open(path, Eventing::migrations()).value();
    store::Statement count(database->reader(), "SELECT count(*) FROM event");
    count.step();
    lost = static_cast<std::size_t>(count.integer(0)) < acknowledged.size();
  }
  CHECK(lost);
}
