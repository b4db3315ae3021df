#include "app/proxy_loops.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <thread>

#include "wick/base/log.hpp"
#include "wick/os/other_loop.hpp"
#include "wick/os/task_group.hpp"

namespace wick::app {

struct ProxyLoops::Loop {
  Loop(const MakeHandler& handler_on, const http::ServerLimits& limits)
      : server(context.get_executor(), clock, limits, handler_on(context.get_executor(), clock)) {}
  ~Loop() { end(); }
  void end() {
    work.reset();
    context.stop();
    if (thread.joinable()) thread.join();
  }
  void run() {
    thread = std::thread([this] {
      // What a handler throws ends its connection; nothing else throws here.
      context.run();
    });
  }

  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work = asio::make_work_guard(context);
  SteadyClock clock;
  http::Server server;
  std::thread thread;
};

ProxyLoops::ProxyLoops(std::size_t count, http::Server& first, const std::vector<Door>& doors,
                       const http::ServerLimits& limits, const http::TrustedProxies& trusted,
                       const MakeHandler& handler_on) {
  for (std::size_t i = 0; i < count; ++i) {
    std::vector<Door> own;
    for (const auto& door : doors)
      if (auto listener = door.listener.duplicate()) own.push_back({std::move(listener), door.how});
    if (own.size() < doors.size()) {
      log::warn("fewer loops than asked for: no more files can be opened", {{"loops", 1 + i}});
      return;
    }
    auto& loop = *loops_.emplace_back(std::make_unique<Loop>(handler_on, limits));
    loop.server.trust(trusted);
    loop.server.stand_beside(first);
    for (auto& door : own) loop.server.listen(std::move(door.listener), std::move(door.how));
    loop.run();
  }
}

ProxyLoops::~ProxyLoops() = default;

void ProxyLoops::end() {
  for (const auto& loop : loops_) loop->end();
}

awaitable<void> ProxyLoops::leave(std::chrono::milliseconds limit) {
  TaskGroup leaving(co_await asio::this_coro::executor);
  for (const auto& loop : loops_) {
    auto job = [server = &loop->server, limit] { return server->leave(limit); };
    leaving.spawn("leave proxy loop", do_on_loop(loop->context.get_executor(), std::move(job)));
  }
  co_await leaving.join();
}

awaitable<void> ProxyLoops::stop(std::chrono::milliseconds grace) {
  TaskGroup stopping(co_await asio::this_coro::executor);
  for (const auto& loop : loops_) {
    auto job = [server = &loop->server, grace] { return server->stop(grace); };
    stopping.spawn("stop proxy loop", do_on_loop(loop->context.get_executor(), std::move(job)));
  }
  co_await stopping.join();
}

}  // namespace wick::app
