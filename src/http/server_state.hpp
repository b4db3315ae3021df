// What the connections of one server share.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <list>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "poller.hpp"
#include "wick/http/server.hpp"
#include "wick/os/clock.hpp"

namespace wick::http {

class Connection;

/// "Mon, 23 Nov 2026 08:10:32 GMT", made anew at most once a second (RFC 9110 5.6.7).
class DateText {
 public:
  std::string_view at(Clock& clock);

 private:
  std::string text_;
  TimePoint until_ = TimePoint::min();
};

/// Series of one listener; fixed but for the codes of refusals, which are the few of the head parser.
struct ServerMetrics {
  ServerMetrics(Metrics& metrics, std::string_view listener);
  void refused_request(int status);

  Metrics& metrics;
  std::string listener;
  Gauge& connections;
  Counter& accepted;
  Counter& over_client_limit;
  Counter& out_of_files;
};

/// A connection counted against its client's share until destroyed.
class ClientShare {
 public:
  ClientShare() = default;
  ClientShare(std::unordered_map<std::string, std::size_t>& counts, std::string client)
      : counts_(&counts), client_(std::move(client)) {
    ++counts[client_];
  }
  ClientShare(ClientShare&& other) noexcept
      : counts_(std::exchange(other.counts_, nullptr)), client_(std::move(other.client_)) {}
  ClientShare& operator=(ClientShare&&) = delete;
  ~ClientShare() {
    if (!counts_) return;
    const auto found = counts_->find(client_);
    if (--found->second == 0) counts_->erase(found);
  }

 private:
  std::unordered_map<std::string, std::size_t>* counts_ = nullptr;
  std::string client_;
};

struct ServerState {
  ServerState(Executor executor, Clock& clock, ServerLimits limits, Handler handler);

  Executor executor;
  Clock& clock;
  ServerLimits limits;
  Handler handler;
  TrustedProxies trusted;
  std::optional<ServerMetrics> metrics;
  Poller& poller;
  std::list<Connection*> connections;
  std::unordered_map<std::string, std::size_t> per_client;  // only clients that are counted
  std::size_t in_flight = 0;
  bool draining = false;
  bool shedding = false;  // memory is short: new requests get 503
  DateText date;
  std::string id_prefix;
  std::uint64_t next_id = 0;
  asio::steady_timer changed;  // cancelled when a connection ended: wakes the accept loops and stop()
};

}  // namespace wick::http
