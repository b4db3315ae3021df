// Where an event goes when it leaves the broker: a Service of ours through the activator, a broker or channel of ours,
// or any http or https URL.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "wick/eventing/eventing.hpp"
#include "wick/http/upstream.hpp"
#include "wick/serving/serving.hpp"

namespace wick::app {

/// Keeps idle connections to the last `hosts_max` outside hosts.
class Deliverer {
 public:
  static constexpr std::size_t hosts_max = 64;
  /// eventing::Eventing::accept.
  using Accept = std::function<awaitable<std::optional<http::Response>>(http::Request, eventing::Sender)>;

  Deliverer(Executor executor, Clock& clock, serving::Serving& serving, Accept accept)
      : executor_(executor), clock_(clock), serving_(serving), accept_(std::move(accept)) {}

  awaitable<Result<http::Response>> deliver(eventing::Destination destination, http::Request request,
                                            milliseconds limit);

 private:
  struct Host {
    std::string address;                       // with the scheme
    std::shared_ptr<http::Upstream> upstream;  // shared with calls in flight, which may outlive its place in the list
  };
  awaitable<Result<http::Response>> deliver_inside(std::string host, http::Request request, std::string sender,
                                                   milliseconds limit);
  Result<std::shared_ptr<http::Upstream>> upstream_for(const std::string& host, const std::string& port, bool secure);

  Executor executor_;
  Clock& clock_;
  serving::Serving& serving_;
  Accept accept_;
  std::shared_ptr<http::TlsClient> tls_;  // from the first https address on
  std::list<Host> hosts_;                 // most recently used first
};

}  // namespace wick::app
