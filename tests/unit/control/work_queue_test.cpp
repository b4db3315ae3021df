#include "control/work_queue.hpp"

#include <catch2/catch.hpp>

#include "support/fake_clock.hpp"
#include "support/run_loop.hpp"

using namespace wick;
using namespace wick::control;

namespace {

const store::ObjectKey hello{"services", "default", "hello"};
const store::ObjectKey other{"services", "default", "other"};

struct QueueFixture {
  asio::io_context loop{1};
  FakeClock clock{loop};
  std::vector<std::string> runs;
  int failures = 0;  // the next so many runs fail
  Duration takes{0};
  int at_once = 0;
  int at_once_max = 0;
  WorkQueue queue{loop.get_executor(), clock, {.first = 100ms, .max = 1000ms}, [this](store::ObjectKey key) {
                    return reconcile(std::move(key));
                  }};

  ~QueueFixture() { run_on(loop, queue.stop()); }

  awaitable<Result<void>> reconcile(store::ObjectKey key) {
    runs.push_back(key.name);
    at_once_max = std::max(at_once_max, ++at_once);
    if (takes > Duration(0)) co_await clock.sleep(takes);
    --at_once;
    if (failures > 0) {
      --failures;
      co_return fail(Errc::unavailable, "not now");
    }
    co_return Result<void>();
  }
};

}  // namespace

TEST_CASE("a key runs once at a time, and once more when it was touched meanwhile") {
  QueueFixture f;
  f.takes = 1s;
  f.queue.enqueue(hello);
  f.clock.settle();
  f.queue.enqueue(hello);
  f.queue.enqueue(hello);
  f.queue.enqueue(other);
  f.clock.settle();
  CHECK(f.runs == std::vector<std::string>{"hello", "other"});
  f.clock.advance(1s);
  CHECK(f.runs == std::vector<std::string>{"hello", "other", "hello"});
  f.clock.advance(1s);
  CHECK(f.queue.idle());
  CHECK(f.at_once_max == 2);
}

TEST_CASE("a failed key comes back with doubled delays up to the limit, and starts over after a success") {
  QueueFixture f;
  f.failures = 6;
  f.queue.enqueue(hello);
  f.clock.settle();
  std::vector<int> delays;
  for (std::size_t seen = 1; !f.queue.idle() && delays.size() < 10;) {
    int waited = 0;
    while (f.runs.size() == seen) {
      f.clock.advance(50ms);
      waited += 50;
    }
    seen = f.runs.size();
    delays.push_back(waited);
  }
  CHECK(delays == std::vector<int>{100, 200, 400, 800, 1000, 1000});
}

TEST_CASE("a touch ends the wait for a retry") {
  QueueFixture f;
  f.failures = 1;
  f.queue.enqueue(hello);
  f.clock.settle();
  f.queue.enqueue(hello);
  f.clock.settle();
  CHECK(f.runs.size() == 2);
  CHECK(f.queue.idle());
  f.clock.advance(1s);
  CHECK(f.runs.size() == 2);
}
