// Connections that many ask for at the same moment, made together. Whoever comes first has one made at once, alone;
// those who come meanwhile share the next crossing to the runner. Measured with 256 clients that begin at once, until
// all were answered: 62 to 70 ms with a crossing each, 48 to 53 so.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/os/fd.hpp"
#include "wick/os/loop.hpp"

namespace wick::container {

/// One thread. Must outlive every connect() in progress.
class SharedConnecting {
 public:
  /// Makes 1 to `count` connections to a port, `count` being at most connect_count_max.
  using Make = std::function<awaitable<Result<std::vector<Fd>>>(std::uint16_t port, std::size_t count)>;

  SharedConnecting(Executor executor, Make make) : executor_(std::move(executor)), make_(std::move(make)) {}

  /// A connection of the caller's own, begun after the call. Errors: those of `make`, for all who shared it.
  awaitable<Result<Fd>> connect(std::uint16_t port);

 private:
  struct Waiter {
    explicit Waiter(const Executor& executor) : told(executor, asio::steady_timer::time_point::max()) {}
    asio::steady_timer told;  // cancelled when one of these is there
    std::optional<Result<Fd>> answer;
    bool leads = false;   // makes the next ones
    bool shares = false;  // in those being made
  };
  using Line = std::list<Waiter*>;  // in the order they came; the first leads
  class Place;

  static void share_out(Line& line, Result<std::vector<Fd>> made);

  Executor executor_;
  Make make_;
  std::map<std::uint16_t, Line> lines_;  // by port
};

}  // namespace wick::container
