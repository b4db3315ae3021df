// The loops beside the main one that answer requests, a thread each (--loops).
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "wick/http/server.hpp"
#include "wick/os/clock.hpp"

namespace wick::app {

class ProxyLoops {
 public:
  struct Door {
    Fd listener;
    http::Listening how;
  };
  /// What answers requests on one of the loops.
  using MakeHandler = std::function<http::Handler(Executor loop, Clock& clock)>;

  /// `first` is the main loop's server, set up but not listening yet; all accept from all `doors`, so a loop that is
  /// free takes the next connection.
  ProxyLoops(std::size_t count, http::Server& first, const std::vector<Door>& doors, const http::ServerLimits& limits,
             const http::TrustedProxies& trusted, const MakeHandler& handler_on);
  ProxyLoops(const ProxyLoops&) = delete;
  ~ProxyLoops();

  /// As Server::leave, all at once.
  awaitable<void> leave(std::chrono::milliseconds limit);
  /// As Server::stop, all at once.
  awaitable<void> stop(std::chrono::milliseconds grace);
  /// Ends the threads: after Serving::stop(), which needs them. What lives on the loops may be destroyed then, and must
  /// be before this is.
  void end();

 private:
  struct Loop;
  std::vector<std::unique_ptr<Loop>> loops_;
};

}  // namespace wick::app
