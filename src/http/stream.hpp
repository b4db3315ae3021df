// One connected socket: non-blocking reads and writes, and waiting for readiness. The transport that everything in this
// room speaks through; where it is TLS, records are made and opened below the reads and writes (tls_session.hpp).
#pragma once

#include <sys/uio.h>

#include <span>

#include "poller.hpp"

typedef struct ssl_st SSL;

namespace wick::http {

class TlsSession;

/// What a read or write did. `error` is an errno value; EAGAIN: try again when ready. A read of 0 bytes without error
/// is the end.
struct Io {
  std::size_t bytes = 0;
  int error = 0;

  bool would_block() const { return error == EAGAIN; }
  bool ok() const { return error == 0; }
  bool ended() const { return error == 0 && bytes == 0; }
};

/// What can be made to give up from outside: a connection, or one stream of it.
class Interruptible {
 public:
  /// Waiting, and later reads and writes, fail with `error` (an errno value).
  virtual void interrupt(int error) = 0;

 protected:
  ~Interruptible() = default;
};

/// `noticed` trusts the last readiness event and is free; `now` also asks the kernel.
enum class InputCheck { noticed, now };

class Stream final : public Interruptible {
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

  /// From here on TLS is spoken: `ssl` has its role and is taken over. What may be read and written waits for
  /// handshake().
  void secure(SSL* ssl);
  /// To the end of the handshake. Errors: EPROTO, ECONNRESET, what interrupt() says.
  awaitable<Io> handshake();
  /// What follows is in clear again: for a peer that never spoke TLS.
  void end_tls();
  /// nullptr in clear.
  TlsSession* tls() { return tls_.get(); }

  Io try_read(char* into, std::size_t size);
  /// What has come, which stays unread; in clear, also where TLS follows. Where more is wanted than that, readable()
  /// waits for it.
  Io peek(std::span<char> into);
  /// Takes bytes that were peeked.
  void skip(std::size_t bytes);
  Io try_write(const iovec* parts, int count);
  Io try_write(std::string_view bytes);
  /// Bytes that try_write() took and the socket did not: another try_write(), or push(), sends them.
  bool holds_back() const;
  Io push();

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
  void interrupt(int error) override;
  void resume() { interrupted_ = 0; }
  int interrupted() const { return interrupted_; }

  /// The peer sent FIN (it may still read), or the connection is dead both ways.
  bool peer_finished() const { return peer_finished_; }
  bool hung_up() const { return hung_up_; }
  /// When this stream hangs up, `other` is interrupted with ECONNRESET. nullptr ends it.
  void tie(Interruptible* other) { tied_ = other; }
  /// True when bytes or an end wait to be read: on an idle connection either means that it must not be used again.
  bool has_input(InputCheck check = InputCheck::now);

 private:
  friend class Poller;
  friend class TlsSession;
  Io raw_read(char* into, std::size_t size);
  Io raw_write(const iovec* parts, int count);
  void ready(std::uint32_t events);
  void probe_peer();

  Poller& poller_;
  Fd fd_;
  std::unique_ptr<TlsSession> tls_;
  Poller::Registration registration_;
  Waiter read_waiter_;
  Waiter write_waiter_;
  Waiter gone_waiter_;
  Interruptible* tied_ = nullptr;
  int interrupted_ = 0;
  bool readable_ = true;
  bool writable_ = true;
  bool peer_finished_ = false;
  bool hung_up_ = false;
};

}  // namespace wick::http
