#include "wick/os/seqpacket.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>

#include "wick/os/rights.hpp"

namespace wick {

Seqpacket::Seqpacket(Executor executor, Fd socket) : socket_(executor, socket.release()) { socket_.non_blocking(true); }

Result<std::pair<Fd, Fd>> Seqpacket::pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return fail(wick::system_error("socketpair", errno));
  return std::pair(Fd(ends[0]), Fd(ends[1]));
}

Result<uid_t> Seqpacket::peer_uid() const {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  const int fd = const_cast<Seqpacket*>(this)->socket_.native_handle();
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0)
    return fail(wick::system_error("SO_PEERCRED", errno));
  return credentials.uid;
}

awaitable<Result<void>> Seqpacket::send(std::string_view bytes, std::vector<int> fds) {
  if (bytes.size() > bytes_max || fds.size() > fds_max)
    co_return fail(Errc::too_large, "message over the limit of the socket");
  while (!send_rights(socket_.native_handle(), bytes, fds)) {
    if (errno == EPIPE || errno == ECONNRESET || errno == EBADF)
      co_return fail(Errc::unavailable, "the other end of the socket is gone");
    if (errno != EAGAIN && errno != EWOULDBLOCK) co_return fail(wick::system_error("sendmsg", errno));
    co_await socket_.async_wait(asio::posix::stream_descriptor::wait_write, use_awaitable);
  }
  co_return Result<void>{};
}

awaitable<Result<Packet>> Seqpacket::receive() {
  while (true) {
    auto packet = receive_rights(socket_.native_handle());
    if (packet && (!*packet || !(*packet)->bytes.empty())) co_return std::move(*packet);
    if (!packet && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      co_await socket_.async_wait(asio::posix::stream_descriptor::wait_read, use_awaitable);
      continue;
    }
    if (!packet && errno != ECONNRESET && errno != EBADF) co_return fail(wick::system_error("recvmsg", errno));
    co_return fail(Errc::unavailable, "the other end of the socket is gone");
  }
}

void Seqpacket::close() {
  boost::system::error_code ignored;
  socket_.close(ignored);
}

}  // namespace wick
