// What the connections of one server share.
#pragma once

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "poller.hpp"
#include "server_group.hpp"
#include "wick/http/server.hpp"
#include "wick/os/clock.hpp"

namespace wick::http {

/// While the server drains, for who was promised another answer and has not asked yet.
inline constexpr auto last_request_limit = std::chrono::milliseconds(200);

class Connection;

/// "Mon, 23 Nov 2026 08:10:32 GMT", made anew at most once a second (RFC 9110 5.6.7).
class DateText {
 public:
  std::string_view at(Clock& clock);

 private:
  std::string text_;
  TimePoint until_ = TimePoint::min();
};

/// Series of one listener; fixed but for the codes of refusals, which are the few of the head parser. Metrics belong to
/// one loop: what another one counts is sent there.
class ServerMetrics {
 public:
  ServerMetrics(Metrics& metrics, std::string_view listener);
  /// As `first`, from another loop.
  ServerMetrics(const ServerMetrics& first, Executor loop_of_metrics);

  void opened() {
    tell([](Series& series) { series.accepted.add(), series.connections.add(1); });
  }
  void closed() {
    tell([](Series& series) { series.connections.add(-1); });
  }
  void over_client_limit() {
    tell([](Series& series) { series.accepted.add(), series.over_client_limit.add(); });
  }
  void out_of_files() {
    tell([](Series& series) { series.out_of_files.add(); });
  }
  void failed_handshake() {
    tell([](Series& series) { series.failed_handshakes.add(); });
  }
  void refused_request(int status) {
    tell([status](Series& series) { series.refused_request(status); });
  }

 private:
  struct Series {
    Series(Metrics& metrics, std::string_view listener);
    void refused_request(int status);
    Metrics& metrics;
    std::string listener;
    Gauge& connections;
    Counter& accepted;
    Counter& over_client_limit;
    Counter& out_of_files;
    Counter& failed_handshakes;
  };
  template <class Count>
  void tell(Count count) {
    if (!elsewhere_) return count(*series_);
    asio::post(*elsewhere_, [series = series_, count] { count(*series); });
  }

  std::shared_ptr<Series> series_;
  std::optional<Executor> elsewhere_;
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
  std::shared_ptr<ServerGroup> group = std::make_shared<ServerGroup>();
  std::size_t in_flight = 0;
  bool draining = false;
  bool idle_given_up = false;  // while draining: who is idle now is closed
  bool left = false;           // nothing of a new request may reach the handler
  bool shedding = false;       // memory is short: new requests get 503
  DateText date;
  std::string id_prefix;
  std::uint64_t next_id = 0;
  asio::steady_timer changed;  // cancelled when a connection ended: wakes the accept loops and stop()
};

}  // namespace wick::http
