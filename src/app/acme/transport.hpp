// The way to an ACME server: https, with the authorities that the machine trusts and, on request, one more.
#pragma once

#include <list>
#include <memory>
#include <string>

#include "app/acme/session.hpp"
#include "wick/http/upstream.hpp"

namespace wick::app::acme {

class Transport {
 public:
  static constexpr std::size_t hosts_max = 4;

  /// `authorities`: PEM, may be empty. Errors: invalid (no PEM).
  static Result<std::unique_ptr<Transport>> open(Executor executor, Clock& clock, std::string_view authorities);

  /// At most answer_bytes_max and half a minute. Errors: invalid (not https), and those of http::call.
  awaitable<Result<http::Response>> call(std::string url, http::Request request);

 private:
  struct Host {
    std::string address;
    std::shared_ptr<http::Upstream> upstream;  // shared with calls in flight
  };
  Transport(Executor executor, Clock& clock, std::shared_ptr<http::TlsClient> tls)
      : executor_(executor), clock_(clock), tls_(std::move(tls)) {}
  std::shared_ptr<http::Upstream> upstream_for(const std::string& host, const std::string& port);

  Executor executor_;
  Clock& clock_;
  std::shared_ptr<http::TlsClient> tls_;
  std::list<Host> hosts_;  // most recently used first
};

}  // namespace wick::app::acme
