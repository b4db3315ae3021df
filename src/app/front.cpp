#include "app/front.hpp"

#include <fmt/format.h>
#include <sys/resource.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <cerrno>
#include <cstring>
#include <exception>
#include <utility>

#include "app/front_parts.hpp"
#include "wick/base/log.hpp"
#include "wick/build/git_look.hpp"
#include "wick/os/systemd.hpp"
#include "wick/os/together.hpp"

namespace wick::app {

namespace {

constexpr milliseconds branch_look_limit{60'000};       // a server that names its refs slower is asked again later
constexpr auto drain_limit = std::chrono::seconds(75);  // trust-and-ux.md 10.5: requests in flight get so long to end
// One that takes over waits so long for answers to begin. Who takes longer goes on beside it, as what flows does.
constexpr auto settle_limit = std::chrono::seconds(2);
constexpr auto watchers_limit = std::chrono::milliseconds(500);  // who watches the API asks the next one again
constexpr auto look_again = std::chrono::milliseconds(50);       // while something is waited for that tells nobody
constexpr auto count_again = std::chrono::milliseconds(250);     // how late others know what is in flight here

}  // namespace

/// After a rotation (wick secret rotate-key): once this is done the older keys are of no use.
awaitable<void> Front::seal_secrets_anew() {
  if (!vault_) co_return;
  auto count = co_await objects_->reseal();
  if (!count) {
    log::error("Secrets not sealed with the newest key", {{"error", count.error().what()}});
    co_return;
  }
  secret_key_ = vault_->fingerprint();
  if (vault_->keys() > 1)
    log::info("every Secret is sealed with the newest key",
              {{"anew", *count}, {"next", "wick secret rotate-key --drop-old"}});
}

awaitable<Result<void>> Front::start() {
  auto serve_runner_replies = [](Front* front) -> awaitable<void> {
    co_await front->runner_->run();
    front->runner_lost_ = true;
    front->signals_.cancel();
  };
  tasks_.spawn("runner", serve_runner_replies(this));
  eventing_->on_broken_disk([this] {
    disk_broken_ = true;
    signals_.cancel();
  });
  co_await seal_secrets_anew();
  auto started = co_await control_->start();
  if (!started) co_return fail(std::move(started.error()).within("start"));
  tasks_.spawn("certificates", https_->keep_fresh());
  tasks_.spawn("image collector", images_->collector().run());
  // From here on the stored state is in force: listeners may open.
  if (auto counted = read_drain_files(drain_folder()); !counted.empty()) {
    for (const auto& [id, count] : counted) serving_->count_elsewhere(id, count);
    tasks_.spawn("requests of earlier processes", follow_earlier(std::move(counted)));
  }
  auto api = api::make_api(api_doors());
  if (!api) co_return fail(std::move(api.error()).within("control.db"));
  auto webhooks = api::make_webhooks(api_doors());
  if (!webhooks) co_return fail(std::move(webhooks.error()).within("control.db"));
  webhooks_ = std::move(*webhooks);
  followed_ = std::make_unique<api::FollowedBranches>(api_doors(), [this](build::GitSource source) {
    return build::look_at_branch(clock_, std::move(source), folders_.work, branch_look_limit);
  });
  tasks_.spawn("followed branches", followed_->run());
  api_server_ = std::make_unique<http::Server>(executor_, clock_, http::ServerLimits{},
                                               api::answering_webhooks(webhooks_, std::move(*api)));
  const auto limits = http::share_of(config_.limits, loops());
  edge_server_ = std::make_unique<http::Server>(executor_, clock_, limits, before_services(serving_->handler()));
  co_await listen_inside(std::exchange(adopted_, {}));
  edge_server_->trust(config_.trusted_proxies);
  edge_server_->count_in(metrics_, "edge");
  events_server_ = std::make_unique<http::Server>(executor_, clock_, http::ServerLimits{}, eventing_->ingress());
  std::vector<ProxyLoops::Door> doors;
  doors.push_back({.listener = std::move(sockets_.http), .how = {}});
  if (sockets_.https) doors.push_back({.listener = std::move(sockets_.https), .how = https_->edge()});
  for (auto& door : doors) door.how.proxy_header = config_.proxy_header;
  for (auto& more : sockets_.more) {
    auto how = more.https ? https_->edge() : http::Listening{};
    how.proxy_header = more.proxy_header;
    log::info("also listening", {{"listen", http::bound_address(more.fd)},
                                 {"https", more.https ? "yes" : "no"},
                                 {"proxyProtocol", more.proxy_header ? "yes" : "no"}});
    doors.push_back({.listener = std::move(more.fd), .how = std::move(how)});
  }
  proxy_loops_ = std::make_unique<ProxyLoops>(
      loops() - 1, *edge_server_, doors, limits, config_.trusted_proxies,
      [this](Executor loop, Clock& clock) { return before_services(serving_->handler_on(loop, clock)); });
  for (auto& door : doors) edge_server_->listen(std::move(door.listener), door.how);
  events_server_->listen(std::move(sockets_.events));
  api_server_->listen(std::move(sockets_.api));
  if (sockets_.api_tcp) api_server_->listen(std::move(sockets_.api_tcp), https_->api());
  if (acme_) tasks_.spawn("acme", acme_->issuer().run());
  log::info("serving", {{"listen", listen_address_},
                        {"httpsListen", https_address_},
                        {"events", events_address_},
                        {"api", config_.api_socket().string()},
                        {"apiListen", api_address_}});
  reports_.ready();
  if (const auto limit = watchdog_limit()) tasks_.spawn("watchdog", stroke_watchdog(*limit / 2));
  co_return Result<void>{};
}

/// From this loop, as it is this loop that must not stand still.
awaitable<void> Front::stroke_watchdog(std::chrono::microseconds pause) {
  while (true) {
    reports_.alive();
    co_await clock_.sleep(pause);
  }
}

awaitable<Result<void>> Front::wait_for_end() {
  if (reports_.guarded()) signals_.add(SIGUSR2);
  try {
    const int signal = co_await signals_.async_wait(use_awaitable);
    // By SIGUSR2 the guard asks for an upgrade.
    hands_over_ = reports_.guarded() && (signal == SIGUSR2 || (signal == SIGTERM && config_.on_stop == OnStop::keep));
    log::info("stopping", {{"signal", signal == SIGINT ? "SIGINT" : signal == SIGTERM ? "SIGTERM" : "SIGUSR2"}});
  } catch (const boost::system::system_error&) {
    if (runner_lost_)
      co_return fail(Errc::unavailable, "the runner is gone",
                     "look at the lines above; instances go on, and the next start adopts them");
    if (disk_broken_)
      co_return fail(Errc::io, "the event log takes no more writes",
                     "check the disk; what was acknowledged is there at the next start");
    throw;
  }
  co_return Result<void>{};
}

/// All loops at once: the limit is that of the whole.
awaitable<void> Front::stop_edge(milliseconds grace) {
  auto main = keep_value(edge_server_->stop(grace), false);
  auto others = keep_value(proxy_loops_->stop(grace), false);
  co_await run_together(std::move(main), std::move(others));
}

awaitable<void> Front::stop() {
  stopping_ = true;
  reports_.stopping();
  const bool handed_over = hands_over_ && co_await hand_over();
  if (handed_over)
    co_await linger();
  else
    co_await drain();
  co_await serving_->stop(ends_instances());
  if (proxy_loops_) proxy_loops_->end();
  co_await launcher_->stop();
  co_await gateway_->stop();
  runner_->close();
  co_await tasks_.stop();
  if (acme_) co_await acme_->challenges().stop();
}

/// New work first, then what carries work, then what work stands on.
awaitable<void> Front::drain() {
  if (events_server_) co_await events_server_->stop(drain_limit);
  if (edge_server_) co_await stop_edge(drain_limit);
  co_await eventing_->stop();
  if (api_server_) co_await api_server_->stop(std::chrono::seconds(2));
  co_await control_->stop();
}

awaitable<void> Front::count_events(const http::Handler& take, http::Exchange& exchange) {
  struct InFlight {
    explicit InFlight(int& count) : count(++count) {}
    InFlight(const InFlight&) = delete;
    ~InFlight() { --count; }
    int& count;
  };
  const InFlight in_flight(events_in_flight_);
  co_await take(exchange);
}

// ---- from one front to the next

/// What is in flight at an adopted instance with a front before this one counts until it is over.
awaitable<void> Front::follow_earlier(RequestCounts counted) {
  while (!counted.empty()) {
    co_await clock_.sleep(count_again);
    auto now = read_drain_files(drain_folder());
    for (const auto& [id, count] : counted)
      if (!now.contains(id)) serving_->count_elsewhere(id, 0);
    for (const auto& [id, count] : now) serving_->count_elsewhere(id, count);
    counted = std::move(now);
  }
}

/// Everything is given up but connections in which something flows. False where requests are in the way of that.
awaitable<bool> Front::hand_over() {
  TaskGroup leaving(executor_);
  leaving.spawn("edge leaves", edge_server_->leave(settle_limit));
  leaving.spawn("proxy loops leave", proxy_loops_->leave(settle_limit));
  leaving.spawn("gateway leaves", gateway_->leave(settle_limit));
  leaving.spawn("events stop", events_server_->stop(drain_limit));
  leaving.spawn("api stops", api_server_->stop(watchers_limit));
  co_await leaving.join();
  const auto until = clock_.now() + drain_limit;
  while (serving_->queued() > 0 && clock_.now() < until) co_await clock_.sleep(look_again);
  while (events_in_flight_ > 0 && clock_.now() < until) co_await clock_.sleep(look_again);
  if (events_in_flight_ > 0) co_return false;
  co_await give_up();
  co_return true;
}

awaitable<void> Front::give_up() {
  co_await eventing_->stop();
  co_await control_->stop();
  co_await serving_->leave();
  co_await launcher_->stop();
  auto file = DrainFile::make(drain_folder(), serving_->in_flight());
  if (!file) log::warn("the next daemon does not know what is in flight here", {{"error", file.error().what()}});
  runner_->close();
  co_await tasks_.stop();
  // Nobody asks these any more; with them go the databases, which have one owner at a time.
  serving_->on_change({});
  api_server_.reset();
  control_.reset();
  events_server_.reset();
  eventing_.reset();
  objects_.reset();
  control_database_.reset();
  event_database_.reset();
  const auto flows = edge_server_->connections();
  log::info("another daemon takes over", {{"connections", flows}, {"linger_ms", config_.linger.count()}});
  reports_.released();
  if (file) lingering_.spawn("what is in flight", tell_in_flight(std::move(*file)));
}

awaitable<void> Front::tell_in_flight(DrainFile file) {
  while (true) {
    if (auto told = file.update(serving_->in_flight()); !told)
      log::warn("the next daemon does not know what is in flight here", {{"error", told.error().what()}});
    co_await clock_.sleep(count_again);
  }
}

awaitable<void> Front::stop_flows(milliseconds grace) {
  auto edge = keep_value(stop_edge(grace), false);
  auto inside = keep_value(gateway_->drain(grace), false);
  co_await run_together(std::move(edge), std::move(inside));
}

awaitable<void> Front::flow_to_end() {
  co_await stop_flows(config_.linger);
  flowed_ = true;
  signals_.cancel();
}

/// Until the last tunnel and stream is done, time is up, or somebody asks for the end.
awaitable<void> Front::linger() {
  TaskGroup flows(executor_);
  flows.spawn("what flows", flow_to_end());
  if (!flowed_) co_await signals_.async_wait(asio::as_tuple(use_awaitable));
  if (!flowed_) co_await stop_flows(milliseconds(0));
  co_await flows.join();
  co_await lingering_.stop();
  log::info("nothing flows here any more");
}

awaitable<Result<void>> Front::run() {
  auto result = co_await start();
  if (result) result = co_await wait_for_end();
  co_await stop();
  co_return result;
}

namespace {

/// Every connection costs a file, and one more towards the instance: the usual soft limit of 1024 is for programs that
/// use select(2).
void allow_open_files() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == files.rlim_max) return;
  files.rlim_cur = files.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &files) != 0)
    log::warn("the limit of open files stays as it is", {{"error", std::strerror(errno)}});
}

}  // namespace

int run_front(const Config& config, FrontSockets sockets, std::shared_ptr<const store::Vault> vault) {
  allow_open_files();
  asio::io_context loop(1);
  int code = 1;
  auto front = Front::make(loop, config, std::move(sockets), std::move(vault));
  if (!front) {
    log::error("cannot start", {{"error", front.error().what()}, {"hint", front.error().hint()}});
    return 1;
  }
  asio::co_spawn(loop, (*front)->run(), [&](std::exception_ptr error, Result<void> result) {
    if (error) {
      try {
        std::rethrow_exception(error);
      } catch (const std::exception& e) {
        log::error("ended by an exception", {{"error", e.what()}});
      }
    } else if (!result) {
      log::error("ended", {{"error", result.error().what()}, {"hint", result.error().hint()}});
    } else {
      code = 0;
    }
    loop.stop();
  });
  loop.run();
  return code;
}

}  // namespace wick::app
