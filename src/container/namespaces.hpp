// User and network namespaces as descriptors.
#pragma once

#include <cstdint>
#include <map>
#include <type_traits>
#include <vector>

#include "wick/container/runner.hpp"

namespace wick::container {

/// First id of a range on the host.
constexpr std::uint32_t first_id(std::uint32_t range) { return id_range_base + range * id_range_size; }

/// User namespaces by what they map, kept: making one takes a process (about 0.4 ms). At most `kept_max`; past it the
/// least used go.
class UserNamespaces {
 public:
  static constexpr std::size_t kept_max = 256;

  /// Ids `inside`.. of the namespace are `outside`.. of the host, one range long. Valid until the next call.
  Result<int> map(std::uint32_t inside, std::uint32_t outside);

 private:
  struct Kept {
    Fd fd;
    std::uint64_t used = 0;
  };
  std::map<std::pair<std::uint32_t, std::uint32_t>, Kept> kept_;
  std::uint64_t uses_ = 0;
};

/// Opens /proc/PID/ns/net: holds the namespace from then on.
Result<Fd> network_namespace_of(pid_t pid);

/// Back to `home`; ends the process when that fails, as anything done from then on would happen in the wrong network.
void leave_network(const Fd& home);

/// Makes sockets in other network namespaces. Between two calls the calling thread is always in
/// its own namespace.
class NetworkDoor {
 public:
  static Result<NetworkDoor> open();
  /// Does `work` with the calling thread inside `target`.
  template <class Work>
  std::invoke_result_t<Work> inside(const Fd& target, Work work) const {
    if (auto entered = enter(target); !entered) return fail(std::move(entered.error()));
    auto result = work();
    leave_network(home_);
    return result;
  }
  /// A socket made inside `target`. A socket stays in the namespace it was made in.
  Result<Fd> socket_in(const Fd& target, int family, int type, int protocol) const;
  /// `count` non-blocking stream sockets connecting to 127.0.0.1:`port` inside `target`, or ::1 when nobody listens on
  /// the former; at least one, fewer where the next one fails. Errors: unavailable when both refuse.
  Result<std::vector<Fd>> connect_in(const Fd& target, std::uint16_t port, std::size_t count) const;
  /// TCP sockets in LISTEN inside `target` (sock_diag(7): 13 us where /proc/PID/net/tcp takes 1.8 ms). At most
  /// `listening_max`.
  Result<std::vector<Listening>> listening_in(const Fd& target) const;
  /// How many TCP and UDP sockets `target` has, those in TIME_WAIT left aside: they have no owner and no data.
  Result<std::size_t> sockets_in(const Fd& target) const;

 private:
  Result<std::vector<Fd>> make_sockets_in(const Fd& target, int family, int type, int protocol,
                                          std::size_t count) const;
  static Result<void> enter(const Fd& target);
  Result<Fd> diag_socket_in(const Fd& target) const;
  explicit NetworkDoor(Fd home) : home_(std::move(home)) {}
  Fd home_;
};

}  // namespace wick::container
