// What the front serves inside every instance: services, brokers and channels by their cluster names on 127.0.0.80:80,
// and DNS on 127.0.0.53:53. The listeners are inside the instance's own network namespace, so that the listener by
// which a request comes says which instance calls.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "wick/base/egress.hpp"
#include "wick/container/name_server.hpp"
#include "wick/container/runner.hpp"
#include "wick/http/handler.hpp"
#include "wick/os/task_group.hpp"

namespace wick::app {

class Gateway {
 public:
  struct Doors {
    http::Handler services;  // routes by Host
    /// POST /NAMESPACE/BROKER, and POST / at a channel's own host; `owner` as owner_of() says.
    std::function<awaitable<void>(std::string owner, http::Exchange&)> events;
    std::function<bool(std::string_view host)> serves;
    std::function<bool(std::string_view host)> takes_events;  // a channel's host
    /// "namespace/revision"; nothing for a build step, which finds no service.
    std::function<std::optional<std::string>(const container::InstanceId&)> owner_of;
  };

  Gateway(Executor executor, Clock& clock, Doors doors);
  ~Gateway();

  /// Serves the instance until close().
  void open(const container::InstanceId& id, const EgressPolicy& egress, container::Inside inside);
  void close(const container::InstanceId& id);
  /// Those that are served.
  std::vector<container::InstanceId> instances() const;
  /// As http::Server::leave, all at once.
  awaitable<void> leave(std::chrono::milliseconds limit);
  /// As http::Server::stop, all at once.
  awaitable<void> drain(std::chrono::milliseconds grace);
  awaitable<void> stop();

 private:
  class Inhabitant;
  awaitable<void> end(std::shared_ptr<Inhabitant> inhabitant);
  awaitable<void> handle(std::string owner, http::Exchange& exchange);

  Executor executor_;
  Clock& clock_;
  Doors doors_;
  container::NameServer names_;
  std::map<container::InstanceId, std::shared_ptr<Inhabitant>> inhabitants_;
  TaskGroup tasks_;
};

/// Where brokers are, by Knative's name.
inline constexpr std::string_view broker_host = "broker-ingress.knative-eventing.svc.cluster.local";

/// The full name of the service that a Host names: "hello", "hello.default", "hello.default.svc" and the whole name,
/// with or without a port or a last dot. "hello" is in the caller's namespace. Empty when it is none of these. Pure.
std::string cluster_host(std::string_view host, std::string_view name_space);

}  // namespace wick::app
