// One message with descriptors (unix(7), SCM_RIGHTS).
#pragma once

#include <sys/socket.h>

#include <optional>
#include <span>
#include <string_view>

#include "wick/os/seqpacket.hpp"

namespace wick {

/// As sendmsg(2); `flags` may be 0 to wait for room. At most Seqpacket::fds_max descriptors.
bool send_rights(int socket, std::string_view bytes, std::span<const int> fds, int flags = MSG_DONTWAIT);
/// As recvmsg(2); `flags` may be 0 to wait for a message. nullopt where errno says why, no bytes where the peer is
/// gone, invalid where the message was cut (Seqpacket::bytes_max, fds_max).
std::optional<Result<Packet>> receive_rights(int socket, int flags = MSG_DONTWAIT);

}  // namespace wick
