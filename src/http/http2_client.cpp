#include "http2_client.hpp"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <cerrno>
#include <cstring>

#include "chars.hpp"
#include "http2_fields.hpp"
#include "wick/base/text.hpp"
#include "wire_text.hpp"

namespace wick::http {

namespace {

constexpr std::size_t head_bytes_max = 32 << 10;  // of an answer, and of its trailers
constexpr int interims_max = 16;
constexpr std::uint32_t stream_window = 256 << 10;
constexpr std::int32_t connection_window = 4 << 20;

struct EndClientCallbacks {
  void operator()(nghttp2_session_callbacks* callbacks) const { nghttp2_session_callbacks_del(callbacks); }
};
struct EndClientOption {
  void operator()(nghttp2_option* option) const { nghttp2_option_del(option); }
};

std::string_view text_of(const std::uint8_t* bytes, std::size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

/// The next line without its CRLF.
std::string_view take_line(std::string_view& text) {
  const auto end = text.find("\r\n");
  const auto line = text.substr(0, end);
  text.remove_prefix(end == text.npos ? text.size() : end + 2);
  return line;
}

}  // namespace

// ---- one stream

Http2ClientStream::Http2ClientStream(std::shared_ptr<Http2ClientConnection> connection)
    : connection_(std::move(connection)) {}

Http2ClientStream::~Http2ClientStream() {
  if (stream_ < 0) return;
  auto& connection = *connection_;
  connection.streams_.erase(stream_);
  if (closed_ || connection.wire_.broken()) return;
  auto* session = connection.wire_.session();
  nghttp2_session_set_stream_user_data(session, stream_, nullptr);
  nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream_, NGHTTP2_CANCEL);
  nghttp2_session_consume_connection(session, body_.size() - body_read_);
  connection.wire_.pump_soon();
}

void Http2ClientStream::send_head(std::string_view head, bool body) {
  const auto start = take_line(head);
  const auto first = start.find(' ');
  const auto second = start.rfind(' ');
  Http2Fields fields(static_cast<std::size_t>(std::ranges::count(head, '\n')) + 5);
  fields.add(":method", start.substr(0, first));
  fields.add(":scheme", "http");
  fields.add(":path", start.substr(first + 1, second - first - 1));
  while (true) {
    const auto line = take_line(head);
    if (line.empty()) break;
    const auto colon = line.find(':');
    const auto name = line.substr(0, colon);
    const auto value = line.substr(colon + 2);
    if (iequals(name, "host"))
      fields.add(":authority", value);
    else if (!iequals(name, "transfer-encoding") && !iequals(name, "te"))
      fields.add(name, value);
  }
  fields.add("te", "trailers");  // what this proxy can read; gRPC insists on it
  nghttp2_data_provider source{.source = {.ptr = this}, .read_callback = read_body};
  stream_ = nghttp2_submit_request(connection_->wire_.session(), nullptr, fields.data(), fields.size(),
                                   body ? &source : nullptr, this);
  if (stream_ < 0) {
    closed_ = refused_ = true;
    return;
  }
  connection_->streams_.emplace(stream_, this);
  if (connection_->streams_.size() > 1)
    connection_->wire_.pump_soon();
  else
    connection_->wire_.pump();
}

ssize_t Http2ClientStream::read_body(nghttp2_session* session, std::int32_t stream, std::uint8_t* into,
                                     std::size_t size, std::uint32_t* flags, nghttp2_data_source*, void*) {
  auto* self = static_cast<Http2ClientStream*>(nghttp2_session_get_stream_user_data(session, stream));
  if (!self) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;  // it is cancelled
  const auto given = self->sending_.copy(reinterpret_cast<char*>(into), size);
  self->sending_.remove_prefix(given);
  if (self->sending_.empty()) {
    self->connection_->poller_.wake_soon(self->sent_waiter_);
    if (self->send_last_) *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (given == 0 && !self->send_last_) {
      self->deferred_ = true;
      return NGHTTP2_ERR_DEFERRED;
    }
  }
  return static_cast<ssize_t>(given);
}

awaitable<Result<void>> Http2ClientStream::send_body(std::string_view bytes, bool last) {
  if (dead()) co_return fail(failure());
  struct Offer {  // also when the wait is cancelled: the bytes are the caller's
    ~Offer() { sending = {}; }
    std::string_view& sending;
  };
  const Offer offer{sending_};
  sending_ = bytes;
  send_last_ = last;
  if (std::exchange(deferred_, false)) nghttp2_session_resume_data(connection_->wire_.session(), stream_);
  connection_->wire_.pump();
  while (!sending_.empty() && !dead()) co_await connection_->poller_.wait(sent_waiter_);
  if (!sending_.empty()) co_return fail(failure());
  co_return Result<void>();
}

void Http2ClientStream::on_field(std::string_view name, std::string_view value) {
  field_bytes_ += name.size() + value.size();
  if (field_bytes_ > head_bytes_max) return;
  if (name == ":status")
    pending_status_ = static_cast<int>(parse_unsigned(value).value_or(0));
  else if (!name.starts_with(':') && chars::all<chars::token>(name) && chars::all<chars::value>(value))
    pending_fields_.add(std::string(name), std::string(value));
}

void Http2ClientStream::on_head_end(bool last) {
  auto fields = std::exchange(pending_fields_, {});
  const int status = std::exchange(pending_status_, 0);
  const bool too_large = std::exchange(field_bytes_, 0) > head_bytes_max;
  if (too_large || (status > 0 && status < 200 && ++interims_ > interims_max)) {
    error_ = NGHTTP2_ENHANCE_YOUR_CALM;
    interrupt(EPROTO);
    return;
  }
  if (status_ != 0) {
    for (const auto& field : fields) append_field(trailers_, field.name, field.value);
  } else if (status < 200) {
    interim_.emplace_back(status, std::move(fields));
  } else {
    status_ = status;
    fields_ = std::move(fields);
    if (const auto length = fields_.find("content-length")) declared_length_ = parse_unsigned(*length);
  }
  if (last) ended_ = true;
  connection_->poller_.wake_soon(waiter_);
}

void Http2ClientStream::on_body(std::string_view bytes) {
  if (body_read_ == body_.size()) body_.clear(), body_read_ = 0;
  body_.append(bytes);
  connection_->poller_.wake_soon(waiter_);
}

void Http2ClientStream::on_end() {
  ended_ = true;
  connection_->poller_.wake_soon(waiter_);
}

void Http2ClientStream::on_close(std::uint32_t error) {
  closed_ = true;
  error_ = error;
  refused_ = error == NGHTTP2_REFUSED_STREAM;
  if (!connection_->wire_.broken())
    nghttp2_session_consume_connection(connection_->wire_.session(), body_.size() - body_read_);
  connection_->poller_.wake_soon(waiter_);
  connection_->poller_.wake_soon(sent_waiter_);
}

void Http2ClientStream::consume(std::size_t bytes) {
  body_read_ += bytes;
  if (body_read_ == body_.size()) body_.clear(), body_read_ = 0;
  if (closed_ || connection_->wire_.broken()) return;
  nghttp2_session_consume(connection_->wire_.session(), stream_, bytes);
  connection_->wire_.pump();
}

awaitable<Result<void>> Http2ClientStream::read_head(
    std::function<void(int status, std::span<const Field>)> on_interim) {
  while (true) {
    for (const auto& [status, fields] : std::exchange(interim_, {}))
      on_interim(status, std::span(fields.begin(), fields.end()));
    if (status_ != 0) co_return Result<void>();
    if (dead() || ended_) co_return fail(failure());
    co_await connection_->poller_.wait(waiter_);
  }
}

awaitable<Result<void>> Http2ClientStream::fill_body() {
  while (buffered().empty() && !ended_ && !dead()) co_await connection_->poller_.wait(waiter_);
  if (interrupted_ || (buffered().empty() && !ended_)) co_return fail(failure());
  co_return Result<void>();
}

void Http2ClientStream::interrupt(int error) {
  if (dead()) return;
  interrupted_ = error;
  nghttp2_submit_rst_stream(connection_->wire_.session(), NGHTTP2_FLAG_NONE, stream_, NGHTTP2_CANCEL);
  connection_->wire_.pump_soon();
  connection_->poller_.wake_soon(waiter_);
  connection_->poller_.wake_soon(sent_waiter_);
}

Error Http2ClientStream::failure() const {
  if (interrupted_ == ETIMEDOUT) return {Errc::timed_out, "the upstream did not answer in time"};
  if (error_ == NGHTTP2_ENHANCE_YOUR_CALM) return {Errc::corrupt, "the upstream's response head is larger than 32 KB"};
  if (error_ != 0)
    return {Errc::unavailable, std::string("the upstream reset the stream: ") + nghttp2_http2_strerror(error_)};
  if (untouched()) return {Errc::unavailable, "the upstream closed the connection without an answer"};
  return {Errc::unavailable, "the upstream closed the connection within its response"};
}

// ---- the connection

Http2ClientConnection::Http2ClientConnection(Poller& poller, Fd socket)
    : poller_(poller), stream_(poller, std::move(socket)), wire_(poller, stream_) {}

Http2ClientStream* Http2ClientConnection::find(std::int32_t stream) {
  const auto found = streams_.find(stream);
  return found == streams_.end() ? nullptr : found->second;
}

Http2SessionPtr Http2ClientConnection::make_session() {
  nghttp2_session_callbacks* made = nullptr;
  if (nghttp2_session_callbacks_new(&made) != 0) return nullptr;
  const std::unique_ptr<nghttp2_session_callbacks, EndClientCallbacks> callbacks(made);
  nghttp2_session_callbacks_set_on_header_callback(
      made, [](nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_size,
               const std::uint8_t* value, std::size_t value_size, std::uint8_t, void* self) {
        if (auto* stream = static_cast<Http2ClientConnection*>(self)->find(frame->hd.stream_id))
          stream->on_field(text_of(name, name_size), text_of(value, value_size));
        return 0;
      });
  nghttp2_session_callbacks_set_on_frame_recv_callback(made,
                                                       [](nghttp2_session*, const nghttp2_frame* frame, void* self) {
                                                         auto& connection = *static_cast<Http2ClientConnection*>(self);
                                                         if (frame->hd.type == NGHTTP2_GOAWAY) connection.going_ = true;
                                                         auto* stream = connection.find(frame->hd.stream_id);
                                                         const bool last = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
                                                         if (stream && frame->hd.type == NGHTTP2_HEADERS)
                                                           stream->on_head_end(last);
                                                         if (stream && frame->hd.type == NGHTTP2_DATA && last)
                                                           stream->on_end();
                                                         return 0;
                                                       });
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
      made, [](nghttp2_session* session, std::uint8_t, std::int32_t id, const std::uint8_t* bytes, std::size_t size,
               void* self) {
        if (auto* stream = static_cast<Http2ClientConnection*>(self)->find(id))
          stream->on_body(text_of(bytes, size));
        else
          nghttp2_session_consume(session, id, size);
        return 0;
      });
  nghttp2_session_callbacks_set_on_stream_close_callback(
      made, [](nghttp2_session*, std::int32_t id, std::uint32_t error, void* self) {
        if (auto* stream = static_cast<Http2ClientConnection*>(self)->find(id)) stream->on_close(error);
        return 0;
      });
  nghttp2_session_callbacks_set_on_frame_not_send_callback(
      made, [](nghttp2_session*, const nghttp2_frame* frame, int, void* self) {
        auto* stream = static_cast<Http2ClientConnection*>(self)->find(frame->hd.stream_id);
        if (stream && frame->hd.type == NGHTTP2_HEADERS) stream->on_close(NGHTTP2_REFUSED_STREAM);
        return 0;
      });
  nghttp2_option* chosen = nullptr;
  if (nghttp2_option_new(&chosen) != 0) return nullptr;
  const std::unique_ptr<nghttp2_option, EndClientOption> option(chosen);
  nghttp2_option_set_no_auto_window_update(chosen, 1);
  nghttp2_session* session = nullptr;
  if (nghttp2_session_client_new2(&session, made, this, chosen) != 0) return nullptr;
  return Http2SessionPtr(session);
}

bool Http2ClientConnection::begin(const Executor& executor) {
  auto session = make_session();
  const Http2Settings settings{.streams_max = 0,
                               .stream_window = stream_window,
                               .connection_window = connection_window,
                               .head_bytes_max = head_bytes_max};
  if (!session || !wire_.begin(std::move(session), settings)) return false;
  asio::co_spawn(executor, run(shared_from_this()), [](std::exception_ptr) {});  // run() lets none out
  return true;
}

awaitable<void> Http2ClientConnection::run(std::shared_ptr<Http2ClientConnection> self) {
  try {
    co_await self->wire_.run({}, [] {});
  } catch (...) {  // the loop ends, and this with it
  }
  self->going_ = true;
  auto streams = std::exchange(self->streams_, {});
  for (const auto& [id, stream] : streams)
    if (!stream->closed_) stream->on_close(0);
}

bool Http2ClientConnection::usable() {
  if (going_ || wire_.broken()) return false;
  const auto most = nghttp2_session_get_remote_settings(wire_.session(), NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
  return streams_.size() < most && nghttp2_session_check_request_allowed(wire_.session());
}

void Http2ClientConnection::close() { wire_.interrupt(ECONNABORTED); }

// ---- the pool

Http2Pool::~Http2Pool() {
  for (const auto& connection : connections_) connection->close();
}

awaitable<Result<std::unique_ptr<Http2ClientStream>>> Http2Pool::open(const Connector& connector) {
  std::erase_if(connections_,
                [](const auto& connection) { return !connection->usable() && connection->streams() == 0; });
  for (const auto& connection : connections_)
    if (connection->usable()) co_return std::make_unique<Http2ClientStream>(connection);
  auto socket = std::move(kept_);
  if (!socket) {
    auto made = co_await connector();
    if (!made) co_return fail(std::move(made.error()));
    socket = std::move(*made);
  }
  auto connection = std::make_shared<Http2ClientConnection>(poller_, std::move(socket));
  if (!connection->begin(executor_)) co_return fail(Errc::internal, "no session of HTTP/2 towards the upstream");
  connections_.push_back(connection);
  co_return std::make_unique<Http2ClientStream>(std::move(connection));
}

}  // namespace wick::http
