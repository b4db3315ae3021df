// One connected socket: non-blocking reads and writes, and waiting for readiness. The transport that everything in this
// room speaks through; TLS gets its place here.
#pragma once

#include <sys/uio.h>

#include <span>

#include "poller.hpp"

namespace wick::http {

/// What a read or write did. `error` is an errno value; EAGAIN: try again when ready. A read of 0 bytes without error
/// is the end.
struct Io {
  std::size_t bytes = 0;
  int error = 0;

  bool would_block() const { return error == EAGAIN; }
  bool ok() const { return error == 0; }
  bool ended() const { return error == 0 && bytes == 0; }
};

/// `noticed` trusts the last readiness event and is free; `now` also asks the kernel.
enum class InputCheck { noticed, now };

class Stream {
 public:
  /// Takes the socket over and makes it non-blocking.
  Stream(Poller& poller, Fd fd);
  ~Stream();
  Stream(const Stream&) = delete;

  int fd() const { return fd_.get(); }
  /// Gives the socket away. Nobody may wait for it.
  Fd release();
  bool open() const { return static_cast<bool>(fd_); }
  void close();

  Io try_read(char* into, std::size_t size);
  Io try_write(const iovec* parts, int count);
  Io try_write(std::string_view bytes);

  /// One coroutine may wait for each.
  auto readable() { return poller_.wait(read_waiter_); }
  auto writable() { return poller_.wait(write_waiter_); }
  auto gone() { return poller_.wait(gone_waiter_); }

  /// Waits as needed. The span's first bytes.
  awaitable<Io> read_some(std::span<char> into);
  /// All of it; ends early only with an error.
  awaitable<Io> write_all(std::string_view first, std::string_view second = {});

  void shutdown_send();
  /// Makes waiting and later reads and writes fail with `error` until resume(): a limit passed, or the other side of a
  /// relay ended.
  void interrupt(int error);
  void resume() { interrupted_ = 0; }
  int interrupted() const { return interrupted_; }

  /// The peer sent FIN (it may still read), or the connection is dead both ways.
  bool peer_finished() const { return peer_finished_; }
  bool hung_up() const { return hung_up_; }
  /// When this stream hangs up, `other` is interrupted with ECONNRESET. nullptr ends it.
  void tie(Stream* other) { tied_ = other; }
  /// True when bytes or an end wait to be read: on an idle connection either means that it must not be used again.
  bool has_input(InputCheck check = InputCheck::now);

 private:
  friend class Poller;
  void ready(std::uint32_t events);
  void probe_peer();

  Poller& poller_;
  Fd fd_;
  Poller::Registration registration_;
  Waiter read_waiter_;
  Waiter write_waiter_;
  Waiter gone_waiter_;
  Stream* tied_ = nullptr;
  int interrupted_ = 0;
  bool readable_ = true;
  bool writable_ = true;
  bool peer_finished_ = false;
  bool hung_up_ = false;
};

}  // namespace wick::http
