// Port 80 of one loopback address leads to a socket of ours, whoever else listens on port 80.
//
// The gateway of an instance must be at port 80 (http://hello.default.svc.cluster.local has no other), and so may the
// instance itself: a listener on 0.0.0.0:80 and one on 127.0.0.80:80 cannot be in one namespace. So the gateway's
// listener has a port of its own, and the kernel's socket look-up is told about it by a program of 20 instructions
// (BPF_PROG_TYPE_SK_LOOKUP, Linux 5.9): nothing is translated, no packet is looked at twice, where a redirect by
// nftables would put connection tracking on every loopback packet.
#pragma once

#include "wick/base/error.hpp"
#include "wick/os/fd.hpp"

namespace wick::container {

class PortSteering {
 public:
  PortSteering() = default;  // steers nothing
  /// One that another process attached, which steers as that left it.
  explicit PortSteering(Fd link) : link_(std::move(link)) {}
  /// Attached to `network_namespace` for as long as this lives. Errors: unsupported where the kernel has no BPF or the
  /// process may not use it.
  static Result<PortSteering> attach(const Fd& network_namespace, std::uint32_t address_be, std::uint16_t port);
  /// Connections go to `listener` from now on; it is held by the kernel until it is closed everywhere.
  Result<void> to(const Fd& listener) const;
  /// What holds all of it.
  const Fd& link() const { return link_; }
  explicit operator bool() const { return static_cast<bool>(link_); }

 private:
  Fd map_, program_, link_;
};

}  // namespace wick::container
