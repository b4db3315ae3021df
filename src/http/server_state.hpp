// What the connections of one server share.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <list>
#include <string>

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

struct ServerState {
  ServerState(Executor executor, Clock& clock, ServerLimits limits, Handler handler);

  Executor executor;
  Clock& clock;
  ServerLimits limits;
  Handler handler;
  Poller& poller;
  std::list<Connection*> connections;
  std::size_t in_flight = 0;
  bool draining = false;
  DateText date;
  std::string id_prefix;
  std::uint64_t next_id = 0;
  asio::steady_timer changed;  // cancelled when a connection ended: wakes the accept loops and stop()
};

}  // namespace wick::http
