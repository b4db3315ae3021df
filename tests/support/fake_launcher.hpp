// Instances that behave as they are told: late, deaf, on the wrong port, dying; by the test's clock, without a process.
#pragma once

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/system_error.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "wick/container/launcher.hpp"
#include "wick/os/clock.hpp"

namespace wick {

struct FakeBehaviour {
  Duration launch_delay{0};
  std::optional<Error> launch_error;
  Duration listens_after{0};  // since the launch returned
  bool never_listens = false;
  std::vector<container::Listening> listens;  // empty: 0.0.0.0 on every port that is asked for
  std::optional<ExitStatus> exits;            // ends by itself …
  Duration exits_after{0};                    // … this long after the launch returned
  bool out_of_memory = false;
  std::string message;     // left at the end
  Duration stop_delay{0};  // from SIGTERM to the end
  container::Usage usage;
  std::vector<std::string> output;
  /// What a command inside it answers; empty: it ends with 0.
  std::function<Result<container::Executed>(const container::Process&)> execute;
  /// What begin_command() gives; empty: there is no such command.
  std::function<Result<container::Command>(container::Process, container::CommandOptions)> command;
  std::function<awaitable<Result<Fd>>()>
      connector;  // a real server; empty: one end of a socketpair whose other end stays open
};

/// What a FakeInstance was told, in order.
enum class FakeCall { park, start, freeze, thaw };

class FakeInstance final : public container::Instance {
 public:
  FakeInstance(Clock& clock, Executor executor, container::InstanceSpec spec, FakeBehaviour behaviour)
      : clock_(clock),
        spec_(std::move(spec)),
        behaviour_(std::move(behaviour)),
        launched_(clock.now()),
        ended_timer_(executor, asio::steady_timer::time_point::max()) {}

  const container::InstanceId& id() const override { return spec_.id; }
  pid_t pid() const override { return 4711; }

  awaitable<Result<Fd>> connect(std::uint16_t port) override {
    ++connects;
    if (calls_until_failure && --*calls_until_failure == 0) co_return fail(Errc::io, "the fake fails this call");
    if (ended()) co_return fail(Errc::unavailable, "the instance has ended");
    if (deaf) co_return fail(Errc::unavailable, "connection refused");
    if (!listens_on(port)) co_return fail(Errc::unavailable, "connection refused");
    if (behaviour_.connector) co_return co_await behaviour_.connector();
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
      co_return fail(system_error("socketpair", errno));
    peers_.emplace_back(ends[1]);
    co_return Fd(ends[0]);
  }

  awaitable<container::Exit> wait_exit() override {
    while (!ended()) {
      if (behaviour_.exits && !stopping_) {
        co_await clock_.sleep_until(launched_ + behaviour_.exits_after);
        if (!ended()) end(*behaviour_.exits);
      } else {
        auto waited = co_await ended_timer_.async_wait(asio::as_tuple(use_awaitable));
        if (!ended()) throw boost::system::system_error(std::get<0>(waited));
      }
    }
    co_return container::Exit{
        .id = spec_.id, .status = *status_, .out_of_memory = behaviour_.out_of_memory, .message = behaviour_.message};
  }

  bool ended() const override { return status_.has_value(); }

  awaitable<Result<Fd>> await_listening(std::uint16_t port, std::chrono::milliseconds patience) override {
    const auto until = clock_.now() + patience;
    for (Duration pause = look_first;; pause = std::min(pause * 2, look_most)) {
      auto connected = co_await connect(port);
      if (connected || ended() || clock_.now() >= until) co_return connected;
      co_await clock_.sleep(std::min<Duration>(pause, until - clock_.now()));
    }
  }
  awaitable<Result<void>> park() override { return told(FakeCall::park); }
  awaitable<Result<void>> start() override {
    launched_ = clock_.now();
    return told(FakeCall::start);
  }
  awaitable<Result<void>> freeze() override { return told(FakeCall::freeze); }
  awaitable<Result<void>> thaw() override { return told(FakeCall::thaw); }

  awaitable<void> stop(std::chrono::milliseconds grace) override {
    ++stops;
    stopping_ = true;
    if (!ended()) {
      co_await clock_.sleep(std::min<Duration>(behaviour_.stop_delay, grace));
      if (!ended()) end({.signal = behaviour_.stop_delay > grace ? 9 : 15});
    }
    given_back = true;
  }

  awaitable<Result<container::Executed>> execute(container::Process process, std::chrono::milliseconds) override {
    if (ended()) co_return fail(Errc::unavailable, "the instance has ended");
    if (!behaviour_.execute) co_return container::Executed{};
    co_return behaviour_.execute(process);
  }
  awaitable<Result<container::Command>> begin_command(container::Process process,
                                                      container::CommandOptions options) override {
    if (ended()) co_return fail(Errc::unavailable, "the instance has ended");
    if (!behaviour_.command) co_return fail(Errc::not_found, "the command is not in the image");
    co_return behaviour_.command(std::move(process), options);
  }
  awaitable<Result<void>> update_volumes(std::vector<container::Volume> volumes,
                                         std::vector<container::VolumeMount>) override {
    ++updates;
    if (ended()) co_return fail(Errc::unavailable, "the instance has ended");
    if (update_failures > 0 && update_failures--) co_return fail(Errc::io, "the fake fails this call");
    spec_.volumes = std::move(volumes);
    co_return Result<void>{};
  }
  awaitable<Result<container::Usage>> usage() override { co_return behaviour_.usage; }

  awaitable<Result<std::vector<container::Listening>>> listening() override {
    if (ended() || !open()) co_return std::vector<container::Listening>{};
    co_return behaviour_.listens;
  }

  std::vector<std::string> log_tail(std::size_t lines) const override {
    const auto& all = behaviour_.output;
    return {all.end() - static_cast<std::ptrdiff_t>(std::min(lines, all.size())), all.end()};
  }

  /// It ends now, as if by itself.
  void end(ExitStatus status) {
    status_ = status;
    ended_at = clock_.now();
    peers_.clear();
    ended_timer_.cancel();
  }

  const container::InstanceSpec& spec() const { return spec_; }
  TimePoint launched() const { return launched_; }

  static constexpr Duration look_first = std::chrono::microseconds(200);
  static constexpr Duration look_most = std::chrono::milliseconds(10);
  std::vector<FakeCall> calls;
  std::optional<FakeCall> fails_at;  // that call fails, and the instance has ended
  bool deaf = false;                 // listens no more
  int connects = 0;
  int updates = 0;
  int update_failures = 0;  // so many updates of its volumes fail first
  std::optional<TimePoint> ended_at;
  int stops = 0;
  bool given_back = false;
  std::shared_ptr<int> calls_until_failure;

 private:
  awaitable<Result<void>> told(FakeCall call) {
    calls.push_back(call);
    if (ended()) co_return fail(Errc::not_found, "the instance has ended");
    if (fails_at != call) co_return Result<void>{};
    if (call != FakeCall::freeze) end({.code = 255});
    co_return fail(Errc::io, "the fake fails this call");
  }

  bool open() const { return !behaviour_.never_listens && clock_.now() >= launched_ + behaviour_.listens_after; }
  bool listens_on(std::uint16_t port) const {
    if (!open()) return false;
    if (behaviour_.listens.empty()) return true;
    return std::ranges::any_of(behaviour_.listens, [&](const container::Listening& socket) {
      return socket.port == port &&
             (socket.address == "0.0.0.0" || socket.address == "127.0.0.1" || socket.address == "::");
    });
  }

  Clock& clock_;
  container::InstanceSpec spec_;
  FakeBehaviour behaviour_;
  TimePoint launched_;
  asio::steady_timer ended_timer_;
  std::optional<ExitStatus> status_;
  bool stopping_ = false;
  std::vector<Fd> peers_;
};

class FakeLauncher final : public container::Launcher {
 public:
  FakeLauncher(Executor executor, Clock& clock) : executor_(executor), clock_(clock) {}

  awaitable<Result<std::shared_ptr<container::Instance>>> launch(container::InstanceSpec spec,
                                                                 std::string owner) override {
    const auto how = scripted.empty() ? behaviour : scripted.front();
    if (!scripted.empty()) scripted.erase(scripted.begin());
    ++launches;
    owners.push_back(std::move(owner));
    if (how.launch_delay > Duration(0)) co_await clock_.sleep(how.launch_delay);
    if (calls_until_failure && --*calls_until_failure == 0) co_return fail(Errc::io, "the fake fails this call");
    if (how.launch_error) co_return fail(*how.launch_error);
    co_return make(std::move(spec), how);
  }

  awaitable<Result<std::shared_ptr<container::Instance>>> prepare(container::InstanceSpec spec, std::string) override {
    ++prepares;
    if (prepare_error) co_return fail(*prepare_error);
    co_return make(std::move(spec), behaviour);
  }

  /// An instance that runs already, as after a restart of the daemon.
  std::shared_ptr<FakeInstance> make(container::InstanceSpec spec, FakeBehaviour how) {
    if (spec.id.empty()) spec.id = container::InstanceId::random();
    auto instance = std::make_shared<FakeInstance>(clock_, executor_, std::move(spec), std::move(how));
    instance->calls_until_failure = calls_until_failure;
    instances.push_back(instance);
    return instance;
  }

  std::size_t running() const {
    return static_cast<std::size_t>(std::ranges::count_if(instances, [](const auto& each) { return !each->ended(); }));
  }

  FakeBehaviour behaviour;                   // of every launch …
  std::vector<FakeBehaviour> scripted;       // … that these are not for, first to last
  std::shared_ptr<int> calls_until_failure;  // launch and connect calls, the last of which fails
  int launches = 0;
  int prepares = 0;
  std::optional<Error> prepare_error;
  std::vector<std::string> owners;
  std::vector<std::shared_ptr<FakeInstance>> instances;

 private:
  Executor executor_;
  Clock& clock_;
};

}  // namespace wick
