// The loops beside the main one that answer requests, a thread each (--loops).
#pragma once

#include <memory>
#include <vector>

#include "wick/http/server.hpp"
#include "wick/serving/serving.hpp"

namespace wick::app {

class ProxyLoops {
 public:
  /// `first` is the main loop's server, set up but not listening yet; all accept from `listener`, so a loop that is
  /// free takes the next connection.
  ProxyLoops(std::size_t count, http::Server& first, const Fd& listener, const http::ServerLimits& limits,
             const http::TrustedProxies& trusted, serving::Serving& serving);
  ProxyLoops(const ProxyLoops&) = delete;
  ~ProxyLoops();

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
