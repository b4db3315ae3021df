// A probe that asks the gRPC health checking protocol (grpc.health.v1.Health/Check), as the kubelet does: one unary
// call over cleartext HTTP/2 with prior knowledge.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "wick/base/time.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/fd.hpp"
#include "wick/os/loop.hpp"

namespace wick::serving {

/// One call without its connection: bytes out, bytes in.
class GrpcHealthCheck {
 public:
  static constexpr std::size_t answer_bytes_max = 4 << 10;  // a real one has 7

  /// `authority` is what the server is told it is called.
  GrpcHealthCheck(std::string_view service, const std::string& authority);
  ~GrpcHealthCheck();

  /// What goes to the server now; may be nothing.
  std::string take_output();
  void read(std::string_view bytes);
  /// Nothing is to be read any more.
  bool done() const;
  /// Why it is not well, as a sentence; empty when it serves. Once done, or when the connection has ended.
  std::string complaint() const;

 private:
  struct Session;
  std::unique_ptr<Session> session_;
};

/// Makes the call over `connection`. Why it is not well, as a sentence; empty when it answered SERVING within `limit`.
awaitable<std::string> ask_grpc(Clock& clock, Fd connection, std::string service, std::uint16_t port,
                                milliseconds limit);

}  // namespace wick::serving
