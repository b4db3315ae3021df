// systemd's protocols for a daemon, without libsystemd: sd_notify(3), sd_watchdog_enabled(3) and sd_listen_fds(3).
#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "wick/os/fd.hpp"

namespace wick {

/// Sends e.g. "READY=1\nSTATUS=serving" to $NOTIFY_SOCKET; silently nothing where it is not set.
void notify_systemd(std::string_view state);

/// Gives systemd descriptors to keep under `name` (FDSTORE=1): the next start of the unit finds them among its
/// take_passed_sockets(), in any order, one of that name each, as long as FileDescriptorStoreMax= has room. False where
/// nothing was sent.
bool store_with_systemd(std::string_view name, std::span<const int> fds);

/// How often systemd wants to hear "WATCHDOG=1" of this process, by sd_watchdog_enabled(3); nullopt where it does not.
/// Half of it is a good pause between two.
std::optional<std::chrono::microseconds> watchdog_limit();

struct PassedSocket {
  std::string name;  // from FileDescriptorName=, "unknown" where systemd gave none
  Fd fd;
};
/// The sockets passed by LISTEN_FDS when LISTEN_PID is us, made close-on-exec; the variables are removed.
std::vector<PassedSocket> take_passed_sockets();

}  // namespace wick
