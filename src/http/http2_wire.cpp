#include "http2_wire.hpp"

#include <boost/asio/post.hpp>
#include <cerrno>

#include "wick/os/together.hpp"

namespace wick::http {

namespace {

constexpr std::size_t sent_at_once = 64 << 10;
constexpr std::size_t kept_out_bytes = 8 << 10;  // capacity that an idle connection keeps

}  // namespace

bool Http2Wire::begin(Http2SessionPtr session, const Http2Settings& settings) {
  session_ = std::move(session);
  // A server does not speak of push: only a client may turn it off (RFC 9113 6.5.2).
  const bool server = nghttp2_session_check_server_session(session_.get());
  const nghttp2_settings_entry last = server ? nghttp2_settings_entry{NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1}
                                             : nghttp2_settings_entry{NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
  const nghttp2_settings_entry entries[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, settings.streams_max},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, settings.stream_window},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, settings.head_bytes_max},
      last,
  };
  const std::size_t count = server && !settings.extended_connect ? 3 : 4;
  return nghttp2_submit_settings(session_.get(), NGHTTP2_FLAG_NONE, entries, count) == 0 &&
         nghttp2_session_set_local_window_size(session_.get(), NGHTTP2_FLAG_NONE, 0, settings.connection_window) == 0;
}

awaitable<void> Http2Wire::run(std::string_view first, std::function<void()> after_feeding) {
  auto reading = read_on(first, after_feeding);
  auto writing = write_on();
  const auto end = co_await run_together(std::move(reading), std::move(writing));
  broken_ = true;
  for (const auto& error : {end.first_error, end.second_error})
    if (error) std::rethrow_exception(error);
}

bool Http2Wire::feed(std::string_view bytes) {
  feeding_ = true;
  const auto taken =
      nghttp2_session_mem_recv(session_.get(), reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  feeding_ = false;
  return taken == static_cast<ssize_t>(bytes.size());
}

awaitable<bool> Http2Wire::read_on(std::string_view first, std::function<void()>& after_feeding) {
  auto block = poller_.blocks().take();
  bool fine = feed(first);
  after_feeding();
  pump();
  while (fine && !broken_ &&
         (nghttp2_session_want_read(session_.get()) || nghttp2_session_want_write(session_.get()) || blocked_)) {
    if (!block) block = poller_.blocks().take();
    const auto got = stream_.try_read(block.get(), Blocks::block_bytes);
    if (got.would_block()) {
      poller_.blocks().give(std::move(block));
      co_await stream_.readable();
      continue;
    }
    if (!got.ok() || got.ended()) break;
    fine = feed({block.get(), got.bytes});
    after_feeding();
    pump();
  }
  if (!fine) pump();  // a GOAWAY that says why
  poller_.blocks().give(std::move(block));
  co_return true;
}

awaitable<bool> Http2Wire::write_on() {
  while (true) {
    if (!blocked_) {
      co_await poller_.wait(blocked_waiter_);
      continue;
    }
    blocked_ = false;
    pump();  // it may have become ready since: that edge does not come again
    if (!blocked_) continue;
    co_await stream_.writable();
    blocked_ = false;
    pump();
  }
}

/// False when the session has nothing to say.
bool Http2Wire::collect() {
  while (out_.size() < sent_at_once) {
    const std::uint8_t* bytes = nullptr;
    const auto size = nghttp2_session_mem_send(session_.get(), &bytes);
    if (size < 0) broken_ = true;
    if (size <= 0) break;
    out_.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
  }
  return !out_.empty();
}

void Http2Wire::pump() {
  if (feeding_ || pumping_ || blocked_ || broken_) return;
  pumping_ = true;
  while (!broken_ && (collect() || stream_.holds_back())) {
    const auto sent = out_.empty() ? stream_.push() : stream_.try_write(out_);
    out_.erase(0, sent.bytes);
    if (sent.would_block()) {
      blocked_ = true;
      poller_.wake_soon(blocked_waiter_);
      break;
    }
    if (!sent.ok()) interrupt(sent.error);
  }
  if (out_.empty() && out_.capacity() > kept_out_bytes) out_ = {};
  pumping_ = false;
  const bool over = !nghttp2_session_want_read(session_.get()) && !nghttp2_session_want_write(session_.get());
  if (over && !blocked_ && !broken_) interrupt(ESHUTDOWN);  // wakes who still waits for the peer
}

void Http2Wire::pump_soon() {
  if (std::exchange(*pump_pending_, true)) return;
  asio::post(poller_.loop(), [this, pending = std::weak_ptr(pump_pending_)] {
    const auto alive = pending.lock();
    if (!alive) return;
    *alive = false;
    pump();
  });
}

void Http2Wire::interrupt(int error) {
  broken_ = true;
  stream_.interrupt(error);
}

}  // namespace wick::http
