// systemd's protocols for a daemon, without libsystemd: sd_notify(3) and sd_listen_fds(3).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "wick/os/fd.hpp"

namespace wick {

/// Sends e.g. "READY=1\nSTATUS=serving" to $NOTIFY_SOCKET; silently nothing where it is not set.
void notify_systemd(std::string_view state);

struct PassedSocket {
  std::string name;  // from FileDescriptorName=, "unknown" where systemd gave none
  Fd fd;
};
/// The sockets passed by LISTEN_FDS when LISTEN_PID is us, made close-on-exec; the variables are removed.
std::vector<PassedSocket> take_passed_sockets();

}  // namespace wick
