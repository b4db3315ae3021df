// Accepting, sweeping, stopping. What happens on one connection is in connection.cpp.
#include "wick/http/server.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>

#include "connection.hpp"
#include "memory_share.hpp"
#include "server_state.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/deadline.hpp"
#include "wick/os/task_group.hpp"

namespace wick::http {

namespace {

constexpr auto sweep_interval = 100ms;      // how late a limit may be noticed
constexpr auto out_of_files_pause = 100ms;  // EMFILE, ENFILE, ENOMEM: accepting goes on after this
constexpr auto memory_interval = 1s;
constexpr auto flow_interval = 10ms;  // how late leave() may notice that all flows
constexpr int accepts_a_turn = 64;
constexpr std::size_t files_kept_back = 256;  // for instances, databases and whoever needs a file next
constexpr std::string_view too_many =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 49\r\n"
    "Wick-Error: E_OVERLOADED\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
    "this address has too many connections open to us\n";

std::string address_text(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr, text, sizeof text);
    return text;
  }
  if (address.ss_family == AF_INET6) {
    const auto& six = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(&six))
      inet_ntop(AF_INET, six.s6_addr + 12, text, sizeof text);
    else
      inet_ntop(AF_INET6, &six, text, sizeof text);
    return text;
  }
  return "unix";
}

long uid_of_peer(int fd) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0) return -1;
  return static_cast<long>(credentials.uid);
}

std::size_t connections_allowed() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) < 0) return files_kept_back;
  const auto all = static_cast<std::size_t>(files.rlim_cur);
  return all > 2 * files_kept_back ? all - files_kept_back : std::max<std::size_t>(all / 2, 1);
}

bool is_loopback(std::string_view address) { return address == "::1" || address.starts_with("127."); }

}  // namespace

ServerMetrics::ServerMetrics(Metrics& metrics, std::string_view listener)
    : series_(std::make_shared<Series>(metrics, listener)) {}

ServerMetrics::ServerMetrics(const ServerMetrics& first, Executor loop_of_metrics)
    : series_(first.series_), elsewhere_(std::move(loop_of_metrics)) {}

ServerMetrics::Series::Series(Metrics& metrics, std::string_view listener)
    : metrics(metrics),
      listener(listener),
      connections(metrics.gauge("wick_http_connections", "Client connections open.", {{"listener", this->listener}})),
      accepted(metrics.counter("wick_http_connections_accepted_total", "Client connections accepted.",
                               {{"listener", this->listener}})),
      over_client_limit(metrics.counter("wick_http_connections_refused_total",
                                        "Client connections turned away or kept waiting, by reason.",
                                        {{"listener", this->listener}, {"reason", "client_limit"}})),
      out_of_files(metrics.counter("wick_http_connections_refused_total",
                                   "Client connections turned away or kept waiting, by reason.",
                                   {{"listener", this->listener}, {"reason", "out_of_files"}})),
      failed_handshakes(metrics.counter("wick_http_tls_handshakes_failed_total", "TLS handshakes that did not succeed.",
                                        {{"listener", this->listener}})) {}

void ServerMetrics::Series::refused_request(int status) {
  metrics
      .counter("wick_http_requests_refused_total", "Requests refused before any service saw them, by status.",
               {{"listener", listener}, {"code", std::to_string(status)}})
      .add();
}

std::string_view DateText::at(Clock& clock) {
  const auto now = clock.now();
  if (now < until_) return text_;
  const auto wall = clock.wall();
  const auto second = std::chrono::floor<std::chrono::seconds>(wall);
  until_ = now + (std::chrono::duration_cast<Duration>(second + 1s - wall));
  const std::time_t time = second.time_since_epoch().count();
  std::tm parts{};
  gmtime_r(&time, &parts);
  char text[40];
  static constexpr const char* days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr const char* months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                           "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  std::snprintf(text, sizeof text, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[parts.tm_wday], parts.tm_mday,
                months[parts.tm_mon], parts.tm_year + 1900, parts.tm_hour, parts.tm_min, parts.tm_sec);
  text_ = text;
  return text_;
}

ServerState::ServerState(Executor executor, Clock& clock, ServerLimits limits, Handler handler)
    : executor(executor),
      clock(clock),
      limits(limits),
      handler(std::move(handler)),
      poller(Poller::of(executor)),
      id_prefix(random_hex(4) + "-"),
      changed(executor, asio::steady_timer::time_point::max()) {
  if (this->limits.connections_max == 0) this->limits.connections_max = connections_allowed();
}

class Server::Impl {
 public:
  Impl(Executor executor, Clock& clock, ServerLimits limits, Handler handler)
      : state_(executor, clock, limits, std::move(handler)), accepting_(executor), serving_(executor) {}

  void listen(Fd listener, Listening how) {
    if (!member_) join();
    auto stream = std::make_unique<Stream>(state_.poller, std::move(listener));
    accepting_.spawn("http accept", accept_from(std::move(stream), std::move(how)));
  }

  awaitable<void> leave(std::chrono::milliseconds limit) {
    const auto end = state_.clock.now() + limit;
    co_await take_no_more(limit);
    const auto flows = [](const Connection* connection) { return connection->flows(); };
    // Seen once, it may be a short answer that promised another one before we began to leave.
    int seen = 0;
    while (state_.clock.now() < end) {
      seen = is_expecting() || !std::ranges::all_of(state_.connections, flows) ? 0 : seen + 1;
      if (seen == 2) break;
      co_await state_.clock.sleep(flow_interval);
    }
    state_.left = true;
  }

  awaitable<void> stop(std::chrono::milliseconds grace) {
    const auto end = state_.clock.now() + grace;
    if (!state_.draining) co_await take_no_more(grace);
    try {
      auto empty = all_closed();
      if (grace > 0ms) co_await with_deadline(state_.clock, end - state_.clock.now(), std::move(empty));
    } catch (const DeadlineExceeded&) {
      log::warn("connections were cut: they were not done within the grace period",
                {{"connections", state_.connections.size()}, {"grace_ms", grace.count()}});
    }
    if (member_) member_->take = nullptr;
    co_await serving_.stop();
  }

  ServerState& state() { return state_; }

 private:
  awaitable<void> take_no_more(Duration grace) {
    state_.draining = true;
    if (member_) state_.group->leave(member_);  // what was sent here before that is taken still
    accepting_.close();
    co_await accepting_.join();  // one that was about to accept has done so
    co_await let_idle_ask_again(std::min<Duration>(grace, last_request_limit));
    state_.idle_given_up = true;
    std::size_t closed = 0;
    for (auto* connection : state_.connections)
      if (connection->idle() && !connection->has_input()) {
        connection->interrupt(ESHUTDOWN);
        ++closed;
      }
    if (closed > 0) log::info("idle connections were closed", {{"connections", closed}});
  }

  awaitable<void> all_closed() {
    while (!state_.connections.empty() || is_expecting())
      co_await state_.changed.async_wait(asio::as_tuple(use_awaitable));
  }

  /// A connection that another loop has accepted is on its way here.
  bool is_expecting() const { return member_ && state_.group->open(*member_) > state_.connections.size(); }

  awaitable<void> none_idle() {
    // Over HTTP/2 requests may be under way that were sent before the client heard that it should ask no more.
    const auto may_ask = [](const Connection* connection) { return connection->idle() || connection->speaks_http2(); };
    while (is_expecting() || std::ranges::any_of(state_.connections, may_ask))
      co_await state_.changed.async_wait(asio::as_tuple(use_awaitable));
  }

  /// A connection that was kept was promised another request, which may be on its way: it is answered, and that answer
  /// says that it is the last (RFC 9112, 9.6).
  awaitable<void> let_idle_ask_again(Duration limit) {
    try {
      auto waiting = none_idle();
      if (limit > Duration(0)) co_await with_deadline(state_.clock, limit, std::move(waiting));
    } catch (const DeadlineExceeded&) {
      // They had nothing to ask.
    }
  }

  awaitable<void> accept_from(std::unique_ptr<Stream> listener, Listening how) {
    int turn = 0;
    while (true) {
      while (state_.connections.size() >= state_.limits.connections_max)
        co_await state_.changed.async_wait(asio::as_tuple(use_awaitable));
      sockaddr_storage address{};
      socklen_t size = sizeof address;
      Fd socket(accept4(listener->fd(), reinterpret_cast<sockaddr*>(&address), &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (socket) {
        accepted({std::move(socket), address, how});
        if (++turn % accepts_a_turn == 0) co_await asio::post(state_.executor, use_awaitable);
        continue;
      }
      const int error = errno;
      if (error == EAGAIN) {
        co_await listener->readable();
      } else if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) {
        if (state_.metrics) state_.metrics->out_of_files();
        log::warn("no connection can be accepted for now", {{"error", std::strerror(error)}});
        co_await state_.clock.sleep(out_of_files_pause);
      } else if (error == EBADF || error == EINVAL || error == ENOTSOCK) {
        log::error("a listener broke", {{"error", std::strerror(error)}});
        co_return;
      }  // else the connection was gone before it was accepted
    }
  }

  void join() {
    member_ = std::make_shared<ServerGroup::Member>(state_.executor);
    member_->take = [this](Accepted accepted, Counted counted) { take(std::move(accepted), std::move(counted)); };
    state_.group->join(member_);
  }

  void accepted(Accepted accepted) {
    auto member = state_.group->next(member_);
    if (member == member_) return take(std::move(accepted), Counted(state_.group, std::move(member)));
    Counted counted(state_.group, member);  // should it leave before the connection reaches it
    asio::post(member->loop, [member, accepted = std::move(accepted), counted = std::move(counted)]() mutable {
      if (member->take) member->take(std::move(accepted), std::move(counted));
    });
  }

  void take(Accepted accepted, Counted counted) {
    const auto& [socket, address, how] = accepted;
    long uid = -1;
    if (address.ss_family == AF_INET || address.ss_family == AF_INET6) {
      const int on = 1;
      setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    } else {
      uid = uid_of_peer(socket.get());
    }
    auto peer = address_text(address);
    const bool shares = uid < 0 && !is_loopback(peer) && !state_.trusted.contains(peer);
    if (shares && !counted.add_to(peer, state_.limits.connections_per_client_max)) {
      if (state_.metrics) state_.metrics->over_client_limit();
      if (!how.tls) ::send(socket.get(), too_many.data(), too_many.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      state_.changed.cancel();
      return;
    }
    serving_.spawn("http connection", serve(std::move(accepted), std::move(peer), uid, std::move(counted)));
  }

  awaitable<void> serve(Accepted accepted, std::string peer, long uid, Counted) {
    Connection connection(state_, std::move(accepted.socket), std::move(peer), uid, std::move(accepted.how));
    struct Listed {
      Listed(ServerState& state, Connection* connection)
          : state(state), place(state.connections.insert(state.connections.end(), connection)) {
        if (state.metrics) state.metrics->opened();
      }
      ~Listed() {
        state.connections.erase(place);
        if (state.metrics) state.metrics->closed();
        state.changed.cancel();
      }
      ServerState& state;
      std::list<Connection*>::iterator place;
    };
    const Listed listed(state_, &connection);
    keep_sweeping();
    co_await connection.run();
  }

  /// A server without a connection has no timer: there are as many servers as instances.
  void keep_sweeping() {
    if (std::exchange(sweeping_, true)) return;
    look_at_memory();  // before the first request after a pause
    serving_.spawn("http limits", sweep());
  }

  awaitable<void> sweep() {
    while (!state_.connections.empty()) {
      co_await state_.clock.sleep(sweep_interval);
      look_at_memory();
      const auto now = state_.clock.now();
      for (auto* connection : state_.connections) connection->check_limits(now);
    }
    sweeping_ = false;
  }

  void look_at_memory() {
    const auto now = state_.clock.now();
    if (state_.limits.memory_percent_max == 0 || now < memory_due_) return;
    memory_due_ = now + memory_interval;
    const auto percent = memory_percent();
    const bool shedding = percent && static_cast<std::size_t>(*percent) >= state_.limits.memory_percent_max;
    if (shedding != std::exchange(state_.shedding, shedding))
      log::warn(shedding ? "new requests are refused: memory is short" : "memory is enough again: requests are taken",
                {{"percent_of_limit", percent.value_or(0)}});
  }

  ServerState state_;
  bool sweeping_ = false;
  TimePoint memory_due_{};
  ServerGroup::MemberPtr member_;  // once it listens
  TaskGroup accepting_;
  TaskGroup serving_;
};

ServerLimits share_of(ServerLimits limits, std::size_t servers) {
  const auto all = limits.connections_max ? limits.connections_max : connections_allowed();
  limits.connections_max = std::max<std::size_t>(1, all / servers);
  return limits;
}

Server::Server(Executor executor, Clock& clock, ServerLimits limits, Handler handler)
    : impl_(std::make_unique<Impl>(executor, clock, limits, std::move(handler))) {}
Server::~Server() = default;
void Server::trust(TrustedProxies proxies) { impl_->state().trusted = std::move(proxies); }
void Server::count_in(Metrics& metrics, std::string_view listener) {
  impl_->state().metrics.emplace(metrics, listener);
}
void Server::stand_beside(Server& first) {
  auto& its = first.impl_->state();
  impl_->state().group = its.group;
  if (its.metrics) impl_->state().metrics.emplace(*its.metrics, its.executor);
}
void Server::listen(Fd listener, Listening how) { impl_->listen(std::move(listener), std::move(how)); }
awaitable<void> Server::leave(std::chrono::milliseconds limit) { co_await impl_->leave(limit); }
awaitable<void> Server::stop(std::chrono::milliseconds grace) { co_await impl_->stop(grace); }
std::size_t Server::connections() const { return impl_->state().connections.size(); }
std::size_t Server::in_flight() const { return impl_->state().in_flight; }

}  // namespace wick::http
