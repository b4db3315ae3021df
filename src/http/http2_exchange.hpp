// One stream of an HTTP/2 connection as an exchange.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "head_parser.hpp"
#include "http2_server.hpp"
#include "wire_exchange.hpp"

namespace wick::http {

class Http2Exchange final : public WireExchange {
 public:
  Http2Exchange(Http2Server& connection, std::int32_t stream);

  // The connection's side.
  void add_field(std::string_view name, std::string_view value);
  /// All of the head has come; the body ends with it where `last`. What is wrong with it is answered by
  /// answer_refusal().
  void complete_head(bool last);
  const std::optional<Refusal>& refusal() const { return refusal_; }
  awaitable<void> answer_refusal();
  bool add_body(std::string_view bytes);
  void end_body();
  /// The stream is closed: by us at the end, or by the client before it.
  void close();
  /// The answer is over for us.
  void answer_sent();
  void check_limits(TimePoint now);
  bool has_head() const { return has_head_; }
  TimePoint begun() const { return begun_; }
  bool answered() const { return answered_; }
  bool clean() const { return !cut_; }
  std::int32_t stream() const { return stream_; }

  // Exchange
  const RequestHead& head() const override { return head_; }
  std::string_view peer() const override { return connection_.client_.peer; }
  long peer_uid() const override { return connection_.client_.peer_uid; }
  bool secure() const override { return connection_.client_.secure; }
  bool from_trusted_proxy() const override { return connection_.client_.trusted; }
  std::string_view id() const override { return id_; }
  awaitable<Result<void>> respond(ResponseHead head, std::string body) override;
  awaitable<Result<void>> start(ResponseHead head) override;
  awaitable<Result<void>> write(std::string_view bytes) override;
  awaitable<Result<void>> finish() override;
  bool started() const override { return started_; }
  awaitable<void> wait_gone() override;

  // WireExchange
  std::shared_ptr<const VerifiedClient> verified_client() const override { return connection_.client_.verified; }
  const Framing& body_framing() const override { return framing_; }
  std::string_view buffered_body() override;
  void consume_body(std::size_t bytes) override;
  bool body_finished() override {
    return waits_for_tunnel() || (body_ended_ && body_read_ == body_.size() && arrived_.empty());
  }
  awaitable<Result<void>> fill_body() override;
  void begin(const ResponseView& head, std::string_view body, bool last) override;
  void put(std::string_view body, bool last) override;
  bool wants_trailers() const override { return true; }
  void set_trailers(std::string lines) override { trailers_ = std::move(lines); }
  void put_informational(int status, std::span<const FieldView> fields) override;
  bool needs_flush() const override;
  awaitable<Result<void>> flush() override;
  void cut() override;
  bool wants_websocket() const override { return connect_; }
  Stream* tunnel(std::string&) override { return nullptr; }
  bool wants_body_tunnel() const override { return connect_; }
  void begin_body_tunnel() override { tunnels_ = true; }
  void tunnel_active(Duration idle_limit) override { request_deadline_ = now() + idle_limit; }
  void guard(Interruptible* upstream, TimePoint until) override;
  void release() override;

 private:
  static ssize_t read_answer(nghttp2_session*, std::int32_t, std::uint8_t* into, std::size_t size, std::uint32_t* flags,
                             nghttp2_data_source* source, void*);
  std::size_t give_answer(char* into, std::size_t size);
  bool waits_for_tunnel() const { return connect_ && !tunnels_; }
  void complete_connect();
  bool parse_head(const std::string& text);
  void submit_trailers();
  void begin_own(const ResponseHead& head, std::optional<std::uint64_t> length, std::string_view body, bool last);
  void reset(std::uint32_t code);
  Error gone_error() const;
  TimePoint now() const { return connection_.server_.clock.now(); }

  Http2Server& connection_;
  std::int32_t stream_;
  std::string id_;
  TimePoint begun_;

  // request
  std::string method_, path_, authority_, cookies_, protocol_;
  std::string field_lines_;
  std::size_t fields_ = 0;
  bool has_length_ = false;
  bool too_large_ = false;
  bool bad_ = false;  // a field that no HTTP/1.1 head could carry
  bool has_head_ = false;
  std::optional<Refusal> refusal_;
  RequestHead head_;
  Framing framing_;
  std::string body_;  // what the reader has views of: it stays where it is until all of it is consumed
  std::size_t body_read_ = 0;
  std::string arrived_;  // after that
  bool body_ended_ = false;
  bool continue_wanted_ = false;
  bool connect_ = false;  // an extended CONNECT for WebSocket (RFC 8441)
  bool tunnels_ = false;  // it was answered: the bodies are the tunnel's
  Waiter body_waiter_;
  TimePoint read_deadline_ = TimePoint::max();
  bool too_slow_ = false;

  // answer
  std::string out_;  // what the session has not taken
  std::size_t out_sent_ = 0;
  std::string_view direct_;  // the same, where it lies at the caller's
  std::optional<std::uint64_t> answer_left_;
  std::string trailers_;
  bool started_ = false;
  bool answered_ = false;  // the last of it is with us
  bool deferred_ = false;  // the session waits for more
  bool cut_ = false;
  TimePoint progress_{};
  Waiter flush_waiter_;

  bool closed_ = false;
  Waiter gone_waiter_;
  Interruptible* guarded_ = nullptr;
  TimePoint request_deadline_ = TimePoint::max();
};

}  // namespace wick::http
