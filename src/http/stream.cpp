#include "stream.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/system/system_error.hpp>
#include <cerrno>
#include <stdexcept>

#include "tls_session.hpp"

namespace wick::http {

Stream::Stream(Poller& poller, Fd fd) : poller_(poller), fd_(std::move(fd)) {
  const int flags = fcntl(fd_.get(), F_GETFL);
  if (flags >= 0 && !(flags & O_NONBLOCK)) fcntl(fd_.get(), F_SETFL, flags | O_NONBLOCK);
  auto added = poller_.add(*this, fd_.get());
  if (!added) throw std::runtime_error(added.error().what());
  registration_ = *added;
}

Stream::~Stream() { close(); }

void Stream::close() {
  if (!fd_) return;
  if (tls_ && !interrupted_ && !hung_up_) tls_->say_goodbye();
  poller_.remove(registration_);
  fd_.reset();
  interrupted_ = EBADF;
  for (auto* waiter : {&read_waiter_, &write_waiter_, &gone_waiter_}) poller_.wake_soon(*waiter);
}

Fd Stream::release() {
  poller_.release(registration_, fd_.get());
  interrupted_ = EBADF;
  return std::move(fd_);
}

void Stream::secure(SSL* ssl) { tls_ = std::make_unique<TlsSession>(*this, ssl); }

void Stream::end_tls() { tls_.reset(); }

awaitable<Io> Stream::handshake() {
  while (true) {
    if (interrupted_) co_return Io{0, interrupted_};
    const auto step = tls_->step_handshake();
    if (!step.would_block()) co_return step;
    if (tls_->holds_back())
      co_await writable();
    else
      co_await readable();
  }
}

Io Stream::try_read(char* into, std::size_t size) {
  if (interrupted_) return {0, interrupted_};
  return tls_ ? tls_->try_read(into, size) : raw_read(into, size);
}

Io Stream::try_write(const iovec* parts, int count) {
  if (interrupted_) return {0, interrupted_};
  return tls_ ? tls_->try_write(parts, count) : raw_write(parts, count);
}

bool Stream::holds_back() const { return tls_ && tls_->holds_back(); }

Io Stream::push() {
  if (interrupted_) return {0, interrupted_};
  return tls_ ? tls_->push() : Io{};
}

Io Stream::peek(std::span<char> into) {
  if (interrupted_) return {0, interrupted_};
  while (true) {
    const auto got = ::recv(fd_.get(), into.data(), into.size(), MSG_PEEK | MSG_DONTWAIT);
    if (got >= 0) return {static_cast<std::size_t>(got), 0};
    if (errno != EINTR) return {0, errno};
  }
}

void Stream::skip(std::size_t bytes) {
  char dropped[256];
  while (bytes > 0) {
    const auto got = ::recv(fd_.get(), dropped, std::min(bytes, sizeof dropped), MSG_DONTWAIT);
    if (got <= 0) return;
    bytes -= static_cast<std::size_t>(got);
  }
}

Io Stream::raw_read(char* into, std::size_t size) {
  if (!readable_) return {0, EAGAIN};
  while (true) {
    const auto got = ::recv(fd_.get(), into, size, 0);
    if (got >= 0) {
      // A short read has emptied the socket: the next bytes make a new edge. Not so once the end is near, which makes
      // no edge again.
      if (static_cast<std::size_t>(got) < size && !peer_finished_) readable_ = false;
      return {static_cast<std::size_t>(got), 0};
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN) readable_ = false;
    return {0, errno};
  }
}

Io Stream::raw_write(const iovec* parts, int count) {
  if (!writable_) return {0, EAGAIN};
  while (true) {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(parts);
    message.msg_iovlen = static_cast<std::size_t>(count);
    const auto sent = count == 1 ? ::send(fd_.get(), parts->iov_base, parts->iov_len, MSG_NOSIGNAL)
                                 : ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL);
    if (sent >= 0) return {static_cast<std::size_t>(sent), 0};
    if (errno == EINTR) continue;
    if (errno == EAGAIN) writable_ = false;
    return {0, errno};
  }
}

Io Stream::try_write(std::string_view bytes) {
  const iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  return try_write(&part, 1);
}

awaitable<Io> Stream::read_some(std::span<char> into) {
  while (true) {
    const auto got = try_read(into.data(), into.size());
    if (!got.would_block()) co_return got;
    co_await readable();
  }
}

awaitable<Io> Stream::write_all(std::string_view first, std::string_view second) {
  std::size_t total = 0;
  while (true) {
    iovec parts[2];
    int count = 0;
    if (!first.empty()) parts[count++] = {const_cast<char*>(first.data()), first.size()};
    if (!second.empty()) parts[count++] = {const_cast<char*>(second.data()), second.size()};
    if (count == 0 && !holds_back()) co_return Io{total, 0};
    const auto sent = count > 0 ? try_write(parts, count) : push();
    if (sent.would_block()) {
      co_await writable();
      continue;
    }
    if (!sent.ok()) co_return Io{total, sent.error};
    total += sent.bytes;
    const auto of_first = std::min(sent.bytes, first.size());
    first.remove_prefix(of_first);
    second.remove_prefix(sent.bytes - of_first);
  }
}

void Stream::shutdown_send() {
  if (!fd_) return;
  if (tls_) tls_->say_goodbye();
  ::shutdown(fd_.get(), SHUT_WR);
}

/// A peer that sends no more may still read, or may be gone: its kernel answers for a closed socket only so long
/// (net.ipv4.tcp_fin_timeout), then a probe meets a reset. Fails harmlessly on a unix socket.
void Stream::probe_peer() {
  constexpr std::pair<int, int> options[] = {{TCP_KEEPIDLE, 10}, {TCP_KEEPINTVL, 10}, {TCP_KEEPCNT, 3}};
  const int on = 1;
  if (setsockopt(fd_.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) < 0) return;
  for (const auto& [option, seconds] : options) setsockopt(fd_.get(), IPPROTO_TCP, option, &seconds, sizeof seconds);
}

void Stream::interrupt(int error) {
  interrupted_ = error;
  poller_.wake_soon(read_waiter_);
  poller_.wake_soon(write_waiter_);
}

bool Stream::has_input(InputCheck check) {
  if (interrupted_ || hung_up_ || peer_finished_) return true;
  if (check == InputCheck::noticed && !readable_) return false;
  if (tls_) {
    readable_ = true;  // records are read from the kernel, not from what was noticed
    return tls_->has_input();
  }
  char byte;
  const auto got = ::recv(fd_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  if (got < 0 && errno == EAGAIN) readable_ = false;
  return got >= 0 || (errno != EAGAIN && errno != EINTR);
}

void Stream::ready(std::uint32_t events) {
  const auto me = registration_;
  auto& poller = poller_;
  if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) peer_finished_ = true;
  if (events & (EPOLLHUP | EPOLLERR)) hung_up_ = true;
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) readable_ = true;
  if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) writable_ = true;
  if (peer_finished_ && !hung_up_ && tied_) probe_peer();
  if (hung_up_ && tied_) std::exchange(tied_, nullptr)->interrupt(ECONNRESET);
  if (readable_) poller.wake(read_waiter_);
  if (poller.holds(me) && writable_) poller.wake(write_waiter_);
  if (poller.holds(me) && peer_finished_) poller.wake(gone_waiter_);
}

}  // namespace wick::http
