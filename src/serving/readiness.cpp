#include "wick/serving/readiness.hpp"

#include "exec_probe.hpp"
#include "grpc_health.hpp"
#include "wick/contract/plain_http.hpp"
#include "wick/http/upstream.hpp"
#include "wick/os/deadline.hpp"
#include "wick/serving/start_failure.hpp"

namespace wick::serving {

namespace {

constexpr Duration retry_first = 200us;  // measured: 165 µs after listen(2) in the median
constexpr Duration retry_most = 10ms;
constexpr Duration retry_slow = 50ms;  // a program that takes longer than `slow_after` does not wait for 40 ms more
constexpr Duration slow_after = 10s;
constexpr milliseconds patience_max{1000};       // then a look whether it listens elsewhere
constexpr Duration command_retry_first = 100ms;  // each costs some 40 ms of a core
constexpr Duration command_retry_most = 1s;
constexpr Duration look_period = 1s;    // at the instance's own sockets
constexpr int looks_elsewhere_min = 3;  // a debug port may open long before the real one …
constexpr std::uint64_t idle_cpu_usec =
    20'000;  // … but then the program is still busy starting: under 2 % of a core it is not
constexpr std::size_t probe_answer_bytes_max = 64 << 10;

/// What the probe saw, for the failure's sentence.
struct Notes {
  LastProbe last;
  std::vector<container::Listening> elsewhere;  // set when that is the verdict
};

/// Once a second: does it listen, but not where it should, and do nothing more?
class ElsewhereWatch {
 public:
  explicit ElsewhereWatch(TimePoint now) : next_(now + look_period) {}

  awaitable<bool> look(TimePoint now, container::Instance& instance, std::uint16_t port, Notes& notes) {
    if (now < next_) co_return false;
    next_ = now + look_period;
    auto sockets = co_await instance.listening();
    auto usage = co_await instance.usage();
    const auto cpu = usage ? usage->cpu_usec : 0;
    const bool idle = cpu - std::exchange(cpu_, cpu) < idle_cpu_usec;
    const bool elsewhere = sockets && !sockets->empty() && !listens_on(*sockets, port);
    looks_ = elsewhere && idle ? looks_ + 1 : 0;
    if (looks_ < looks_elsewhere_min) co_return false;
    notes.elsewhere = std::move(*sockets);
    co_return true;
  }

 private:
  TimePoint next_;
  std::uint64_t cpu_ = 0;
  int looks_ = 0;
};

awaitable<bool> answers(Clock& clock, container::Instance& instance, const Probe& probe, std::uint16_t port,
                        http::UpstreamProtocol protocol, Notes& notes) {
  http::Connector connector = [&instance, port] { return instance.connect(port); };
  http::Upstream upstream(co_await asio::this_coro::executor, clock, std::move(connector), 0, milliseconds(0),
                          protocol);
  auto request = contract::readiness_request(probe.path, port);
  auto response = co_await http::call(upstream, clock, std::move(request), probe.timeout, probe_answer_bytes_max);
  if (!response) {
    notes.last.error = response.error().what();
    co_return false;
  }
  notes.last.answered = response->head.status;
  co_return contract::is_ready_status(response->head.status);
}

/// Empty when it is ready but there is no connection to keep, or when `notes` has a verdict.
awaitable<Fd> probe_until_well(Clock& clock, container::Instance& instance, const RevisionSpec& spec,
                               const Probe& probe, Notes& notes) {
  const auto port = probe.port ? probe.port : spec.port;
  // An httpGet of the port itself speaks what the port speaks, as the queue-proxy does.
  const auto protocol = port == spec.port ? spec.protocol : http::UpstreamProtocol::http1;
  const auto began = clock.now();
  ElsewhereWatch elsewhere(began);
  const bool exec = probe.kind == Probe::Kind::exec;
  Duration pause = exec ? command_retry_first : retry_first;
  for (int successes = 0; true;) {
    Fd connection;
    bool success = false;
    if (probe.kind != Probe::Kind::http) {
      const auto patience = probe.period > milliseconds(0) ? milliseconds(0) : patience_max;
      auto connected = co_await instance.await_listening(port, patience);
      success = connected.has_value();
      if (connected) connection = std::move(*connected);
      if (!connected) notes.last.error = connected.error().message();
      if (connected && exec) {
        notes.last.command_failed = co_await ask_exec(instance, spec.instance.process, probe.command, probe.timeout);
        success = notes.last.command_failed.empty();
      }
      if (connected && probe.kind == Probe::Kind::grpc) {
        notes.last.grpc_failed = co_await ask_grpc(clock, std::move(connection), probe.path, port, probe.timeout);
        success = notes.last.grpc_failed.empty();
      }
    } else {
      success = co_await answers(clock, instance, probe, port, protocol, notes);
    }
    successes = success ? successes + 1 : 0;
    if (successes >= probe.success_threshold) co_return port == spec.port ? std::move(connection) : Fd();
    const auto now = clock.now();
    if (co_await elsewhere.look(now, instance, port, notes)) co_return Fd();
    co_await clock.sleep(probe.period > milliseconds(0) ? Duration(probe.period) : pause);
    if (exec)
      pause = std::min(pause * 2, command_retry_most);
    else
      pause = now - began > slow_after ? retry_slow : std::min(pause * 2, retry_most);
  }
}

awaitable<Fd> probe_until_ready(Clock& clock, container::Instance& instance, const RevisionSpec& spec, Notes& notes) {
  if (spec.startup) {
    notes.last.startup = true;
    auto connection = co_await probe_until_well(clock, instance, spec, *spec.startup, notes);
    if (!notes.elsewhere.empty()) co_return Fd();
    notes = {};
  }
  auto connection = co_await probe_until_well(clock, instance, spec, spec.readiness, notes);
  // What ends it meanwhile is told by its end (ready_or_ended).
  if (notes.elsewhere.empty()) (void)co_await instance.await_companions();
  co_return connection;
}

/// The probe's connection, or how the instance ended if that came first.
struct Outcome {
  Fd connection;
  std::optional<container::Exit> exit;
};

awaitable<Outcome> ready_or_ended(Clock& clock, container::Instance& instance, const RevisionSpec& spec, Notes& notes) {
  auto first = co_await first_of(probe_until_ready(clock, instance, spec, notes), instance.wait_exit());
  Outcome outcome;
  if (auto* exit = std::get_if<1>(&first))
    outcome.exit = std::move(*exit);
  else
    outcome.connection = std::move(std::get<0>(first));
  co_return outcome;
}

milliseconds since(Clock& clock, TimePoint launched) {
  return std::chrono::duration_cast<milliseconds>(clock.now() - launched);
}

}  // namespace

awaitable<std::expected<Fd, model::Failure>> await_ready(Clock& clock, container::Instance& instance,
                                                         const RevisionSpec& spec, TimePoint launched) {
  Notes notes;
  Outcome outcome;
  bool in_time = true;
  try {
    auto waiting = ready_or_ended(clock, instance, spec, notes);
    outcome = co_await with_deadline(clock, launched + spec.startup_limit - clock.now(), std::move(waiting));
  } catch (const DeadlineExceeded&) {
    in_time = false;
  }
  const auto elapsed = since(clock, launched);
  if (outcome.exit) {
    auto usage = co_await instance.usage();
    co_return std::unexpected(ended_early(*outcome.exit, usage.value_or(container::Usage{}), spec, elapsed));
  }
  if (!in_time) {
    auto sockets = co_await instance.listening();
    const auto port = spec.readiness.port ? spec.readiness.port : spec.port;
    if (sockets && !sockets->empty() && !listens_on(*sockets, port)) notes.elsewhere = std::move(*sockets);
    if (notes.elsewhere.empty()) co_return std::unexpected(never_ready(spec, notes.last, elapsed));
  }
  if (!notes.elsewhere.empty()) co_return std::unexpected(listens_elsewhere(notes.elsewhere, spec, elapsed));
  co_return std::move(outcome.connection);
}

}  // namespace wick::serving
