// Towards a server that speaks HTTP/2 in clear with prior knowledge (RFC 9113 3.3): connections that carry many
// streams, and one stream as its user sees it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "http2_wire.hpp"
#include "wick/http/message.hpp"
#include "wick/http/upstream.hpp"

namespace wick::http {

class Http2ClientConnection;

/// One request and its answer. Whoever holds it may read and write; gone, it cancels what is not over.
class Http2ClientStream final : public Interruptible {
 public:
  Http2ClientStream(std::shared_ptr<Http2ClientConnection> connection);
  ~Http2ClientStream();
  Http2ClientStream(const Http2ClientStream&) = delete;

  /// `head` as text of HTTP/1.1 (forwarding.hpp), whose fields go out as HTTP/2's. `body`: some follows.
  void send_head(std::string_view head, bool body);
  /// The next part of the body, taken while the server takes it. Errors: as read_head.
  awaitable<Result<void>> send_body(std::string_view bytes, bool last);

  /// Waits for the final head; interim ones are handed over as they come. Errors: unavailable, timed_out, corrupt.
  awaitable<Result<void>> read_head(std::function<void(int status, std::span<const Field>)> on_interim);
  int status() const { return status_; }
  const Fields& fields() const { return fields_; }
  std::optional<std::uint64_t> declared_length() const { return declared_length_; }
  /// Body bytes at hand. Valid until consume() or a wait.
  std::string_view buffered() const { return std::string_view(body_).substr(body_read_); }
  void consume(std::size_t bytes);
  bool finished() const { return ended_ && body_read_ == body_.size(); }
  /// Waits for more of the body or its end. Errors: as read_head.
  awaitable<Result<void>> fill_body();
  /// Field lines, once finished().
  const std::string& trailers() const { return trailers_; }

  /// Ends every wait with `error`, and the stream.
  void interrupt(int error) override;
  int interrupted() const { return interrupted_; }
  /// The server has certainly not acted on the request (REFUSED_STREAM, a GOAWAY before it).
  bool refused() const { return refused_; }
  /// Nothing of an answer has come.
  bool untouched() const { return status_ == 0; }

 private:
  friend class Http2ClientConnection;
  static ssize_t read_body(nghttp2_session*, std::int32_t, std::uint8_t* into, std::size_t size, std::uint32_t* flags,
                           nghttp2_data_source* source, void*);
  void on_field(std::string_view name, std::string_view value);
  void on_head_end(bool last);
  void on_body(std::string_view bytes);
  void on_end();
  void on_close(std::uint32_t error);
  bool dead() const { return closed_ || interrupted_ != 0; }
  Error failure() const;

  std::shared_ptr<Http2ClientConnection> connection_;
  std::int32_t stream_ = -1;
  std::string_view sending_;
  bool send_last_ = false;
  bool deferred_ = false;
  Waiter sent_waiter_;

  Fields pending_fields_;  // of the head or the trailers that are coming
  int pending_status_ = 0;
  std::size_t field_bytes_ = 0;
  int interims_ = 0;
  std::vector<std::pair<int, Fields>> interim_;
  int status_ = 0;
  Fields fields_;
  std::optional<std::uint64_t> declared_length_;
  std::string body_;
  std::size_t body_read_ = 0;
  std::string trailers_;
  bool ended_ = false;
  bool closed_ = false;
  bool refused_ = false;
  std::uint32_t error_ = 0;
  int interrupted_ = 0;
  Waiter waiter_;
};

class Http2ClientConnection : public std::enable_shared_from_this<Http2ClientConnection> {
 public:
  Http2ClientConnection(Poller& poller, Fd socket);

  /// Once made, before a stream. Goes on in the background until the connection is over. False when there can be none.
  bool begin(const Executor& executor);
  /// Another stream may begin.
  bool usable();
  std::size_t streams() const { return streams_.size(); }
  /// Ends it with all its streams.
  void close();

 private:
  friend class Http2ClientStream;
  static awaitable<void> run(std::shared_ptr<Http2ClientConnection> self);
  Http2SessionPtr make_session();
  Http2ClientStream* find(std::int32_t stream);

  Poller& poller_;
  Stream stream_;
  Http2Wire wire_;
  std::map<std::int32_t, Http2ClientStream*> streams_;
  bool going_ = false;  // the server said GOAWAY
};

/// The connections to one upstream.
class Http2Pool {
 public:
  Http2Pool(Executor executor, Poller& poller) : executor_(std::move(executor)), poller_(poller) {}
  ~Http2Pool();

  /// A new stream, over a connection there is or one made with `connector`. Errors: what the connector says.
  awaitable<Result<std::unique_ptr<Http2ClientStream>>> open(const Connector& connector);
  /// The next connection needs not be made.
  void keep(Fd socket) { kept_ = std::move(socket); }
  Fd take_kept() { return std::move(kept_); }

 private:
  Executor executor_;
  Poller& poller_;
  std::vector<std::shared_ptr<Http2ClientConnection>> connections_;
  Fd kept_;
};

}  // namespace wick::http
