#include "liveness.hpp"

#include <fmt/format.h>

#include "exec_probe.hpp"
#include "grpc_health.hpp"
#include "wick/contract/plain_http.hpp"
#include "wick/http/upstream.hpp"
#include "wick/os/deadline.hpp"

namespace wick::serving {

namespace {

constexpr std::size_t answer_bytes_max = 64 << 10;

/// Why it is not well; empty when it is.
awaitable<std::string> ask_tcp(Clock& clock, container::Instance& instance, const Liveness& probe, std::uint16_t port) {
  try {
    auto connecting = instance.connect(port);
    auto connected = co_await with_deadline(clock, probe.timeout, std::move(connecting));
    co_return connected ? std::string() : connected.error().message();
  } catch (const DeadlineExceeded&) {
    co_return fmt::format("no connection within {} ms", probe.timeout.count());
  }
}

awaitable<std::string> ask_http(Clock& clock, container::Instance& instance, const Liveness& probe, std::uint16_t port,
                                http::UpstreamProtocol protocol) {
  http::Connector connector = [&instance, port] { return instance.connect(port); };
  http::Upstream upstream(co_await asio::this_coro::executor, clock, std::move(connector), 0, milliseconds(0),
                          protocol);
  auto request = contract::readiness_request(probe.path, port);
  auto response = co_await http::call(upstream, clock, std::move(request), probe.timeout, answer_bytes_max);
  if (!response) co_return response.error().what();
  if (contract::is_ready_status(response->head.status)) co_return std::string();
  co_return fmt::format("GET {} answered {}", probe.path, response->head.status);
}

awaitable<std::string> ask_grpc_health(Clock& clock, container::Instance& instance, const Liveness& probe,
                                       std::uint16_t port) {
  auto connected = co_await instance.connect(port);
  if (!connected) co_return connected.error().message();
  const auto why = co_await ask_grpc(clock, std::move(*connected), probe.path, port, probe.timeout);
  co_return why.empty() ? why : fmt::format("the server {} to the gRPC health check", why);
}

awaitable<std::string> ask(Clock& clock, container::Instance& instance, const RevisionSpec& spec) {
  const auto& probe = *spec.liveness;
  switch (probe.kind) {
    case Probe::Kind::http:
      return ask_http(clock, instance, probe, spec.port, spec.protocol);
    case Probe::Kind::exec:
      return ask_exec(instance, spec.instance.process, probe.command, probe.timeout);
    case Probe::Kind::grpc:
      return ask_grpc_health(clock, instance, probe, spec.port);
    case Probe::Kind::tcp:
      break;
  }
  return ask_tcp(clock, instance, probe, spec.port);
}

}  // namespace

awaitable<std::string> await_unhealthy(Clock& clock, container::Instance& instance, const RevisionSpec& spec,
                                       TimePoint launched, std::function<bool()> awake) {
  const auto& probe = *spec.liveness;
  co_await clock.sleep_until(launched + probe.initial_delay);
  for (int failures = 0; true;) {
    co_await clock.sleep(probe.period);
    if (!awake()) {
      failures = 0;
      continue;
    }
    auto asking = ask(clock, instance, spec);
    const auto why = co_await std::move(asking);
    failures = why.empty() ? 0 : failures + 1;
    if (failures >= probe.failure_threshold)
      co_return fmt::format("failed its liveness probe {} times in a row: {}", failures, why);
  }
}

}  // namespace wick::serving
