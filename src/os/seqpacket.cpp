#include "wick/os/seqpacket.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

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
  iovec part{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * fds_max)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    std::memcpy(CMSG_DATA(head), fds.data(), sizeof(int) * fds.size());
  }
  while (::sendmsg(socket_.native_handle(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
    if (errno == EINTR) continue;
    if (errno == EPIPE || errno == ECONNRESET || errno == EBADF)
      co_return fail(Errc::unavailable, "the other end of the socket is gone");
    if (errno != EAGAIN && errno != EWOULDBLOCK) co_return fail(wick::system_error("sendmsg", errno));
    co_await socket_.async_wait(asio::posix::stream_descriptor::wait_write, use_awaitable);
  }
  co_return Result<void>{};
}

awaitable<Result<Packet>> Seqpacket::receive() {
  Packet packet;
  packet.bytes.resize(bytes_max);
  while (true) {
    iovec part{.iov_base = packet.bytes.data(), .iov_len = packet.bytes.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * fds_max)];
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const auto got = ::recvmsg(socket_.native_handle(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      co_await socket_.async_wait(asio::posix::stream_descriptor::wait_read, use_awaitable);
      continue;
    }
    if (got < 0 && errno != ECONNRESET && errno != EBADF) co_return fail(wick::system_error("recvmsg", errno));
    if (got <= 0) co_return fail(Errc::unavailable, "the other end of the socket is gone");
    for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr; head = CMSG_NXTHDR(&message, head)) {
      if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
      const auto count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (std::size_t i = 0; i < count; ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(head) + i * sizeof(int), sizeof fd);
        packet.fds.emplace_back(fd);
      }
    }
    if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
      co_return fail(Errc::invalid, "message longer than the socket allows");
    packet.bytes.resize(static_cast<std::size_t>(got));
    co_return packet;
  }
}

void Seqpacket::close() {
  boost::system::error_code ignored;
  socket_.close(ignored);
}

}  // namespace wick
