// A SOCK_SEQPACKET connection that carries whole messages with descriptors (unix(7), SCM_RIGHTS).
#pragma once

#include <sys/types.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/os/fd.hpp"
#include "wick/os/loop.hpp"

namespace wick {

struct Packet {
  std::string bytes;
  std::vector<Fd> fds;
};

class Seqpacket {
 public:
  static constexpr std::size_t bytes_max = 64 << 10;
  static constexpr std::size_t fds_max = 64;  // Linux takes up to 253

  Seqpacket(Executor executor, Fd socket);

  /// A connected pair.
  static Result<std::pair<Fd, Fd>> pair();
  /// uid of the process at the other end when it connected (SO_PEERCRED).
  Result<uid_t> peer_uid() const;

  /// Waits while the socket is full. Errors: unavailable when the peer is gone.
  awaitable<Result<void>> send(std::string_view bytes, std::vector<int> fds = {});
  /// One message. Errors: unavailable when the peer is gone, invalid when a message was cut (too long, too many
  /// descriptors).
  awaitable<Result<Packet>> receive();
  void close();

 private:
  asio::posix::stream_descriptor socket_;
};

}  // namespace wick
