// nghttp2 over a Stream: frames in, frames out (RFC 9113). What they mean is the owner's, in the session's callbacks.
#pragma once

#include <nghttp2/nghttp2.h>

#include <memory>
#include <string>
#include <string_view>

#include "stream.hpp"

namespace wick::http {

struct EndHttp2Session {
  void operator()(nghttp2_session* session) const { nghttp2_session_del(session); }
};
using Http2SessionPtr = std::unique_ptr<nghttp2_session, EndHttp2Session>;

/// SETTINGS of ours beside the protocol's defaults, and the flow-control window of the whole connection: what one peer
/// can make us hold.
struct Http2Settings {
  std::uint32_t streams_max = 100;
  std::uint32_t stream_window = 128 << 10;
  std::int32_t connection_window = 512 << 10;
  std::uint32_t head_bytes_max = 32 << 10;  // a promise of ours to the peer; what goes past it is counted by the owner
  bool extended_connect = false;            // clients may ask for WebSocket (RFC 8441 3)
};

class Http2Wire {
 public:
  Http2Wire(Poller& poller, Stream& stream) : poller_(poller), stream_(stream) {}
  Http2Wire(const Http2Wire&) = delete;

  /// Before run(). Queues our SETTINGS. False when the session refuses them.
  bool begin(Http2SessionPtr session, const Http2Settings& settings);
  nghttp2_session* session() { return session_.get(); }

  /// Feeds the session from the stream, `first` before that, until either side has nothing more to say. Sends what the
  /// socket was too full for, beside it. `after_feeding` is called outside of the session's callbacks.
  awaitable<void> run(std::string_view first, std::function<void()> after_feeding);
  /// Sends what the session has to say, as far as the socket takes it. Within a callback, or while it is being fed, it
  /// waits for the end of that.
  void pump();
  /// The same at the loop's next turn, together with whatever else asks until then.
  void pump_soon();
  /// The connection is of no more use: its socket or its session failed, or interrupt() said so.
  bool broken() const { return broken_; }
  void interrupt(int error);

 private:
  bool feed(std::string_view bytes);
  awaitable<bool> read_on(std::string_view first, std::function<void()>& after_feeding);
  awaitable<bool> write_on();
  bool collect();

  Poller& poller_;
  Stream& stream_;
  Http2SessionPtr session_;
  Waiter blocked_waiter_;
  std::string out_;
  bool blocked_ = false;  // the socket is full: write_on() goes on
  bool feeding_ = false;
  bool pumping_ = false;
  bool broken_ = false;
  std::shared_ptr<bool> pump_pending_ = std::make_shared<bool>(false);
};

}  // namespace wick::http
