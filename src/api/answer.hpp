// Answers of the API: JSON documents, Kubernetes' Status objects for errors, and streams of lines.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <boost/json/object.hpp>
#include <functional>
#include <optional>
#include <string>

#include "wick/http/handler.hpp"
#include "wick/model/resource.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/task_group.hpp"

namespace wick::api {

namespace json = boost::json;

/// Limits of what one request may bring.
inline constexpr std::size_t body_bytes_max = 3 << 20;  // Kubernetes' own

/// A flag in a query, as Go's clients and people write it.
inline bool is_true(std::string_view value) { return value == "true" || value == "1" || value == "True"; }

awaitable<void> respond_json(http::Exchange& exchange, int status, const json::value& value);

/// What a Status object is about.
struct Subject {
  std::string group;
  std::string plural;
  std::string kind;
  std::string name;
  static Subject of(const model::Kind& kind, std::string name) {
    return {std::string(kind.group), std::string(kind.plural), std::string(kind.kind), std::move(name)};
  }
};

/// Kubernetes' Status, with "wick": {slug, hint}. `reason` overrides the one that goes with the status.
json::object status_object(int status, std::string_view reason, const Error& error, const Subject& subject);
std::string_view status_reason(Errc code);
awaitable<void> respond_error(http::Exchange& exchange, const Error& error, const Subject& subject = {});
/// For the cases that are HTTP's own: 404 of a path, 405, 415.
awaitable<void> respond_failure(http::Exchange& exchange, int status, std::string reason, std::string message,
                                std::string hint = {});

/// Wakes a streaming answer: news, the client hung up, the time is up.
class Wakeup {
 public:
  explicit Wakeup(Executor executor) : timer_(executor, asio::steady_timer::time_point::max()) {}
  void notify() {
    pending_ = true;
    timer_.cancel();
  }
  void end() {
    ended_ = true;
    timer_.cancel();
  }
  bool ended() const { return ended_; }
  /// Returns at once when something came since the last wait.
  awaitable<void> wait();

 private:
  asio::steady_timer timer_;
  bool pending_ = false;
  bool ended_ = false;
};

/// Runs `body` with a Wakeup that ends when the client hangs up or `limit` passes; what watches for that ends with it,
/// and so do the tasks that `beside` starts.
awaitable<void> while_connected(http::Exchange& exchange, Clock& clock, std::optional<Duration> limit,
                                std::function<awaitable<void>(Wakeup&)> body,
                                std::function<void(TaskGroup&, Wakeup&)> beside = {});

/// Begins a stream of JSON lines.
awaitable<Result<void>> start_lines(http::Exchange& exchange);

}  // namespace wick::api
