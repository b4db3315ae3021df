// A pool over a fake launcher on a fake clock, and requests as tasks.
#pragma once

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <memory>
#include <optional>
#include <vector>

#include "support/fake_clock.hpp"
#include "support/fake_launcher.hpp"
#include "support/run_loop.hpp"
#include "wick/base/log.hpp"
#include "wick/serving/revision_pool.hpp"

namespace wick::serving {

/// Goes to zero 6 to 8 s after the last request once the proxy has been in the path for the grace of 30 s.
inline RevisionSpec quick() {
  RevisionSpec spec;
  spec.scaling.stable_window = 6s;
  return spec;
}

struct PoolFixture {
  explicit PoolFixture(RevisionSpec spec = {}, PoolOptions options = {}) {
    log::set_level(log::Level::error);
    spec.key = {"default", "hello-00001"};
    spec.service = "hello";
    pool = std::make_unique<RevisionPool>(loop.get_executor(), clock, launcher, metrics, std::move(spec), options,
                                          [this] { ++changes; });
  }
  ~PoolFixture() {
    ending = true;  // leases that are granted from here on are given back at once
    for (auto& request : requests) request->lease.reset();
    tasks.close();
    run(tasks.join());
    run(pool->drain());
  }

  /// A request that has asked for a lease and keeps it until finish().
  struct Request {
    std::optional<Error> error;
    Lease lease;
    bool done = false;
    asio::cancellation_signal cancel;
    bool waiting() const { return !done; }
  };

  Request& request(Duration limit = 300s) {
    requests.push_back(std::make_unique<Request>());
    auto& mine = *requests.back();
    auto asked = ask(mine, clock.now() + limit);
    asio::co_spawn(loop, std::move(asked), asio::bind_cancellation_slot(mine.cancel.slot(), [](std::exception_ptr) {}));
    clock.settle();
    return mine;
  }
  void finish(Request& request) {
    request.lease.reset();
    clock.settle();
  }
  /// A request that is answered at once when it has an instance.
  void request_and_finish() { finish(request()); }

  template <class T>
  T run(awaitable<T> task) {
    std::exception_ptr error;
    bool done = false;
    if constexpr (std::is_void_v<T>) {
      asio::co_spawn(loop, std::move(task), [&](std::exception_ptr e) { error = e, done = true; });
      for (int i = 0; i < 1000 && !done; ++i) clock.advance(100ms);
      REQUIRE(done);
      if (error) std::rethrow_exception(error);
    } else {
      std::optional<T> value;
      asio::co_spawn(loop, std::move(task),
                     [&](std::exception_ptr e, T v) { error = e, done = true, value.emplace(std::move(v)); });
      for (int i = 0; i < 1000 && !done; ++i) clock.advance(100ms);
      REQUIRE(done);
      if (error) std::rethrow_exception(error);
      return std::move(*value);
    }
  }

  RevisionView view() const { return pool->view(); }
  int in_flight() const {
    int sum = 0;
    for (const auto& instance : view().instances) sum += instance.in_flight;
    return sum;
  }

  asio::io_context loop{1};
  FakeClock clock{loop};
  FakeLauncher launcher{loop.get_executor(), clock};
  Metrics metrics;
  std::unique_ptr<RevisionPool> pool;
  std::vector<std::unique_ptr<Request>> requests;
  int changes = 0;
  bool ending = false;
  TaskGroup tasks{loop.get_executor()};

 private:
  awaitable<void> ask(Request& mine, TimePoint deadline) {
    auto lease = co_await pool->acquire(clock.now(), deadline);
    mine.done = true;
    if (lease && !ending) {
      mine.lease = std::move(*lease);
    } else if (!lease) {
      mine.error = lease.error();
    }
  }
};

}  // namespace wick::serving
