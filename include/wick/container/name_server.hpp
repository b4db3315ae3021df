// DNS for instances: services and the daemon's own names answered here, everything else asked of the host's resolvers.
// It listens where the runner made its sockets: inside the namespace of the one instance that it answers.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "wick/container/runner.hpp"
#include "wick/os/clock.hpp"

namespace wick::container {

class NameServer {
 public:
  struct Caller {
    std::string name_space;       // in which "hello" is looked for; empty: no service is found
    bool may_ask_outside = true;  // false: names outside are refused and nothing leaves the host
  };
  /// Whether "hello.default.svc.cluster.local" is one of ours.
  using Knows = std::function<bool(std::string_view host)>;

  struct Options {
    std::filesystem::path resolv_conf = "/etc/resolv.conf";  // read again at most every 5 s
    std::filesystem::path hosts = "/etc/hosts";
    std::uint16_t upstream_port = 53;
    std::chrono::milliseconds upstream_limit{2000};  // for each of at most 3 servers
  };

  NameServer(Executor executor, Clock& clock, Knows knows, Options options);
  NameServer(Executor executor, Clock& clock, Knows knows) : NameServer(executor, clock, std::move(knows), Options{}) {}
  ~NameServer();

  /// Answers until cancelled. At most 64 questions are under way at once; more are dropped, and the instance asks
  /// again.
  awaitable<void> serve_udp(Fd socket, Caller caller);
  /// The same over TCP, for answers that fit no datagram. At most 8 connections, each for at most 10 s.
  awaitable<void> serve_tcp(Fd listener, Caller caller);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace wick::container
